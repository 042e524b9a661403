//go:build never

// Package programs names what the tests build, so that go.sum holds what that needs.
package programs

import (
	_ "golang.org/x/build/cmd/fetchlogs"
	_ "golang.org/x/build/cmd/genbootstrap"
	_ "golang.org/x/build/cmd/racebuild"
	_ "golang.org/x/build/cmd/retrybuilds"
	_ "golang.org/x/build/cmd/tip"
	_ "golang.org/x/build/cmd/xb"
	_ "golang.org/x/build/vcs-test/vcweb"
)
