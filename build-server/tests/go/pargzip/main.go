// Pargzip compresses standard input to standard output with the Go build system's own parallel
// gzip: the peer of our archive benches.
package main

import (
	"io"
	"log"
	"os"

	"golang.org/x/build/pargzip"
)

func main() {
	zw := pargzip.NewWriter(os.Stdout)
	if _, err := io.Copy(zw, os.Stdin); err != nil {
		log.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		log.Fatal(err)
	}
}
