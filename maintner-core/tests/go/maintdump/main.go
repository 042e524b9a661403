// Maintdump loads a folder of maintner-*.mutlog files into the Go corpus and
// prints its canonical dump (docs/protocol/canonical-dump.md).
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/golang/protobuf/proto"
	"golang.org/x/build/maintner"
	"golang.org/x/build/maintner/maintpb"
	"golang.org/x/build/maintner/reclog"
)

type object map[string]interface{}

type dump struct {
	lines []string
	users map[int64]string
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: maintdump FOLDER")
	}
	folder := os.Args[1]
	corpus := new(maintner.Corpus)
	if err := corpus.Initialize(context.Background(), maintner.NewDiskMutationLogger(folder)); err != nil {
		log.Fatal(err)
	}
	d := &dump{users: make(map[int64]string)}
	d.github(corpus)
	d.gerrit(corpus)
	d.commits(corpus, folder)
	for id, login := range d.users {
		d.put("ghuser", object{"id": id, "login": login})
	}
	sort.Strings(d.lines)
	out := bufio.NewWriter(os.Stdout)
	for _, line := range d.lines {
		fmt.Fprintln(out, line)
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

// put adds a line: the kind first, then the keys in their order.
func (d *dump) put(kind string, o object) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(o); err != nil {
		log.Fatal(err)
	}
	rest := strings.TrimSuffix(buf.String(), "\n")[1:]
	d.lines = append(d.lines, `{"kind":"`+kind+`",`+rest)
}

func (d *dump) user(u *maintner.GitHubUser) interface{} {
	if u == nil || u.ID == 0 {
		return nil
	}
	d.users[u.ID] = u.Login
	return u.ID
}

func seconds(t time.Time) interface{} {
	if t.IsZero() {
		return nil
	}
	return t.Unix()
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (d *dump) github(c *maintner.Corpus) {
	c.GitHub().ForeachRepo(func(r *maintner.GitHubRepo) error {
		repo, any := r.ID().String(), false
		r.ForeachLabel(func(l *maintner.GitHubLabel) error {
			any = true
			d.put("label", object{"id": l.ID, "name": l.Name, "repo": repo})
			return nil
		})
		r.ForeachMilestone(func(m *maintner.GitHubMilestone) error {
			any = true
			d.put("milestone", object{"closed": m.Closed, "id": m.ID, "number": m.Number, "repo": repo, "title": m.Title})
			return nil
		})
		r.ForeachIssue(func(i *maintner.GitHubIssue) error {
			any = true
			d.issue(repo, i)
			return nil
		})
		if any {
			d.put("ghrepo", object{"owner": r.ID().Owner, "repo": r.ID().Repo})
		}
		return nil
	})
}

func (d *dump) issue(repo string, i *maintner.GitHubIssue) {
	if i.NotExist {
		d.put("tombstone", object{"number": i.Number, "repo": repo})
		return
	}
	var milestone interface{}
	if i.Milestone.IsNone() {
		milestone = "none"
	} else if !i.Milestone.IsUnknown() {
		milestone = i.Milestone.ID
	}
	assignees := []interface{}{}
	for _, u := range i.Assignees {
		assignees = append(assignees, d.user(u))
	}
	labels := []int64{}
	for id := range i.Labels {
		labels = append(labels, id)
	}
	sort.Slice(labels, func(a, b int) bool { return labels[a] < labels[b] })
	d.put("issue", object{
		"assignees": assignees, "body_sha256": hash(i.Body), "closed": i.Closed, "closed_at": seconds(i.ClosedAt),
		"closed_by": d.user(i.ClosedBy), "created": seconds(i.Created), "id": i.ID, "labels": labels, "locked": i.Locked,
		"milestone": milestone, "number": i.Number, "pull_request": i.PullRequest, "repo": repo, "title": i.Title,
		"updated": seconds(i.Updated), "user": d.user(i.User),
	})
	i.ForeachComment(func(c *maintner.GitHubComment) error {
		d.put("comment", object{
			"body_sha256": hash(c.Body), "created": seconds(c.Created), "id": c.ID, "number": i.Number, "repo": repo,
			"updated": seconds(c.Updated), "user": d.user(c.User),
		})
		return nil
	})
	i.ForeachEvent(func(e *maintner.GitHubIssueEvent) error {
		d.event(repo, i.Number, e)
		return nil
	})
	i.ForeachReview(func(r *maintner.GitHubReview) error {
		d.put("review", object{
			"actor": d.user(r.Actor), "association": r.ActorAssociation, "body_sha256": hash(r.Body), "commit_id": r.CommitID,
			"created": seconds(r.Created), "id": r.ID, "number": i.Number, "repo": repo, "state": r.State,
		})
		return nil
	})
}

func (d *dump) event(repo string, number int32, e *maintner.GitHubIssueEvent) {
	commitRepo := ""
	if rest := strings.TrimPrefix(e.CommitURL, "https://api.github.com/repos/"); rest != e.CommitURL {
		commitRepo = rest[:strings.Index(rest, "/commits/")]
	}
	var team, dismissed interface{}
	if e.TeamReviewer != nil {
		team = e.TeamReviewer.ID
	}
	if r := e.DismissedReview; r != nil {
		dismissed = object{"message": r.DismissalMessage, "review_id": r.ReviewID, "state": r.State}
	}
	d.put("event", object{
		"actor": d.user(e.Actor), "assignee": d.user(e.Assignee), "assigner": d.user(e.Assigner), "commit_id": e.CommitID,
		"commit_repo": commitRepo, "created": seconds(e.Created), "dismissed": dismissed, "from": e.From, "id": e.ID,
		"label": e.Label, "milestone": e.Milestone, "number": number, "repo": repo, "requester": d.user(e.ReviewRequester),
		"reviewer": d.user(e.Reviewer), "team": team, "to": e.To, "type": e.Type,
	})
}

func (d *dump) gerrit(c *maintner.Corpus) {
	c.Gerrit().ForeachProjectUnsorted(func(p *maintner.GerritProject) error {
		project := p.ServerSlashProject()
		p.ForeachNonChangeRef(func(ref string, h maintner.GitHash) error {
			d.put("ref", object{"hash": h.String(), "project": project, "ref": ref})
			return nil
		})
		return p.ForeachCLUnsorted(func(cl *maintner.GerritCL) error {
			d.change(project, cl)
			return nil
		})
	})
}

func (d *dump) change(project string, cl *maintner.GerritCL) {
	metas := []string{}
	for _, m := range cl.Metas {
		metas = append(metas, m.Commit.Hash.String())
	}
	last := cl.Metas[len(cl.Metas)-1]
	votes := map[string]map[string]int8{}
	for label, voters := range last.LabelVotes() {
		if len(voters) > 0 {
			votes[label] = voters
		}
	}
	messages := []object{}
	for _, m := range cl.Messages {
		messages = append(messages, object{
			"author": m.Author.Str, "date": m.Date.Unix(), "text_sha256": hash(m.Message), "version": m.Version,
		})
	}
	refs := []string{}
	for _, r := range cl.GitHubIssueRefs {
		refs = append(refs, r.String())
	}
	sort.Strings(refs)
	d.put("cl", object{
		"branch": cl.Branch(), "commit": cl.Commit.Hash.String(), "created": cl.Created.Unix(), "hashtags": string(last.Hashtags()),
		"messages": messages, "metas": metas, "number": cl.Number, "private": cl.Private, "project": project, "refs": refs,
		"status": cl.Status, "version": cl.Version, "votes": votes, "wip": cl.WorkInProgress(),
	})
}

// commits looks up every hash that the log names, since the corpus lists none.
func (d *dump) commits(c *maintner.Corpus, folder string) {
	files, err := filepath.Glob(filepath.Join(folder, "maintner-*.mutlog"))
	if err != nil {
		log.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, file := range files {
		err := reclog.ForeachFileRecord(file, func(_ int64, _, rec []byte) error {
			m := new(maintpb.Mutation)
			if err := proto.Unmarshal(rec, m); err != nil {
				return err
			}
			d.commit(c, seen, m.GetGit().GetCommit())
			for _, commit := range m.GetGerrit().GetCommits() {
				d.commit(c, seen, commit)
			}
			return nil
		})
		if err != nil {
			log.Fatal(err)
		}
	}
}

func (d *dump) commit(c *maintner.Corpus, seen map[string]bool, logged *maintpb.GitCommit) {
	if logged == nil {
		return
	}
	found := c.GitCommit(logged.Sha1)
	if found == nil {
		return
	}
	d.known(seen, found)
	for _, parent := range found.Parents {
		d.known(seen, parent)
	}
}

func (d *dump) known(seen map[string]bool, c *maintner.GitCommit) {
	name := c.Hash.String()
	if seen[name] {
		return
	}
	seen[name] = true
	if c.Author == nil {
		d.put("placeholder", object{"hash": name})
		return
	}
	parents, files := []string{}, [][]interface{}{}
	for _, p := range c.Parents {
		parents = append(parents, p.Hash.String())
	}
	for _, f := range c.Files {
		files = append(files, []interface{}{f.File, f.Added, f.Deleted, f.Binary})
	}
	authorZone, _ := c.AuthorTime.Zone()
	commitZone, _ := c.CommitTime.Zone()
	d.put("commit", object{
		"author": c.Author.Str, "author_time": c.AuthorTime.Unix(), "author_tz": authorZone, "committer": c.Committer.Str,
		"committer_time": c.CommitTime.Unix(), "committer_tz": commitZone, "files": files, "hash": name,
		"msg_sha256": hash(c.Msg), "parents": parents, "tree": c.Tree.String(),
	})
}
