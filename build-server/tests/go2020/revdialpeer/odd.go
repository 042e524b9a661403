package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"golang.org/x/build/revdial/v2"
)

// greet connects as the Go buildlet does off port 443, with the port in the server's name, and
// asks for the path.
func greet(addr, path string) {
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost:8119"})
	if err != nil {
		fmt.Println("refused", err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	req, err := http.NewRequest("GET", path, nil)
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
	fmt.Println("answered", res.StatusCode, conn.ConnectionState().NegotiatedProtocol)
}

// checkFailure dials a machine that cannot fetch the first connection and says why at length.
func checkFailure(d *revdial.Dialer) {
	failed := make(chan error, 1)
	go func() {
		conn, err := d.Dial(contextOf(10 * time.Second))
		if err == nil {
			conn.Close()
		}
		failed <- err
	}()
	select {
	case err := <-failed:
		fmt.Println("ok failed", err != nil)
	case <-d.Done():
		fmt.Println("closed")
		return
	}
	conn := dial(d)
	io.WriteString(conn, "enext")
	got := make([]byte, 4)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "next" {
		log.Fatalf("the next dial: %q, %v", got, err)
	}
	fmt.Println("ok next")
	d.Close()
}
