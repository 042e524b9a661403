// Program revdialpeer is the Go library's end of revdial connections.
//
// revdialpeer -listen ADDR is a machine: it registers at the server at ADDR, accepts the
// connections the server asks for and does on each what its first byte says. revdialpeer -dial
// is a server: it prints its address, waits for one machine and puts it through all checks,
// printing a line for each.
package main

import (
	"flag"
	"log"
	"os"

	"golang.org/x/build/revdial/v2"
)

func main() {
	listen := flag.String("listen", "", "register at the server at this `address`")
	dial := flag.Bool("dial", false, "wait for a machine and check it")
	fail := flag.Bool("fail", false, "with -dial: the machine cannot fetch the first connection")
	bench := flag.Bool("bench", false, "with -dial: measure dials and a large transfer, again for each line of standard input")
	greetAt := flag.String("greet", "", "ask the server at this `address` for a take-over, with an odd name")
	count := flag.Int("count", 1000, "dials in a row")
	size := flag.Int64("size", 10<<20, "bytes of a large transfer")
	flag.Parse()
	log.SetFlags(0)
	log.SetOutput(os.Stderr)
	switch {
	case *listen != "":
		beMachine(*listen)
	case *greetAt != "":
		greet(*greetAt, "/reverse")
	case *dial && *fail:
		beServer(checkFailure)
	case *dial && *bench:
		beServer(func(d *revdial.Dialer) { measure(d, *count, *size) })
	case *dial:
		beServer(func(d *revdial.Dialer) { check(d, *count, *size) })
	default:
		flag.Usage()
		os.Exit(2)
	}
}
