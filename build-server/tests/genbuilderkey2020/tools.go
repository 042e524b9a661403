//go:build tools

package tools

import _ "golang.org/x/build/cmd/genbuilderkey"
