// Program farmdata prints what the Go configuration packages say, as one JSON document: the
// tables, and the answer of every policy function.
package main

import (
	"encoding/json"
	"log"
	"os"
	"strings"

	"golang.org/x/build"
	"golang.org/x/build/buildenv"
	"golang.org/x/build/dashboard"
	"golang.org/x/build/repos"
	"golang.org/x/build/types"
)

var branches = []string{
	"master", "dev.link", "dev.boringcrypto", "dev.boringcrypto.go1.15", "release-branch.go1.10",
	"release-branch.go1.11", "release-branch.go1.12", "release-branch.go1.13", "release-branch.go1.14",
	"release-branch.go1.15", "release-branch.go1.16", "release-branch.go2", "release-branch.go1.15-security",
	"release-branch.go01.2", "release-branch.go1.0", "other",
}

var projects = []string{
	"go", "net", "sys", "mobile", "exp", "build", "tools", "website", "crypto", "oauth2", "perf", "grpc-review", "tour", "arch", "unheard-of",
}

var distTests = []string{
	"api", "reboot", "test:0_1", "go_test:cmd/go", "cmd/go", "go_test:net/http", "race", "runtime:cpu124",
	"moved_goroot", "wiki", "codewalk", "doc_progs", "bench_go1", "nolibgcc:crypto/x509",
	"go_test:cmd/internal/obj", "go_test:cmd/vendor/golang.org/x/arch/x86", "go_test:cmd/vendor/github.com/google/pprof/driver", "testfoo",
}

type builder struct {
	Env, MakeScriptArgs, AllScriptArgs, RacePackages                     []string
	ModulesEnv                                                           map[string][]string
	GOOS, GOARCH, AllScript, MakeScript, GorootFinal, ShortOwner, Github string
	Path, GoBootstrapURL                                                 string
	SplitMakeRun, Race, LongTest, Outbound, TryOnly, NeedsGoProxy        bool
	Reverse, Container, VM                                               bool
	Helpers, TryHelpers                                                  int
	LimitSeconds                                                         float64
	// For each project, branch and Go branch: a letter of "-ptb", for neither, post-submit, try, both.
	Builds map[string]string
	// For each dist test: the same letters.
	DistTests string
}

type host struct {
	PoolName, MachineType, ContainerVMImage, BuildletURL string
	VM, Container, EC2, Hermetic                         bool
	CPUs                                                 int
}

func letter(post, try bool) byte {
	switch {
	case post && try:
		return 'b'
	case post:
		return 'p'
	case try:
		return 't'
	}
	return '-'
}

func main() {
	page, err := json.MarshalIndent(struct {
		Builders map[string]*dashboard.BuildConfig
		Hosts    map[string]*dashboard.HostConfig
	}{dashboard.Builders, dashboard.Hosts}, "", "\t")
	if err != nil {
		log.Fatal(err)
	}
	builders := map[string]builder{}
	slow := map[string][]string{}
	for name, c := range dashboard.Builders {
		b := builder{
			Env: c.Env(), MakeScriptArgs: c.MakeScriptArgs(), AllScriptArgs: c.AllScriptArgs(),
			RacePackages: c.GoInstallRacePackages(), ModulesEnv: map[string][]string{},
			GOOS: c.GOOS(), GOARCH: c.GOARCH(), AllScript: c.AllScript(), MakeScript: c.MakeScript(),
			GorootFinal: c.GorootFinal(), ShortOwner: c.ShortOwner(), Github: c.OwnerGithub(),
			Path: c.FilePathJoin("a", "b/c"), GoBootstrapURL: c.GoBootstrapURL(buildenv.Production),
			SplitMakeRun: c.SplitMakeRun(), Race: c.IsRace(), LongTest: c.IsLongTest(),
			Outbound: c.OutboundNetworkAllowed(), TryOnly: c.IsTryOnly(), NeedsGoProxy: c.NeedsGoProxy(),
			Reverse: c.IsReverse(), Container: c.IsContainer(), VM: c.IsVM(),
			Helpers: c.NumTestHelpers(false), TryHelpers: c.NumTestHelpers(true),
			LimitSeconds: c.DistTestsExecTimeout([]string{"x"}).Seconds(),
			Builds:       map[string]string{},
		}
		for _, p := range projects {
			b.ModulesEnv[p] = c.ModulesEnv(p)
			for _, branch := range branches {
				var letters strings.Builder
				for _, goBranch := range branches {
					if p == "go" && branch != goBranch {
						continue
					}
					letters.WriteByte(letter(c.BuildsRepoPostSubmit(p, branch, goBranch), c.BuildsRepoTryBot(p, branch, goBranch)))
				}
				b.Builds[p+" "+branch] = letters.String()
			}
		}
		var letters strings.Builder
		for _, t := range distTests {
			letters.WriteByte(letter(c.ShouldRunDistTest(t, false), c.ShouldRunDistTest(t, true)))
		}
		b.DistTests = letters.String()
		builders[name] = b
		for _, term := range []string{name, c.GOOS(), c.GOARCH(), c.GOOS() + "-" + c.GOARCH(), ""} {
			if c.MatchesSlowBotTerm(term) {
				slow[term] = append(slow[term], name)
			}
		}
	}
	hosts := map[string]host{}
	for name, h := range dashboard.Hosts {
		out := host{
			PoolName: h.PoolName(), MachineType: h.MachineType(), ContainerVMImage: h.ContainerVMImage(),
			VM: h.IsVM(), Container: h.IsContainer(), EC2: h.IsEC2(), Hermetic: h.IsHermetic(), CPUs: h.GCENumCPU(),
		}
		if !h.IsReverse {
			out.BuildletURL = h.BuildletBinaryURL(buildenv.Production)
		}
		hosts[name] = out
	}
	tries := map[string][]string{}
	for _, p := range projects {
		for _, branch := range branches {
			var names []string
			for _, c := range dashboard.TryBuildersForProject(p, branch, branch) {
				names = append(names, c.Name)
			}
			tries[p+" "+branch] = names
		}
	}
	any := dashboard.Builders["linux-amd64"]
	gopath := map[string]bool{}
	for _, pkg := range []string{"golang.org/x/net", "golang.org/x/tools/gopls", "golang.org/x/tools/gopls/a", "golang.org/x/tools/goplsx", "golang.org/x/net/http2/h2demo", "golang.org/x/net/http2/h2demo/a"} {
		gopath[pkg] = any.ShouldTestPackageInGOPATHMode(pkg)
	}
	write(map[string]interface{}{
		"page": string(page), "branches": branches, "projects": projects, "dist_tests": distTests,
		"builders": builders, "hosts": hosts, "tries": tries, "slow": slow, "gopath": gopath,
		"environments": environments(), "repos": repositories(), "instances": instances(), "records": records(),
	})
}

func environments() map[string]interface{} {
	all := map[string]interface{}{}
	for _, e := range []*buildenv.Environment{buildenv.Production, buildenv.Staging, buildenv.Development} {
		region := ""
		if e.ControlZone != "" {
			region = e.Region()
		}
		id := e.ProjectName
		if id == "" {
			id = "dev"
		}
		all[id] = map[string]interface{}{
			"fields": e, "compute": e.ComputePrefix(), "region": region, "dash": e.DashBase(),
			"snapshot": e.SnapshotURL("linux-amd64", "0123456789012345678901234567890123456789"),
			"same":     buildenv.ByProjectID(id) == e,
		}
	}
	return all
}

func repositories() map[string]interface{} {
	all := map[string]interface{}{}
	for name, r := range repos.ByGerritProject {
		all[name] = map[string]interface{}{
			"import": r.ImportPath, "mirror": r.MirrorToGitHub, "github": r.GitHubRepo(), "build": r.CoordinatorCanBuild,
			"dash": r.ShowOnDashboard(), "desc": r.WebsiteDesc, "pkg": r.UsePkgGoDev(),
			"same": r.ImportPath == "" || repos.ByImportPath[r.ImportPath] == r,
		}
	}
	return all
}

func instances() map[string]string {
	all := map[string]string{}
	for _, name := range []string{"prod", "staging", "localhost", "localhost:8119", "farm.example.com", "farm.example.com:99", "::1", "127.0.0.1", "127.0.0.1:1", ""} {
		at, err := build.CoordinatorInstance(name).TLSHostPort()
		if err != nil {
			at = "error"
		}
		all[name] = at
	}
	return all
}

// records are the wire texts of the shared types, full and empty.
func records() map[string]interface{} {
	var status types.ReverseBuilderStatus
	h := status.Host("host-a")
	h.Connected, h.Expect = 1, 2
	h.Machines = map[string]*types.ReverseBuilder{"m": {Name: "m", HostType: "host-a", ConnectedSec: 1.5, Version: "25", Busy: true, BusySec: 3}}
	return map[string]interface{}{
		"reverse": status, "reverse_empty": types.ReverseBuilderStatus{},
		"wait":   types.BuildletWaitStatus{Message: "", Ahead: 3},
		"active": []types.ActivePostSubmitBuild{{Builder: "b", Commit: "c", StatusURL: "u"}, {Builder: "b", Commit: "c", GoCommit: "g", StatusURL: "u"}},
		"build": types.BuildStatus{Builders: []string{"b1", "b2"}, Revisions: []types.BuildRevision{
			{Repo: "go", Revision: "r", Date: "2020-12-01T00:00:00Z", Branch: "master", Author: "A <a@example.com>", Desc: "x: y", Results: []string{"ok", ""}},
			{Repo: "net", Revision: "r", GoRevision: "g", Date: "2020-12-01T00:00:00Z", Branch: "master", GoBranch: "master", Author: "A", Desc: "d", Results: []string{"", "http://x/log/1"}},
		}},
	}
}

func write(v interface{}) {
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		log.Fatal(err)
	}
}
