//go:build tools

// Package tools names the programs that are built as peers.
package tools

import (
	_ "golang.org/x/build/maintner/maintnerd"
	_ "golang.org/x/build/maintner/maintq"
)
