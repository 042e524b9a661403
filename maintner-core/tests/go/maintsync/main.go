// Maintsync lets the Go maintner sync a Gerrit project or a plain git repository into
// a folder of maintner-*.mutlog files, once.
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
	git := flag.String("git", "", "directory of a git repository, whose refs/remotes/origin/master is read")
	name := flag.String("name", "", "name of that repository in the log")
	scratch := flag.String("scratch", "", "directory for clones of Gerrit projects")
	flag.Parse()

	ctx := context.Background()
	logger := maintner.NewDiskMutationLogger(*folder)
	corpus := new(maintner.Corpus)
	corpus.EnableLeaderMode(logger, *scratch)
	if *gerrit != "" {
		corpus.TrackGerrit(*gerrit)
	}
	if *git != "" {
		corpus.TrackGoGitRepo(*name, *git)
	}
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
