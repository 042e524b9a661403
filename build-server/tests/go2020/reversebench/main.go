// Program reversebench is the coordinator's end of one reverse buildlet, made of the Go library as
// the Go coordinator makes it, and measures what it does with that machine.
//
// It prints its address, waits for a buildlet, says "ready", and then does what each line of
// standard input says, printing the seconds it took:
//
//	output N    a command that prints N bytes
//	put FILE    unpacks a tar.gz on the machine
//	get         packs what was unpacked
//	clear       removes it
package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/build/buildlet"
	"golang.org/x/build/revdial/v2"
)

const unpacked = "pushed"

func main() {
	log.SetFlags(0)
	machines := make(chan *revdial.Dialer, 1)
	mux := http.NewServeMux()
	mux.Handle("/revdial", revdial.ConnHandler())
	mux.HandleFunc("/reverse", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		check(err)
		check((&http.Response{StatusCode: http.StatusSwitchingProtocols, Proto: "HTTP/1.1"}).Write(conn))
		machines <- revdial.NewDialer(conn, "/revdial")
	})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate()}})
	check(err)
	fmt.Println(listener.Addr())
	go http.Serve(listener, mux)

	dialer := <-machines
	client := buildlet.NewClient("machine", buildlet.NoKeyPair)
	client.SetHTTPClient(&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.Dial(ctx) },
	}})
	client.SetDialer(dialer.Dial)
	_, err = client.Status(context.Background())
	check(err)
	fmt.Println("ready")

	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		start := time.Now()
		do(client, lines.Text())
		fmt.Println(time.Since(start).Seconds())
	}
}

func do(client *buildlet.Client, line string) {
	ctx := context.Background()
	what, rest, _ := strings.Cut(line, " ")
	switch what {
	case "output":
		var n counter
		remote, err := client.Exec(ctx, "/usr/bin/head", buildlet.ExecOpts{
			SystemLevel: true, Args: []string{"-c", rest, "/dev/zero"}, Output: &n})
		check(err)
		check(remote)
		if want, err := strconv.ParseInt(rest, 10, 64); err != nil || int64(n) != want {
			log.Fatalf("%d bytes instead of %s", n, rest)
		}
	case "put":
		file, err := os.Open(rest)
		check(err)
		defer file.Close()
		check(client.PutTar(ctx, file, unpacked))
	case "get":
		body, err := client.GetTar(ctx, unpacked)
		check(err)
		defer body.Close()
		_, err = io.Copy(io.Discard, body)
		check(err)
	case "clear":
		check(client.RemoveAll(ctx, unpacked))
	default:
		log.Fatalf("no such thing: %q", line)
	}
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
		DNSNames:     []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
