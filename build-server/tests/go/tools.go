//go:build tools

package tools

// Built by the tests as the peer that the Rust client drives.
import _ "golang.org/x/build/cmd/buildlet"
