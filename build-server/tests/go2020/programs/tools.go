//go:build tools

// Package programs names the programs of the Go project that are built as peers.
package programs

import (
	_ "golang.org/x/build/cmd/buildlet"
	_ "golang.org/x/build/cmd/coordinator"
	_ "golang.org/x/build/cmd/gomote"
)
