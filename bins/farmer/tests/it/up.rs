//! `farmer up`: a farm that runs, used and attacked as its users and their neighbours would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use maintner_core::log::LogWriter;
use maintner_core::pb;
use maintner_core::source::MutationSink as _;
use serde_json::Value;

use crate::processes::{below, kill, wait_until};
use crate::repo::{Repo, Run};

/// Longer than anything here takes on a loaded machine.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// A farm that runs on a repository, on a free port.
pub(crate) struct Farm {
    child: Option<Child>,
    pub(crate) address: String,
}

impl Farm {
    /// Starts one; the address is the first thing it says.
    fn start(repo: &Repo) -> Self {
        Self::start_with(repo, &["--machines", "1"])
    }

    /// Starts one with more arguments.
    pub(crate) fn start_with(repo: &Repo, args: &[&str]) -> Self {
        Self::of(repo.farmer(), args)
    }

    /// As the command says, with more arguments.
    pub(crate) fn of(mut command: Command, args: &[&str]) -> Self {
        let mut child = command
            .args(["up", "--port", "0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("http://").unwrap().to_owned();
        assert!(address.starts_with("localhost:"), "{line}");
        Self {
            child: Some(child),
            address,
        }
    }

    /// The answer to a request written by hand: its status and its body.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[&str]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|h| h.starts_with("Host:")) {
            request += &format!("Host: {}\r\n", self.address);
        }
        for header in headers {
            request += &format!("{header}\r\n");
        }
        write!(stream, "{request}Content-Length: 0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// The first Ctrl-C; what it said at its end.
    pub(crate) fn stop(self) -> Run {
        self.signaled(&["INT"])
    }

    /// Waits until it ends by itself; what it said.
    pub(crate) fn ended(self) -> Run {
        self.signaled(&[])
    }

    /// Sends signals, one right after the other; what it said at its end.
    fn signaled(mut self, signals: &[&str]) -> Run {
        let child = self.child.take().unwrap();
        for signal in signals {
            kill(child.id(), signal);
        }
        Run::of(child.wait_with_output().unwrap())
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already; then there is nothing to kill.
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// The newest builds, newest first.
pub(crate) fn builds(repo: &Repo) -> Vec<Value> {
    let run = repo.run(&["status", "--json"]);
    if run.code() == 0 {
        run.events()
    } else {
        Vec::new()
    }
}

pub(crate) fn wait_for_build(repo: &Repo, commit: &str, state: &str) -> Value {
    let mut found = None;
    let wanted = |b: &Value| b["item"]["commit"] == commit && b["state"] == state;
    wait_until(&format!("a {state} build of {commit}"), SOON, || {
        found = builds(repo).into_iter().find(wanted);
        found.is_some()
    });
    found.unwrap()
}

pub(crate) fn id(build: &Value) -> &str {
    build["id"].as_str().unwrap()
}

pub(crate) const ECHO: &str = "[[step]]\nname = \"echo\"\nrun = \"cat word\"\n";

/// A corpus beside the farm, in which Bob has reviewed a commit of Ann's pull request 7.
fn corpus(repo: &Repo, commit: &str) {
    let user = |id, login: &str| {
        let login = login.to_owned();
        Some(pb::GithubUser { id, login })
    };
    let issue = |number, author| pb::GithubIssueMutation {
        owner: "octo".to_owned(),
        repo: "app".to_owned(),
        number,
        user: author,
        title: "A change".to_owned(),
        created: Some(pb::Timestamp::default()),
        pull_request: true,
        ..pb::GithubIssueMutation::default()
    };
    let review = pb::GithubReview {
        id: 1,
        actor_id: 2,
        commit_id: commit.to_owned(),
        state: "APPROVED".to_owned(),
        ..pb::GithubReview::default()
    };
    let mut seven = issue(7, user(1, "ann"));
    seven.review = vec![review];
    let all = [issue(6, user(2, "bob")), seven].map(|issue| pb::Mutation {
        github_issue: Some(issue),
        ..pb::Mutation::default()
    });
    let mut log = LogWriter::open(repo.data().join("corpus")).unwrap();
    log.append_mutations(&all).unwrap();
}

#[test]
fn commits_are_built_and_every_command_uses_the_farm_that_runs() {
    let repo = Repo::new();
    let first = repo
        .write(".farmer.toml", ECHO)
        .write("word", "alpha\n")
        .commit("first");
    corpus(&repo, &first);
    let farm = Farm::start(&repo);
    let reviewed = wait_for_build(&repo, &first, "passed");
    let path = format!("/api/v1/builds/{}", id(&reviewed));
    // The corpus is read while the farm begins.
    let mut told = Value::Null;
    wait_until("the farm knows its corpus", SOON, || {
        told = serde_json::from_str(&farm.ask("GET", &path, &[]).1).unwrap();
        !told["review"].is_null()
    });
    assert_eq!(told["review"]["url"], "https://github.com/octo/app/pull/7");
    assert_eq!(told["review"]["reviewers"][0], "bob");
    let page = farm
        .ask("GET", &format!("/builds/{}", id(&reviewed)), &[])
        .1;
    assert!(page.contains("#7</a> A change, by ann"), "{page}");
    let second = repo.write("word", "beta\n").commit("second");
    let build = wait_for_build(&repo, &second, "passed");
    assert_eq!(build["item"]["class"], "default_tip");

    let run = repo.run(&["build"]).exits(0);
    assert!(run.out().contains("beta"), "{}", run.out());
    assert!(run.err().contains("in farmer up"), "{}", run.err());
    let json = repo
        .run(&["build", "--json", "--rev", &first])
        .exits(0)
        .events();
    assert_eq!(json[0]["kind"], "queued");
    repo.git(&["rm", "-q", "word"]);
    let broken = repo.commit("breaks it");
    let run = repo.run(&["build"]).exits(1);
    assert!(run.err().contains("exit status 1"), "{}", run.err());
    assert!(run.out().contains("No such file"), "{}", run.out());
    wait_for_build(&repo, &broken, "failed");
    repo.run(&["build", "--rev", "nope"]).exits(2);
    let refused = repo.run(&["build", "--machines", "3"]).exits(2);
    assert!(refused.err().contains("--machines"), "{}", refused.err());

    let again = repo.run(&["rerun", id(&build), "--json"]).exits(0).events();
    assert_eq!(again[0]["item"]["commit"], second);
    wait_until("the build that was run again", SOON, || {
        let of = |b: &Value| b["id"] == again[0]["id"] && b["state"] == "passed";
        builds(&repo).iter().any(of)
    });
    let log = repo.run(&["log", id(&build)]).exits(0);
    assert!(log.out().contains("beta"), "{}", log.out());
    let late = repo.run(&["cancel", id(&build)]).exits(2);
    assert!(late.err().contains("has ended already"), "{}", late.err());
    repo.run(&["cancel", "B000000000"]).exits(2);

    // What is wanted is said, and taken back: by the build that it wants, and by its key.
    let nobody = repo.run(&["wish", "withdraw", id(&build)]).exits(2);
    assert!(nobody.err().contains("it has ended"), "{}", nobody.err());
    let slow = ECHO.replace("cat word", "sleep 600");
    let slow = repo.write(".farmer.toml", &slow).commit("slow");
    let build = wait_for_build(&repo, &slow, "running");
    let wanted = ["wish", "list", "--json", "--build", id(&build)];
    let wanted = repo.run(&wanted).exits(0).events();
    assert_eq!(
        (wanted.len(), &wanted[0]["commit"]),
        (1, &build["item"]["commit"])
    );
    let key = wanted[0]["key"].as_str().unwrap();
    let listed = repo.run(&["wish", "list"]).exits(0).out();
    assert!(
        listed.contains(key) && listed.contains("\"slow\""),
        "{listed}"
    );
    let withdrawn = repo.run(&["wish", "withdraw", id(&build)]).exits(0);
    assert_eq!(withdrawn.out(), format!("{key} is withdrawn\n"));
    wait_for_build(&repo, &slow, "canceled");
    repo.run(&["wish", "withdraw", key]).exits(2);

    // The repository is called otherwise, and lies somewhere else too.
    let known = repo.run(&["repo", "list", "--json"]).exits(0).events();
    let (name, origin) = (&known[0]["name"], &known[0]["origin"]);
    repo.run(&["repo", "rename", name.as_str().unwrap(), "apple/tree"])
        .exits(0);
    let moved = ["repo", "move", "apple/tree", "https://new.example/tree"];
    repo.run(&moved).exits(0);
    let there = ["repo", "rename", origin.as_str().unwrap(), "tree", "--json"];
    let renamed = repo.run(&there).exits(0).events();
    assert_eq!(renamed[0]["id"], known[0]["id"]);
    assert_eq!(renamed[0]["origin"], "https://new.example/tree");
    let lost = repo.run(&["repo", "rename", "pear", "plum"]).exits(2);
    assert!(lost.err().contains("farmer repo list"), "{}", lost.err());
    assert!(
        repo.run(&["repo", "list"])
            .exits(0)
            .out()
            .starts_with("tree  R")
    );

    let twice = repo.run(&["up", "--port", "0"]);
    assert_ne!(twice.code(), 0);
    assert!(
        twice.err().contains("farmer up"),
        "names the owner: {}",
        twice.err()
    );
    let port = farm.address.rsplit(':').next().unwrap();
    let other = repo.home().join("other").display().to_string();
    let busy = repo.run(&["up", "--port", port, "--data", &other]).exits(2);
    assert!(
        busy.err().contains("another program listens"),
        "{}",
        busy.err()
    );
    let open = repo
        .run(&["up", "--addr", "0.0.0.0", "--data", &other])
        .exits(2);
    assert!(open.err().contains("--insecure-http"), "{}", open.err());
    farm.stop().exits(0);
    let offline = repo.run(&["rerun", id(&build)]).exits(2);
    assert!(
        offline.err().contains("start one with: farmer up"),
        "{}",
        offline.err()
    );
    repo.run(&["status"]).exits(0);
    repo.run(&["why", id(&build)]).exits(0);
}

const WAIT: &str =
    "[[step]]\nname = \"wait\"\nrun = \"echo begun; until [ -e GO ]; do sleep 0.05; done\"\n";

#[test]
fn neighbours_change_nothing_and_a_stopped_farm_goes_on_at_its_next_start() {
    let repo = Repo::new();
    let go = repo.home().join("go");
    let wait = WAIT.replace("GO", &go.display().to_string());
    let commit = repo.write(".farmer.toml", &wait).commit("waits");
    let farm = Farm::start(&repo);
    let build = wait_for_build(&repo, &commit, "running");
    let cancel = format!("/api/v1/builds/{}/cancel", id(&build));

    for file in ["token", "lock"] {
        let mode = std::fs::metadata(repo.data().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file} is its owner's alone");
    }
    let token = std::fs::read_to_string(repo.data().join("token")).unwrap();
    let token = format!("Authorization: Bearer {}", token.trim());
    for (status, headers) in [
        (401, &[][..]),
        (401, &["Authorization: Bearer farmer_guess"]),
        (403, &[&token, "Origin: https://attacker.example"]),
        (403, &[&token, "Sec-Fetch-Site: cross-site"]),
        (421, &[&token, "Host: attacker.example"]),
    ] {
        let (answered, body) = farm.ask("POST", &cancel, headers);
        assert_eq!(answered, status, "{headers:?}: {body}");
        let refusal: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(refusal["code"], "denied");
        assert!(!refusal["hint"].as_str().unwrap().is_empty());
    }
    let (status, row) = farm.ask("GET", &format!("/api/v1/builds/{}", id(&build)), &[]);
    assert_eq!(status, 200);
    assert!(row.contains("\"running\""), "{row}");
    let why = repo.run(&["why", id(&build)]).exits(0);
    assert!(why.out().contains("it runs"), "{}", why.out());

    let stopped = farm.signaled(&["TERM"]).exits(0);
    assert!(
        stopped.err().contains("runs again at the next start"),
        "{}",
        stopped.err()
    );
    wait_until("every process of the farm has ended", SOON, || {
        below(&repo.data()).is_empty()
    });
    std::fs::write(&go, "").unwrap();
    let farm = Farm::start(&repo);
    let same = wait_for_build(&repo, &commit, "passed");
    assert_eq!(same["id"], build["id"], "it goes on, not a second one");
    repo.run(&["query", "builds"]).exits(0);
    repo.run(&["down", "--purge"]).exits(0);
    assert!(!repo.data().exists(), "no file is left");
    farm.stop().exits(0);
    repo.run(&["down"]).exits(0);
}

/// Its end takes seconds: it is killed when it has ignored the first signal for so long.
const STUBBORN: &str = "[[step]]\nname = \"wait\"\nrun = \"trap '' TERM; echo begun; until [ -e GO ]; do sleep 0.05; done\"\n";

#[test]
fn a_second_signal_ends_at_once_and_the_build_goes_on_at_the_next_start() {
    let repo = Repo::new();
    let go = repo.home().join("go");
    let wait = STUBBORN.replace("GO", &go.display().to_string());
    let commit = repo.write(".farmer.toml", &wait).commit("waits");
    let farm = Farm::start(&repo);
    let build = wait_for_build(&repo, &commit, "running");
    farm.signaled(&["INT", "TERM"]).exits(130);
    std::fs::write(&go, "").unwrap();
    let farm = Farm::start(&repo);
    let same = wait_for_build(&repo, &commit, "passed");
    assert_eq!(same["id"], build["id"], "it goes on, not a second one");
    farm.stop().exits(0);
    wait_until("every process of the farm has ended", SOON, || {
        below(&repo.data()).is_empty()
    });
}
