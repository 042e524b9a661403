//go:build tools

// Package peers names the program, so that its module stays in go.mod.
package peers

import _ "golang.org/x/build/cmd/greplogs"
