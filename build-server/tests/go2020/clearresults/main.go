// Clearresults calls a coordinator's ClearResults as retrybuilds does, and tells what came of it:
// one JSON object a line. Its arguments: the address, then for each call the key, the builder and
// the hash; a key of "-" sends none.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log"
	"os"
	"time"

	"golang.org/x/build/cmd/coordinator/protos"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func main() {
	creds := credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := grpc.DialContext(ctx, os.Args[1], grpc.WithTransportCredentials(creds))
	if err != nil {
		log.Fatal(err)
	}
	client := protos.NewCoordinatorClient(conn)
	out := json.NewEncoder(os.Stdout)
	for args := os.Args[2:]; len(args) >= 3; args = args[3:] {
		call := ctx
		if args[0] != "-" {
			md := metadata.Pairs("authorization", "builder "+args[0])
			call = metadata.NewOutgoingContext(ctx, md)
		}
		req := &protos.ClearResultsRequest{Builder: args[1], Hash: args[2]}
		_, err := client.ClearResults(call, req)
		out.Encode(map[string]string{
			"code":    status.Code(err).String(),
			"message": status.Convert(err).Message(),
		})
	}
}
