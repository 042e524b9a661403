package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"time"

	"golang.org/x/build/revdial/v2"
)

// beServer answers as the Go coordinator does: the status line has the version HTTP/0.0.
func beServer(check func(*revdial.Dialer)) {
	machines := make(chan *revdial.Dialer, 1)
	mux := http.NewServeMux()
	mux.Handle("/revdial", revdial.ConnHandler())
	mux.HandleFunc("/reverse", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Revdial-Version") != "2" {
			http.Error(w, "buildlet binary is too old", http.StatusBadRequest)
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			log.Fatal(err)
		}
		if err := (&http.Response{StatusCode: http.StatusSwitchingProtocols}).Write(conn); err != nil {
			log.Fatal(err)
		}
		machines <- revdial.NewDialer(conn, "/revdial")
	})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate()}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening", listener.Addr())
	go http.Serve(listener, mux)
	select {
	case dialer := <-machines:
		check(dialer)
	case <-time.After(time.Minute):
		log.Fatal("no machine came")
	}
}

func check(d *revdial.Dialer, count int, size int64) {
	for i := 0; i < count; i++ {
		conn := dial(d)
		word := fmt.Sprintf("dial %d", i)
		io.WriteString(conn, "e"+word)
		got := make([]byte, len(word))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != word {
			log.Fatalf("dial %d: got %q, %v", i, got, err)
		}
		conn.Close()
	}
	fmt.Println("ok dials", count)

	conn := dial(d)
	conn.Write(append([]byte("s"), binary.BigEndian.AppendUint64(nil, uint64(size))...))
	got, err := io.ReadAll(conn)
	want, _ := io.ReadAll(io.LimitReader(new(pattern), size))
	if err != nil || !bytes.Equal(got, want) {
		log.Fatalf("large from the machine: %d bytes, %v", len(got), err)
	}
	fmt.Println("ok large from the machine", len(got))

	conn = dial(d)
	conn.Write([]byte("r"))
	conn.Write(want)
	// The sending half alone is closed: the answer still comes.
	if err := conn.(*tls.Conn).CloseWrite(); err != nil {
		log.Fatal(err)
	}
	said, err := io.ReadAll(conn)
	if expect := fmt.Sprintf("%d %x true", size, sha256.Sum256(want)); err != nil || string(said) != expect {
		log.Fatalf("large to the machine: %q, %v; want %q", said, err, expect)
	}
	fmt.Println("ok large to the machine, half closed")

	conn = dial(d)
	conn.Write([]byte("x"))
	// Go takes an end between two records for one in order.
	if said, err := io.ReadAll(conn); string(said) != "hal" {
		log.Fatalf("a cut connection brought %q, %v", said, err)
	}
	fmt.Println("ok cut")

	d.Close()
	select {
	case <-d.Done():
		fmt.Println("ok done")
	case <-time.After(10 * time.Second):
		log.Fatal("closed, but not done")
	}
}

func dial(d *revdial.Dialer) net.Conn {
	conn, err := d.Dial(contextOf(20 * time.Second))
	if err != nil {
		log.Fatal(err)
	}
	return conn
}

func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(time.Hour),
		DNSNames:     []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// contextOf ends by itself; the program is short.
func contextOf(limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	time.AfterFunc(limit, cancel)
	return ctx
}
