// Maintload loads a folder of maintner-*.mutlog files into the Go corpus, asks it
// the questions of benches/go_peer.rs, and prints what that took, one "name value"
// a line: times in nanoseconds, memory in KiB.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"golang.org/x/build/maintner"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: maintload FOLDER")
	}
	// The corpus logs odd input, which would be measured too.
	log.SetOutput(io.Discard)
	start := time.Now()
	corpus := new(maintner.Corpus)
	if err := corpus.Initialize(context.Background(), maintner.NewDiskMutationLogger(os.Args[1])); err != nil {
		panic(err)
	}
	fmt.Println("title", strings.Fields(corpus.GitHub().Repo("golang", "go").Issue(1).Title)[0])
	fmt.Println("load", time.Since(start).Nanoseconds())
	memory()

	start = time.Now()
	objects := 0
	corpus.GitHub().ForeachRepo(func(r *maintner.GitHubRepo) error {
		return r.ForeachIssue(func(i *maintner.GitHubIssue) error {
			objects++
			return i.ForeachComment(func(c *maintner.GitHubComment) error {
				objects++
				return nil
			})
		})
	})
	fmt.Println("objects", objects)
	fmt.Println("scan", time.Since(start).Nanoseconds())

	project := corpus.Gerrit().Project("go.googlesource.com", "go")
	tip := corpus.GitCommit(project.Ref("refs/heads/master").String())
	root := tip
	for len(root.Parents) > 0 {
		root = root.Parents[0]
	}
	start = time.Now()
	fmt.Println("related", tip.HasAncestor(root))
	fmt.Println("ancestor", time.Since(start).Nanoseconds())
}

func memory() {
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		panic(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 3 && (fields[0] == "Rss:" || fields[0] == "Anonymous:") {
			fmt.Println(strings.ToLower(strings.TrimSuffix(fields[0], ":")), fields[1])
		}
	}
}
