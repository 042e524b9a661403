//go:build tools

// Package peers names the programs that tests build.
package peers

import (
	_ "golang.org/x/build/cmd/gomote"
)
