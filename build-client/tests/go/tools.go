//go:build tools

// Package interop names the Go programs that the tests run.
package interop

import _ "golang.org/x/build/version/go1.9"
