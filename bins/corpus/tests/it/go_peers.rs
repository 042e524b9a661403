//! The Go project's programs as peers of ours: its follower and its `maintq` at our `maintnerd`,
//! ours at its `maintnerd` of 2020, and both daemons over one repository. What was seen is
//! written to docs/compatibility.md.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use maintner_core::Corpus;
use maintner_core::log::WriterOptions;
use maintner_core::sample;
use maintner_core::source::{LiveLog, MutationSink as _};
use sha2::{Digest as _, Sha256};

use self::compat::{Row, record};
use self::made_git::{Git, branches, changes, isolate};
use crate::maintnerd::{Served, commit, repository, serve};
use crate::run;

#[path = "../../../../build-server/tests/it/interop/compat.rs"]
mod compat;
#[path = "../../../../maintner-core/tests/it/made_git.rs"]
pub(crate) mod made_git;

/// Longer than any wait when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of the Go programs, built once; `None` without Go.
fn go_programs() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-maintnerd");
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go");
    let core = concat!(env!("CARGO_MANIFEST_DIR"), "/../../maintner-core/tests/go");
    let maintner = "golang.org/x/build/maintner";
    let daemons = [
        format!("{maintner}/maintnerd"),
        format!("{maintner}/maintq"),
    ];
    let libraries = ["./maintfollow".to_owned(), "./maintdump".to_owned()];
    for (module, packages) in [(own, daemons), (core, libraries)] {
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(format!("{}/", folder.display()))
            .args(packages)
            .current_dir(module)
            .env("GOFLAGS", "-mod=readonly -buildvcs=false")
            .stdin(Stdio::null())
            .output();
        let trouble = match built {
            Ok(output) if output.status.success() => continue,
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => format!("go: {error}"),
        };
        let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!in_ci, "the Go peers cannot be built: {trouble}");
        eprintln!("SKIPPED: no test against the Go daemon, it cannot be built: {trouble}");
        return None;
    }
    Some(folder)
}

/// A Go program whose lines are read; ended with the test.
struct Peer {
    child: Child,
    lines: Receiver<String>,
}

impl Peer {
    fn start(command: &mut Command, errors: bool) -> Self {
        let (out, err) = match errors {
            true => (Stdio::null(), Stdio::piped()),
            false => (Stdio::piped(), Stdio::null()),
        };
        let command = command.stdin(Stdio::null()).stdout(out).stderr(err);
        let mut child = command.spawn().unwrap();
        let (send, lines) = channel();
        let pipe: Box<dyn std::io::Read + Send> = match child.stdout.take() {
            Some(out) => Box::new(out),
            None => Box::new(child.stderr.take().unwrap()),
        };
        std::thread::spawn(move || {
            let lines = BufReader::new(pipe).lines().map_while(Result::ok);
            lines.for_each(|line| _ = send.send(line));
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines
            .recv_timeout(PATIENCE)
            .expect("it says something")
    }

    /// Reads lines until one is wanted; none of them may be refused.
    fn until(&self, wanted: impl Fn(&str) -> bool, refused: &str) -> String {
        loop {
            let line = self.line();
            assert_ne!(line, refused);
            if wanted(&line) {
                return line;
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What maintfollow prints of a log that holds this.
fn as_go_says(folder: &Path) -> String {
    let corpus = Corpus::open_with(folder, maintner_core::Options::default().snapshot(false));
    let view = corpus.unwrap().view();
    let mut refs = Vec::new();
    for project in view.gerrit().projects() {
        for found in project.refs() {
            refs.push(format!(
                "{} {} {}\n",
                project.full_name(),
                found.name(),
                found.hash()
            ));
        }
    }
    refs.sort();
    format!(
        "{} {}",
        refs.len(),
        hex::encode(Sha256::digest(refs.concat()))
    )
}

pub(crate) fn flag(name: &str, path: &Path) -> String {
    format!("-{name}={}", path.display())
}

#[test]
fn check_7_a_go_follower_follows_the_daemon_and_survives_its_restart() {
    let Some(programs) = go_programs() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (repo, data, cache) = (
        dir.path().join("repo"),
        dir.path().join("data"),
        dir.path().join("cache"),
    );
    repository(&repo);
    std::fs::create_dir(&cache).unwrap();
    let (watch, folder) = (flag("watch-git", &repo), flag("data-dir", &data));
    let served = serve(&[&watch, &folder, "-every=1"]);
    served.until("/metrics", "maintner_log_records 3");
    served.until("/logs", "\"sha224\"");
    let url = format!("http://{}/logs", served.address);
    let mut follow = Command::new(programs.join("maintfollow"));
    let go = Peer::start(follow.arg(&url).arg(&cache), false);
    let same = |records: u64, served: &Served| {
        served.until("/metrics", &format!("maintner_log_records {records}\n"));
        let wanted = as_go_says(&data);
        go.until(|line| line == wanted, "split");
    };
    same(3, &served);
    commit(&repo, "live");
    same(5, &served);
    let listen = format!("-listen={}", served.address);
    // Killed, not stopped: what followers have seen is durable.
    drop(served);
    commit(&repo, "while it was away");
    let served = serve(&[&watch, &folder, "-every=1", &listen]);
    same(7, &served);
    // The control: another log in its place is a split, so the word would have been said.
    drop(served);
    std::fs::remove_dir_all(&data).unwrap();
    let mut other = LiveLog::open(&data, WriterOptions::default()).unwrap();
    other.append_mutations(&sample::mutations()).unwrap();
    drop(other);
    let _served = serve(&[&folder, "-generate-mutations=false", &listen]);
    go.until(|line| line == "split", "");
    record(
        &programs.join("maintfollow"),
        &[Row {
            direction: "Go follower, our maintnerd",
            case: "commits pushed while it follows; the daemon killed and started again",
            seen: "the same refs after each; no split",
            control: "another log at the same address: a split",
        }],
    );
}

/// What a `maintq` says: whether it succeeded, its output, its errors.
pub(crate) fn maintq(program: &Path, first: &[&str], args: &[&str]) -> (bool, String) {
    let done = Command::new(program)
        .args(first)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let both = [done.stdout, done.stderr].concat();
    (
        done.status.success(),
        String::from_utf8(both).unwrap().trim().to_owned(),
    )
}

#[test]
fn check_22_the_go_maintq_asks_the_daemon() {
    let Some(programs) = go_programs() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut log = LiveLog::open(dir.path(), WriterOptions::default()).unwrap();
    log.append_mutations(&sample::mutations()).unwrap();
    drop(log);
    let tls = "-listen-https-selfsigned=localhost:0";
    let served = serve(&[&flag("data-dir", dir.path()), tls]);
    served.until("/healthz", "200 OK");
    let server = format!("-server={}", served.tls.clone().unwrap());
    let go = programs.join("maintq");
    let (base, tip) = (sample::BASE.to_string(), sample::TIP.to_string());
    let ask = |args: &[&str]| maintq(&go, &[&server], args);
    assert_eq!(
        ask(&["get-ref", "go", "refs/heads/master"]),
        (true, base.clone())
    );
    assert_eq!(
        ask(&["has-ancestor", &tip, &base]),
        (true, "has_ancestor:true".to_owned())
    );
    let (good, said) = ask(&["get-ref", "none", "HEAD"]);
    assert!(
        !good && said.contains("code = 2 desc = grpc: unknown gerrit project"),
        "{said}"
    );
    let (good, said) = ask(&["get-dashboard", "-branch=NOPE"]);
    assert!(
        !good && said.contains("code = 5 desc = grpc: unknown branch"),
        "{said}"
    );
    record(
        &go,
        &[Row {
            direction: "Go maintq, our maintnerd over TLS with a certificate of its own",
            case: "has-ancestor, get-ref; unknown projects and branches",
            seen: "answers, and errors with their codes",
            control: "an unknown branch is code 5, not 13: a status without trailers is not understood",
        }],
    );
}

/// A home in which `go.googlesource.com` is a folder.
pub(crate) fn home_with_project(home: &Path) -> Git {
    let git = Git::init(home, "build");
    branches(&git);
    changes(&git);
    let instead = format!(
        "[url \"file://{}/\"]\n\tinsteadOf = https://go.googlesource.com/\n[protocol \"file\"]\n\tallow = always\n",
        home.display()
    );
    std::fs::write(home.join(".gitconfig"), instead).unwrap();
    git
}

fn sync(program: &Path, first: &[&str], home: &Path, data: &Path) {
    std::fs::create_dir_all(data).unwrap();
    let mut command = Command::new(program);
    command
        .args(first)
        .args(["-sync-and-quit", "-watch-gerrit=go.googlesource.com/build"]);
    command.arg(flag("data-dir", data));
    isolate(&mut command, home);
    made_git::run(&mut command);
}

#[test]
fn check_18_both_daemons_write_what_both_corpora_read_alike() {
    let Some(programs) = go_programs() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let git = home_with_project(home);
    let (by_go, by_us) = (home.join("by-go"), home.join("by-us"));
    let ours = Path::new(env!("CARGO_BIN_EXE_farmer-corpus"));
    let both = || {
        sync(&programs.join("maintnerd"), &[], home, &by_go);
        sync(ours, &["maintnerd"], home, &by_us);
    };
    both();
    let dump = |data: &Path| run("maintq", &[&"dump", &data]).out;
    let text = dump(&by_go);
    assert!(
        text.contains(r#""number":14700"#) && text.contains(r#""version":12"#),
        "{text}"
    );
    assert!(
        text.contains("refs/tags/v1.0.0") && text.contains(r"\\303\\251"),
        "{text}"
    );
    assert_eq!(text, dump(&by_us), "the same of both logs");
    let of_go = |data: &Path| made_git::run(Command::new(programs.join("maintdump")).arg(data));
    assert_eq!(of_go(&by_go), of_go(&by_us), "and as Go reads them");
    // Each goes on with the log of the other.
    git.commit("README", b"hello again\n", "later\n");
    git.run(&["branch", "--quiet", "-D", "side"]);
    sync(&programs.join("maintnerd"), &[], home, &by_us);
    sync(ours, &["maintnerd"], home, &by_go);
    let later = dump(&by_go);
    assert_ne!(later, text, "the control: news make a difference");
    assert!(!later.contains("refs/heads/side"), "{later}");
    assert_eq!(later, dump(&by_us));

    // The Go daemon answers questions, which both maintq ask.
    let port = std::net::TcpListener::bind("localhost:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut daemon = Command::new(programs.join("maintnerd"));
    daemon.args(["-listen=localhost:0", &format!("-dev-tls-port={port}")]);
    // It ends at once when it has nothing to follow.
    daemon.arg("-watch-gerrit=go.googlesource.com/build");
    isolate(daemon.arg(flag("data-dir", &by_go)), home);
    let daemon = Peer::start(&mut daemon, true);
    daemon.until(|line| line.contains("Serving self-signed TLS"), "");
    let server = format!("-server=localhost:{port}");
    let head = git.run(&["rev-parse", "HEAD"]);
    let root = git.run(&["rev-list", "--max-parents=0", "HEAD"]);
    for args in [
        &["has-ancestor", &head, &root][..],
        &["has-ancestor", &root, &head],
        &["get-ref", "build", "refs/heads/master"],
        &["get-ref", "build", "refs/heads/none"],
    ] {
        let theirs = maintq(&programs.join("maintq"), &[&server], args);
        let (good, said) = maintq(ours, &["maintq", &server], args);
        assert_eq!(good, theirs.0, "{args:?}: {said}; {}", theirs.1);
        if good {
            assert_eq!(said, theirs.1, "{args:?}");
        }
    }
    record(
        &programs.join("maintnerd"),
        &[
            Row {
                direction: "both daemons, one Gerrit repository",
                case: "first synchronisation; each goes on with the log of the other",
                seen: "equal dumps, by our corpus and by Go's",
                control: "a commit and a deleted branch more: the dumps differ from before",
            },
            Row {
                direction: "our maintq and Go's, Go maintnerd over TLS",
                case: "has-ancestor, get-ref",
                seen: "the same answers",
                control: "a ref that is not there fails for both",
            },
        ],
    );
}
