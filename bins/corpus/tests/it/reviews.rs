//! `cl` and `relnote`, over a small log and a Gerrit in memory.

use std::path::Path;

use build_client::fake_gerrit::FakeGerrit;
use build_client::gerrit::CommentInfo;
use maintner_core::GitHash;
use maintner_core::log::LogWriter;
use maintner_core::pb::{GerritMutation, GitCommit, GitDiffTree, GitRef, Mutation};
use maintner_core::source::MutationSink as _;

use crate::{Ran, run};

const TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
/// 2020-12-01.
const DAY: i64 = 1_606_780_800;

/// A log being made.
#[derive(Default)]
struct Log {
    mutations: Vec<Mutation>,
    hashes: u8,
}

impl Log {
    fn commit(&mut self, parent: Option<&str>, who: &str, time: i64, message: &str) -> GitCommit {
        self.hashes += 1;
        let parent = parent.map_or_else(String::new, |parent| format!("parent {parent}\n"));
        let raw = format!(
            "tree {TREE}\n{parent}author {who} {time} +0000\ncommitter {who} {time} +0000\n\n{message}"
        );
        GitCommit {
            sha1: GitHash::new([self.hashes; 20]).to_string(),
            raw: raw.into_bytes(),
            diff_tree: Some(GitDiffTree::default()),
        }
    }

    /// A change: what it says, and what was done to it, each by whom.
    fn cl(&mut self, project: &str, number: i32, message: &str, acts: &[(&str, &str)]) {
        let change = self.commit(None, "Ann <ann@x.test>", DAY, message);
        let mut commits = vec![change.clone()];
        let mut parent: Option<String> = None;
        for (at, (who, text)) in acts.iter().enumerate() {
            let time = DAY + i64::try_from(at).unwrap() * 86_400;
            let meta = self.commit(parent.as_deref(), who, time, text);
            parent = Some(meta.sha1.clone());
            commits.push(meta);
        }
        let dir = format!("refs/changes/{:02}/{number}", number % 100);
        let refs = [("1", change.sha1), ("meta", parent.unwrap())].map(|(name, sha1)| GitRef {
            r#ref: format!("{dir}/{name}"),
            sha1,
        });
        let gerrit = GerritMutation {
            project: format!("go.googlesource.com/{project}"),
            commits,
            refs: refs.into(),
            deleted_refs: Vec::new(),
        };
        self.mutations.push(Mutation {
            gerrit: Some(gerrit),
            ..Mutation::default()
        });
    }

    fn write(&self, dir: &Path) {
        LogWriter::open(dir)
            .unwrap()
            .append_mutations(&self.mutations)
            .unwrap();
    }
}

const ANN: &str = "Ann <1000@i>";
const BO: &str = "Bo <1001@i>";
const CY: &str = "Cy <1002@i>";

fn created(status: &str) -> String {
    format!(
        "Create change\n\nUploaded patch set 1.\n\nPatch-set: 1\nBranch: refs/heads/master\nStatus: {status}\n"
    )
}

/// A log of five changes.
fn log(dir: &Path) {
    let mut log = Log::default();
    let new = created("new");
    let reviewer = "Update patch set 1\n\nPatch-set: 1\nReviewer: Bo <1001@i>\n";
    let vote = "Update patch set 1\n\nPatch Set 1: Code-Review+2\n\nPatch-set: 1\nReviewer: Bo <1001@i>\nLabel: Code-Review=+2\n";
    log.cl(
        "net",
        11,
        "html: parse more\n",
        &[(ANN, &new), (ANN, reviewer)],
    );
    log.cl(
        "go",
        12,
        "fmt: print more\n",
        &[(ANN, &new), (ANN, reviewer), (BO, vote)],
    );
    log.cl(
        "go",
        13,
        "all: wait, DO NOT REVIEW\n",
        &[
            (ANN, &new),
            (
                CY,
                "Update patch set 1\n\nPatch Set 1:\n\n(1 comment)\n\nPatch-set: 1\n",
            ),
        ],
    );
    let merged = "Update patch set 1\n\nPatch-set: 1\nStatus: merged\n";
    log.cl(
        "go",
        14,
        "net/http: serve more\n\nRELNOTE=yes\n",
        &[(ANN, &new), (BO, merged)],
    );
    log.cl(
        "go",
        15,
        "cmd/go: build more\n",
        &[(ANN, &new), (BO, merged)],
    );
    log.write(dir);
}

fn server() -> FakeGerrit {
    let server = FakeGerrit::start().unwrap();
    {
        let mut world = server.world();
        for name in ["ann", "bobobobobobobobobo", "cy"] {
            world.account(&format!("{name}@x.test"));
        }
    }
    server
}

fn cl(dir: &Path, server: &FakeGerrit, args: &[&str]) -> Ran {
    let cache = dir.join("accounts.cache");
    let mut all: Vec<&dyn AsRef<Path>> = vec![&"-gerrit"];
    let url = server.url();
    all.extend([&url as &dyn AsRef<Path>, &"-accounts", &cache]);
    all.extend(args.iter().map(|arg| arg as &dyn AsRef<Path>));
    all.push(&dir);
    run("cl", &all)
}

/// The lines without the days, which depend on today.
fn lines(ran: &Ran) -> Vec<String> {
    let line = |line: &str| {
        format!(
            "{} {}",
            &line[..8].trim_end(),
            line.split_once("d ").unwrap().1
        )
    };
    ran.out.lines().map(line).collect()
}

#[test]
fn cl_tells_who_waits_for_whom() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path());
    let server = server();
    let done = cl(dir.path(), &server, &[]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(
        lines(&done),
        [
            "CL 13 go   ann*    cy              all: wait, DO NOT REVIEW",
            "CL 12 go   ann*    bobobobobo...+2 fmt: print more",
            "CL 11 net  ann     bobobobobob...* html: parse more",
        ],
        "{}",
        done.out
    );
    let asked = server.seen().len();
    let needed = cl(dir.path(), &server, &["-r", "-url"]);
    assert!(
        needed.out.starts_with("https://golang.org/cl/11 ") && needed.out.lines().count() == 1,
        "{}",
        needed.out
    );
    assert_eq!(server.seen().len(), asked, "the accounts are kept");
    let numbers = |args: &[&str]| {
        lines(&cl(dir.path(), &server, args))
            .iter()
            .map(|l| l[3..5].to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(&["-sort=delay"]), ["11", "13", "12"]);
    assert_eq!(numbers(&["-sort", "age"]), ["13", "12", "11"]);
    assert_eq!(numbers(&["-closed", "-project", "go"]).len(), 4);
    assert_eq!(numbers(&["-dnr"]), ["13"]);
    assert_eq!(numbers(&["-cl=12"]), ["12"]);
    assert!(numbers(&["-cl=99"]).is_empty());
    let done = cl(dir.path(), &server, &["-json", "-cl=12"]);
    let told: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(
        (&told[0]["score"], &told[0]["needs_review"]),
        (&2.into(), &false.into())
    );
    let done = cl(dir.path(), &server, &["-sort=foo"]);
    assert!(
        done.code == Some(1) && done.err.contains("unknown sort order"),
        "{}",
        done.err
    );
    drop(server);
    let gone = FakeGerrit::start().unwrap();
    let offline = cl(dir.path(), &gone, &["-offline"]);
    assert_eq!(offline.out.lines().count(), 3, "from what is kept");
}

#[test]
fn relnote_gathers_what_changes_say() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path());
    let server = FakeGerrit::start().unwrap();
    {
        let mut world = server.world();
        for n in 1..=15 {
            world.change("go", "master", &format!("x {n}"), "ann@x.test");
        }
        for n in [14, 15] {
            let change = world.changes.get_mut(&n).unwrap();
            change.info.status = "MERGED".into();
            let comment = CommentInfo {
                message: "RELNOTE=new flag\nmore".into(),
                ..CommentInfo::default()
            };
            change.comments.insert("a.go".into(), vec![comment]);
        }
    }
    let url = server.url();
    let folder = dir.path();
    let relnote = |args: &[&str]| {
        let mut all: Vec<&dyn AsRef<Path>> = vec![
            &"-since",
            &"2020-08-01",
            &"-corpus",
            &folder,
            &"-gerrit",
            &url,
        ];
        all.extend(args.iter().map(|arg| arg as &dyn AsRef<Path>));
        run("relnote", &all)
    };
    let done = relnote(&[]);
    let text = "cmd/go\n  https://golang.org/cl/15: new flag: cmd/go: build more\nnet/http\n  https://golang.org/cl/14: net/http: serve more\n";
    assert_eq!(
        (done.out.as_str(), done.code),
        (text, Some(0)),
        "{}",
        done.err
    );
    assert!(
        server.seen()[0].contains(
            "since%3A2020-08-01+%28comment%3A%22RELNOTE%22+OR+comment%3A%22RELNOTES%22%29"
        ),
        "{:?}",
        server.seen()
    );
    let html = relnote(&["-html"]).out;
    assert!(
        html.starts_with("<!-- CL 15: ")
            && html.contains("TODO: <a href=\"https://golang.org/cl/14\">"),
        "{html}"
    );
    let asked = server.seen().len();
    assert_eq!(relnote(&["-offline"]).out.lines().count(), 2);
    assert_eq!(server.seen().len(), asked);
    let notes = folder.join("notes");
    std::fs::write(&notes, "<!-- CL 142 --> CL 15").unwrap();
    let done = relnote(&["-exclude-from", notes.to_str().unwrap(), "-format=json"]);
    assert!(
        done.out.contains("\"cl\":14") && done.out.lines().count() == 1,
        "{}",
        done.out
    );
    assert_eq!(relnote(&["-since=2020-12-02"]).out, "");
    let done = relnote(&["bogus"]);
    assert!(
        done.code == Some(1) && done.err.contains("unknown command \"bogus\""),
        "{}",
        done.err
    );
}

#[test]
fn relnote_merges_fragments() {
    let dir = tempfile::tempdir().unwrap();
    let goroot = dir.path();
    let write = |name: &str, text: &str| {
        let path = goroot.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    log(&goroot.join("corpus"));
    write(
        "src/internal/goversion/goversion.go",
        "package goversion\n\nconst Version = 23\n",
    );
    write(
        "doc/next/1-intro.md",
        "## Introduction\n\nTODO: write more\n",
    );
    write(
        "doc/next/6-stdlib/9-minor/net/http/14.md",
        "[Server] serves more (CL 14).\n",
    );
    let relnote = |args: &[&str]| {
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_farmer-corpus"))
            .arg("relnote")
            .args(args)
            .args(["-goroot", "."])
            .current_dir(goroot)
            .output()
            .unwrap();
        (
            String::from_utf8(done.stdout).unwrap(),
            String::from_utf8(done.stderr).unwrap(),
            done.status.code(),
        )
    };
    assert_eq!(relnote(&["generate"]).0, "go1.23.md\n");
    let merged = std::fs::read_to_string(goroot.join("go1.23.md")).unwrap();
    assert!(
        merged.contains("#### [`net/http`](/pkg/net/http/)")
            && merged.contains("[Server](/pkg/net/http#Server)"),
        "{merged}"
    );
    let (out, err, code) = relnote(&["todo", "-since", "2020-08-01", "-corpus", "corpus"]);
    assert_eq!(
        (out.as_str(), code),
        ("1-intro.md:3: TODO: write more\n", Some(0)),
        "{err}"
    );
    write("doc/next/7-a.md", "[x]: /one\n");
    write("doc/next/7-b.md", "[x]: /two\n");
    let (_, err, code) = relnote(&["generate"]);
    assert!(
        code == Some(1) && err.contains("7-b.md: the link [x] is defined in 7-a.md already"),
        "{err}"
    );
}
