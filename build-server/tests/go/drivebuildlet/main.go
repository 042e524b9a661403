// Drivebuildlet drives a buildlet with the Go client library through every call
// and checks what comes back. It prints "ok NAME" for each check that held and
// ends with status 1 at the first that did not.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"golang.org/x/build/buildlet"
)

var (
	addr       = flag.String("addr", "", "host:port of the buildlet")
	keyPairDir = flag.String("key-pair", "", "directory with cert.pem and key.pem: speak TLS and send the pair's password")
	newKeyPair = flag.String("new-key-pair", "", "make a key pair in this directory and end")
	halt       = flag.Bool("close", true, "end the buildlet in the last check")
	bench      = flag.String("bench", "", "measure instead of checking: exec, output or push")
	samples    = flag.Int("samples", 10, "how many samples a measurement takes")
	archive    = flag.String("archive", "", "the tar.gz to push, for -bench=push")
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("drivebuildlet: ")
	flag.Parse()
	if *newKeyPair != "" {
		check(writeKeyPair(*newKeyPair))
		return
	}
	pair, err := readKeyPair(*keyPairDir)
	check(err)
	client := buildlet.NewClient(*addr, pair)
	if *bench != "" {
		check(measure(client, *bench, *samples))
		return
	}
	for _, c := range checks() {
		if c.name == "Close" && !*halt {
			continue
		}
		if err := c.run(client); err != nil {
			log.Fatalf("%s: %v", c.name, err)
		}
		fmt.Println("ok", c.name)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func writeKeyPair(dir string) error {
	pair, err := buildlet.NewKeyPair()
	if err != nil {
		return err
	}
	files := map[string]string{
		"cert.pem": pair.CertPEM,
		"key.pem":  pair.KeyPEM,
		"password": pair.Password(),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0600); err != nil {
			return err
		}
	}
	return nil
}

func readKeyPair(dir string) (pair buildlet.KeyPair, err error) {
	if dir == "" {
		return buildlet.NoKeyPair, nil
	}
	cert, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		return pair, err
	}
	key, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	return buildlet.KeyPair{CertPEM: string(cert), KeyPEM: string(key)}, err
}
