// Maintfollow follows a log server with the Go corpus and prints, after it has loaded and after
// each update, one line: the number of issues and refs, and a hash of what it knows of them. A
// split is printed as "split" and ends it.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"os"
	"sort"
	"time"

	"golang.org/x/build/maintner"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: maintfollow URL CACHE")
	}
	ctx := context.Background()
	corpus := new(maintner.Corpus)
	if err := corpus.Initialize(ctx, maintner.NewNetworkMutationSource(os.Args[1], os.Args[2])); err != nil {
		log.Fatal(err)
	}
	show(corpus)
	for {
		err := corpus.Update(ctx)
		switch {
		case err == maintner.ErrSplit:
			fmt.Println("split")
			return
		case err != nil:
			fmt.Println("error:", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		show(corpus)
	}
}

func show(corpus *maintner.Corpus) {
	n, sum := 0, sha256.New()
	corpus.GitHub().ForeachRepo(func(r *maintner.GitHubRepo) error {
		return r.ForeachIssue(func(i *maintner.GitHubIssue) error {
			n++
			fmt.Fprintf(sum, "%s#%d %s %t\n", r.ID(), i.Number, i.Title, i.Closed)
			return nil
		})
	})
	var refs []string
	corpus.Gerrit().ForeachProjectUnsorted(func(p *maintner.GerritProject) error {
		return p.ForeachNonChangeRef(func(ref string, hash maintner.GitHash) error {
			refs = append(refs, fmt.Sprintf("%s %s %s\n", p.ServerSlashProject(), ref, hash))
			return nil
		})
	})
	sort.Strings(refs)
	for _, ref := range refs {
		n++
		io.WriteString(sum, ref)
	}
	fmt.Printf("%d %x\n", n, sum.Sum(nil))
}
