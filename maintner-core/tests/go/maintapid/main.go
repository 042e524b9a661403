// Maintapid serves the Go project's gRPC interface over a folder of maintner-*.mutlog files,
// as its daemon does: TLS with HTTP/2 on an address of loopback, which it prints.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"os"

	"golang.org/x/build/maintner"
	"golang.org/x/build/maintner/maintnerd/apipb"
	"golang.org/x/build/maintner/maintnerd/maintapi"
	"grpc.go4.org"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: maintapid FOLDER")
	}
	corpus := new(maintner.Corpus)
	if err := corpus.Initialize(context.Background(), maintner.NewDiskMutationLogger(os.Args[1])); err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	apipb.RegisterMaintnerServiceServer(server, maintapi.NewAPIService(corpus))
	front := httptest.NewUnstartedServer(server)
	front.EnableHTTP2 = true
	front.StartTLS()
	fmt.Println(front.Listener.Addr())
	// Until whoever started it closes its input.
	var none [1]byte
	os.Stdin.Read(none[:])
}
