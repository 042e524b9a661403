package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"golang.org/x/build/revdial/v2"
)

// measure prints the seconds of so many dials with a word back and forth, and of a transfer from
// the machine, for each line of standard input.
func measure(d *revdial.Dialer, count int, size int64) {
	turns := bufio.NewScanner(os.Stdin)
	for turns.Scan() {
		start := time.Now()
		for i := 0; i < count; i++ {
			conn := dial(d)
			io.WriteString(conn, "eword")
			var got [4]byte
			if _, err := io.ReadFull(conn, got[:]); err != nil || string(got[:]) != "word" {
				log.Fatalf("dial %d: got %q, %v", i, got, err)
			}
			conn.Close()
		}
		dials := time.Since(start)

		start = time.Now()
		conn := dial(d)
		conn.Write(append([]byte("s"), binary.BigEndian.AppendUint64(nil, uint64(size))...))
		if n, err := io.Copy(io.Discard, conn); n != size || err != nil {
			log.Fatalf("stream: %d bytes, %v", n, err)
		}
		fmt.Println(dials.Seconds(), time.Since(start).Seconds())
	}
}
