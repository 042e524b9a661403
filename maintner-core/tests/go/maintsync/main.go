// Maintsync lets the Go maintner sync a Gerrit project into a folder of
// maintner-*.mutlog files, once.
package main

import (
	"context"
	"flag"
	"log"

	"golang.org/x/build/maintner"
)

func main() {
	log.SetFlags(0)
	folder := flag.String("log", "", "folder of the log")
	gerrit := flag.String("gerrit", "", "host/project to follow")
	scratch := flag.String("scratch", "", "directory for clones of Gerrit projects")
	flag.Parse()

	ctx := context.Background()
	logger := maintner.NewDiskMutationLogger(*folder)
	corpus := new(maintner.Corpus)
	corpus.EnableLeaderMode(logger, *scratch)
	corpus.TrackGerrit(*gerrit)
	if err := corpus.Initialize(ctx, logger); err != nil {
		log.Fatal(err)
	}
	if err := corpus.Sync(ctx); err != nil {
		log.Fatal(err)
	}
	if err := corpus.Check(); err != nil {
		log.Fatal(err)
	}
}
