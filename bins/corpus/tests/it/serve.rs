//! `maintserve`, and the programs that ask it: `maintq` online, `maintwatch`, `gostats`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use maintner_core::log::WriterOptions;
use maintner_core::pb::{GithubIssueMutation, Mutation, Timestamp};
use maintner_core::sample;
use maintner_core::source::{LiveLog, MutationSink as _};

/// Exit code, output and errors of a program.
fn run(program: &str, args: &[&str]) -> (i32, String, String) {
    let args: Vec<&dyn AsRef<Path>> = args.iter().map(|arg| arg as &dyn AsRef<Path>).collect();
    let ran = crate::run(program, &args);
    (ran.code.unwrap_or(-1), ran.out, ran.err)
}

/// The program on a free port, until the test ends.
struct Serve {
    child: Child,
    address: String,
}

impl Serve {
    fn start(log: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_farmer-corpus"))
            .args(["maintserve", "-http=localhost:0"])
            .arg(log)
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        // Whatever happens now, it is ended.
        let mut serve = Self {
            child,
            address: String::new(),
        };
        let lines = BufReader::new(serve.child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        for line in lines {
            let line = line.unwrap();
            if let Some(url) = line.strip_prefix("maintserve: http://") {
                serve.address = url.trim_end_matches('/').to_owned();
                return serve;
            }
            said.push(line);
        }
        panic!("it ended: {said:?}");
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// One request over plain HTTP: status, head and body.
    fn get(&self, path: &str) -> (u16, String, String) {
        let mut tcp = TcpStream::connect(&self.address).unwrap();
        write!(
            tcp,
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn issue(number: i32, title: &str, pull_request: bool, not_exist: bool) -> Mutation {
    Mutation {
        github_issue: Some(GithubIssueMutation {
            owner: "golang".into(),
            repo: "go".into(),
            number,
            created: Some(Timestamp {
                seconds: 1_600_000_000,
                nanos: 0,
            }),
            title: title.to_owned(),
            pull_request,
            not_exist,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn log(folder: &Path) -> LiveLog {
    let mut log = LiveLog::open(folder, WriterOptions::default()).unwrap();
    log.append_mutations(&sample::mutations()).unwrap();
    log.append_mutations(&[
        issue(500, "<script>alert(1)</script>", false, false),
        issue(501, "a pull request", true, false),
        issue(502, "gone", false, true),
    ])
    .unwrap();
    log
}

#[test]
fn check_29_the_pages() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    let serve = Serve::start(dir.path());
    let (status, head, body) = serve.get("/");
    assert_eq!(status, 200);
    assert!(
        head.contains("content-security-policy: default-src 'none'"),
        "{head}"
    );
    let row = r#"<a href="/golang/go">golang/go</a></td><td class="n">3</td>"#;
    assert!(
        body.contains(row),
        "no pull requests, no tombstones: {body}"
    );
    assert!(
        body.contains(r#"go.googlesource.com/go</a></td><td class="n">1</td>"#),
        "{body}"
    );
    let (status, head, _) = serve.get("/golang/go/?state=all");
    assert_eq!(status, 302);
    assert!(head.contains("location: /golang/go?state=all"), "{head}");
    for (path, text) in [
        (
            "/no/repo",
            "404 Not Found\n\nGitHub repository \"no/repo\" not found\n",
        ),
        (
            "/x.googlesource.com/p",
            "404 Not Found\n\nGerrit project x.googlesource.com/p not found\n",
        ),
        (
            "/golang/go/9999",
            "404 Not Found\n\nissue golang/go#9999 not found\n",
        ),
        (
            "/golang/go/502",
            "404 Not Found\n\nissue golang/go#502 not found\n",
        ),
    ] {
        let (status, _, body) = serve.get(path);
        assert_eq!((status, body.as_str()), (404, text), "{path}");
    }
    let (_, _, body) = serve.get("/golang/go?state=all");
    assert!(
        body.contains("&#60;script&#62;alert(1)") && !body.contains("<script>"),
        "{body}"
    );
    let (status, _, body) = serve.get("/go.googlesource.com/go/14700");
    assert!(
        status == 200 && body.contains("cmd/go: build more slowly"),
        "{body}"
    );
    assert_eq!(serve.get("/assets/style.css").0, 200);
    assert_eq!(serve.get("/logs/999").0, 400);
    // It is live.
    log.append_mutations(&[issue(600, "quite new", false, false)])
        .unwrap();
    let begin = std::time::Instant::now();
    while serve.get("/golang/go/600").0 != 200 {
        assert!(begin.elapsed().as_secs() < 20, "the page is there soon");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn check_22_maintq_asks_a_server() {
    let dir = tempfile::tempdir().unwrap();
    drop(log(dir.path()));
    let serve = Serve::start(dir.path());
    let server = format!("-server={}", serve.url(""));
    let (base, tip) = (sample::BASE.to_string(), sample::TIP.to_string());
    let (code, out, err) = run("maintq", &[&server, "get-ref", "go", "refs/heads/master"]);
    assert_eq!((code, out.trim()), (0, base.as_str()), "{err}");
    let (code, out, _) = run("maintq", &[&server, "has-ancestor", &tip, &base]);
    assert_eq!((code, out.trim()), (0, "has_ancestor:true"));
    let (code, out, _) = run("maintq", &["has-ancestor", &base, &tip, "--json", &server]);
    assert_eq!((code, out.trim()), (0, "{}"));
    let (code, _, err) = run("maintq", &[&server, "get-ref", "go", "refs/heads/none"]);
    assert!(code == 1 && err.contains("ref not found"), "{err}");
    let (code, _, err) = run("maintq", &[&server, "get-ref", "none", "x"]);
    assert!(
        code == 1 && err.contains("unknown gerrit project (code 2)"),
        "{err}"
    );
    let (code, _, err) = run("maintq", &[&server, "get-dashboard", "-branch", "NOPE"]);
    assert!(
        code == 1 && err.contains("unknown branch \"NOPE\" (code 5)"),
        "{err}"
    );
    let (code, _, err) = run("maintq", &["-server=http://127.0.0.1:1", "list-releases"]);
    assert!(
        code == 3 && err.contains("cannot connect to the corpus server"),
        "{err}"
    );
    let (code, _, err) = run("maintq", &["-server=a b", "list-releases"]);
    assert!(
        code == 2 && err.contains("no address of a corpus server"),
        "{err}"
    );
}

#[test]
fn a_log_server_is_a_log_to_every_verb() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("log");
    drop(log(&folder));
    let serve = Serve::start(&folder);
    let url = serve.url("/logs");
    let cache = dir.path().join("cache");
    let with = |program: &str, args: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_farmer-corpus"))
            .arg(program)
            .args(args)
            .env("XDG_CACHE_HOME", &cache)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).unwrap()
    };
    let local = folder.to_str().unwrap();
    for args in [
        &["dump", "--hash"][..],
        &["export", "--table=issues"],
        &["cat", "--json"],
    ] {
        let both = [url.as_str(), local].map(|log| with("maintq", &[args, &[log]].concat()));
        assert_eq!(both[0], both[1], "{args:?}");
        assert!(!both[0].is_empty());
    }
    let stats = with("gostats", &["-modified-files=3", &url]);
    assert_eq!(stats, "     1 src/cmd/go/main.go\n");
}

#[test]
fn check_28_maintwatch_prints_what_is_new_and_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = log(dir.path());
    let serve = Serve::start(dir.path());
    let address = serve.address.clone();
    let mut watch = Command::new(env!("CARGO_BIN_EXE_farmer-corpus"))
        .args(["maintwatch", "--count=2"])
        .arg(format!("-server={}", serve.url("/logs")))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(watch.stdout.take().unwrap());
    let mut errors = BufReader::new(watch.stderr.take().unwrap());
    // Its tail is open as soon as the server counts it among those that wait; what is appended
    // before it has seen the log's end would be no news, so news come until one is seen.
    let mut line = String::new();
    let first = std::thread::spawn(move || {
        let mut text = String::new();
        while !text.contains("title:") {
            assert_ne!(out.read_line(&mut text).unwrap(), 0, "it ended");
        }
        (out, text)
    });
    let mut number = 700;
    while !first.is_finished() {
        log.append_mutations(&[issue(number, "news", false, false)])
            .unwrap();
        number += 1;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let (mut out, text) = first.join().unwrap();
    assert!(text.starts_with("\ngithub_issue: <\n"), "{text}");
    assert!(
        !text.contains("build more slowly"),
        "only what is new: {text}"
    );
    drop(serve);
    // Either the end of the tail or the refused connection is told.
    errors.read_line(&mut line).unwrap();
    assert!(line.starts_with("# ignoring err: "), "{line}");
    let again = Command::new(env!("CARGO_BIN_EXE_farmer-corpus"))
        .args(["maintserve", &format!("-http={address}")])
        .arg(dir.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let again = Serve {
        child: again,
        address,
    };
    log.append_mutations(&[issue(999, "after the restart", false, false)])
        .unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("title:"), "{rest}");
    assert!(watch.wait().unwrap().success());
    drop(again);
}
