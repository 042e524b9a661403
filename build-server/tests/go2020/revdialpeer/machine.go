package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"golang.org/x/build/revdial/v2"
)

// beMachine registers as the Go buildlet does: what the reader has buffered behind the head of
// the answer is lost, as it is there.
func beMachine(addr string) {
	dial := func(context.Context) (net.Conn, error) {
		return tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: nil})
	}
	conn, err := dial(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	req, err := http.NewRequest("GET", "/reverse", nil)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("X-Revdial-Version", "2")
	if err := req.Write(conn); err != nil {
		log.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		log.Fatal(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		log.Fatalf("the server answered %s", res.Status)
	}
	listener := revdial.NewListener(conn, dial)
	fmt.Println("ok registered")
	for {
		accepted, err := listener.Accept()
		if err != nil {
			fmt.Println("ok closed")
			return
		}
		go serve(accepted)
	}
}

// serve does what the first byte of a connection says.
func serve(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	var what [1]byte
	if _, err := io.ReadFull(conn, what[:]); err != nil {
		return
	}
	switch what[0] {
	case 'e': // back again, to the end
		io.Copy(conn, conn)
	case 's': // so many bytes, their pattern known
		var n [8]byte
		if _, err := io.ReadFull(conn, n[:]); err != nil {
			return
		}
		io.Copy(conn, io.LimitReader(new(pattern), int64(binary.BigEndian.Uint64(n[:]))))
	case 'r': // read to the end, then say what it was
		sum := sha256.New()
		n, err := io.Copy(sum, conn)
		fmt.Fprintf(conn, "%d %x %v", n, sum.Sum(nil), err == nil)
	case 'x': // half a word, then cut
		io.WriteString(conn, "hal")
		conn.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(0)
		conn.(*tls.Conn).NetConn().Close()
	}
}

// pattern is endless, with a period that no buffer divides.
type pattern struct{ at int64 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte((p.at + int64(i)) % 251)
	}
	p.at += int64(len(b))
	return len(b), nil
}
