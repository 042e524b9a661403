//! The Go project's `tip` and `vcweb` of 2020 beside ours: the same questions to both. What was
//! seen is written to docs/compatibility.md.
//!
//! Theirs have fixed ports, a fixed bucket and fixed hosts: they run in a network of their own, in
//! which one small proxy is all of that.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use self::compat::{Row, record};
use super::door::pack;
use super::peer::{Peer, ask, git};

#[path = "../../../../build-server/tests/it/interop/compat.rs"]
mod compat;

const PEER: &str = include_str!("peer.py");
const PRESET: &str = include_str!("../../../../build-server/src/tip/presets/golangorg.toml");

fn skipped<T>(why: &str) -> Option<T> {
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "no test beside the Go program: {why}");
    eprintln!("SKIPPED: no test beside the Go program: {why}");
    None
}

/// A Go program, built once, when it can run in a network of its own.
fn go_program(package: &str) -> Option<PathBuf> {
    let tried = Command::new("unshare")
        .args(["-rn", "sh", "-c", "ip link set lo up && python3 -c ''"])
        .output();
    match tried {
        Ok(done) if done.status.success() => {}
        Ok(done) => return skipped(&String::from_utf8_lossy(&done.stderr)),
        Err(error) => return skipped(&format!("unshare: {error}")),
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-programs");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(format!("{}/", dir.display()))
        .arg(format!("golang.org/x/build/{package}"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/tests/go"))
        .env("GOFLAGS", "-mod=readonly")
        .stdin(Stdio::null())
        .output();
    match built {
        Ok(done) if done.status.success() => Some(dir.join(package.rsplit('/').next()?)),
        Ok(done) => skipped(&String::from_utf8_lossy(&done.stderr)),
        Err(error) => skipped(&format!("go: {error}")),
    }
}

#[derive(Deserialize)]
struct Theirs {
    status: u16,
    head: BTreeMap<String, String>,
    body: String,
}

/// An answer, as far as both are compared.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    location: Option<String>,
    kind: Option<String>,
    body: String,
}

/// Path, host, authorization.
type Question = (&'static str, &'static str, &'static str);

fn theirs(dir: &Path, plan: Value, questions: &[Question]) -> Vec<Seen> {
    let question = |(path, host, authorization): &Question| json!({ "path": path, "host": host, "authorization": authorization });
    let mut plan = plan;
    plan["questions"] = questions.iter().map(question).collect();
    let file = dir.join("plan.json");
    fs::write(&file, plan.to_string()).unwrap();
    let line = "ip link set lo up && exec python3 -c \"$0\" \"$@\"";
    let done = Command::new("unshare")
        .args(["-rn", "sh", "-c", line, PEER])
        .arg(&file)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{told}");
    let answers: Vec<Theirs> = serde_json::from_slice(&done.stdout).unwrap();
    answers
        .into_iter()
        .map(|answer| Seen {
            status: answer.status,
            location: answer.head.get("location").cloned(),
            kind: answer.head.get("content-type").cloned(),
            body: String::from_utf8(BASE64_STANDARD.decode(answer.body).unwrap()).unwrap(),
        })
        .collect()
}

fn ours(address: &str, questions: &[Question]) -> Vec<Seen> {
    let one = |(path, host, authorization): &Question| {
        let mut more = format!("Host: {host}\r\n");
        if !authorization.is_empty() {
            more.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        let answer = ask(address, "GET", path, &more, b"").unwrap();
        Seen {
            status: answer.status,
            location: answer.header("location").map(str::to_owned),
            kind: answer.header("content-type").map(str::to_owned),
            body: answer.text(),
        }
    };
    questions.iter().map(one).collect()
}

/// A certificate for every host that theirs speak to, with its key, in one file.
fn certificate(dir: &Path) -> PathBuf {
    let key = rcgen::KeyPair::generate().unwrap();
    let hosts = [
        "go.googlesource.com",
        "storage.googleapis.com",
        "www.googleapis.com",
    ];
    let params = rcgen::CertificateParams::new(hosts.map(str::to_owned)).unwrap();
    let file = dir.join("outside.pem");
    let pem = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
    fs::write(&file, pem).unwrap();
    file
}

#[test]
fn vcweb_answers_as_the_go_one() {
    let Some(go) = go_program("vcs-test/vcweb") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let write = |name: &str, text: &str| {
        let path = here.join("site").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("page/index.html", "<html><meta name=x>\n");
    write("page/a/b", "text\n");
    write(
        "secret/.access",
        r#"{"Username":"u","Password":"p","StatusCode":404,"Message":"what file?"}"#,
    );
    write("secret/f", "for u\n");
    write(
        "secret/more/.access",
        r#"{"Username":"v","Password":"q","Message":"no"}"#,
    );
    write("secret/more/x", "for v\n");
    write("secret/bad/.access", "{");
    write("secret/bad/x", "x\n");
    git(here, &["init", "-q", "work"]);
    fs::write(here.join("work/hello"), "hi\n").unwrap();
    git(&here.join("work"), &["add", "-A"]);
    git(&here.join("work"), &["commit", "-qm", "c"]);
    git(here, &["clone", "-q", "--bare", "work", "site/hello"]);
    let mut objects = serde_json::Map::new();
    for name in ["go/page", "auth/secret", "git/hello"] {
        let zip = here.join("zips").join(format!("{name}.zip"));
        pack(
            &here.join("site").join(name.split('/').nth(1).unwrap()),
            &zip,
        );
        let packed = BASE64_STANDARD.encode(fs::read(&zip).unwrap());
        objects.insert(format!("{name}.zip"), packed.into());
    }
    const HOST: &str = "127.0.0.1";
    // u:p, u:x, v:q
    let questions: Vec<Question> = vec![
        ("/go/page/", HOST, ""),
        ("/go/page/a/b", HOST, ""),
        ("/go/page/none", HOST, ""),
        ("/go/none/x", HOST, ""),
        ("/nothing", HOST, ""),
        ("/auth/secret/f", HOST, "Basic dTpw"),
        ("/auth/secret/f", HOST, "Basic dTp4"),
        ("/auth/secret/f", HOST, ""),
        ("/auth/secret/more/x", HOST, "Basic djpx"),
        ("/auth/secret/more/x", HOST, ""),
        ("/auth/secret/.access", HOST, "Basic dTpw"),
        ("/auth/secret/bad/x", HOST, "Basic dTpw"),
        ("/git/hello/info/refs?service=git-upload-pack", HOST, ""),
        ("/git/hello/HEAD", HOST, ""),
        ("/insecure/go/x?y", HOST, ""),
    ];
    let certificate = certificate(here);
    let plan = json!({
        "command": [go, "-d", here.join("theirs")],
        "port": 8088,
        "environment": { "SSL_CERT_FILE": certificate, "STORAGE_EMULATOR_HOST": "storage.googleapis.com" },
        "objects": objects, "heads": "", "certificate": certificate,
        "ready": { "path": "/", "host": HOST, "authorization": "" },
    });
    let expected = theirs(here, plan, &questions);
    let site = Peer::start("vcweb", 2, |command| {
        command.args(["-http", "127.0.0.1:0", "-d"]);
        command
            .arg(here.join("ours"))
            .arg("-zips")
            .arg(here.join("zips"));
    });
    let seen = ours(&site.addresses[0], &questions);
    for ((question, ours), theirs) in questions.iter().zip(&seen).zip(&expected) {
        match question.0 {
            // A browser shows it to nobody: ours has no page beside the address.
            "/insecure/go/x?y" => {
                assert_eq!(
                    (ours.status, &ours.location),
                    (theirs.status, &theirs.location)
                );
            }
            path => assert_eq!(ours, theirs, "{path}"),
        }
    }
    assert_eq!(seen[6].body, "what file?\n");
    // What is clean in one is not in the other: both give away nothing.
    record(
        &go,
        &[Row {
            direction: "the same questions to both",
            case: "zip archives of files, of files behind passwords and of a git repository; /insecure",
            seen: "the same statuses, types and bodies, the refs of git included",
            control: "a wrong password: the status and the words of the nearest .access, in both",
        }],
    );
}

#[test]
fn tip_answers_as_the_go_one() {
    let Some(go) = go_program("cmd/tip") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    let program = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = here.join("repos").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    // A Go whose build makes a `go` whose install makes a site: shell and Python alone.
    program(
        "go/src/make.bash",
        "#!/bin/sh\nmkdir -p ../bin\ncp install ../bin/go\n",
    );
    program(
        "go/src/install",
        "#!/bin/sh\nmkdir -p \"$GOBIN\"\ncp \"$GOROOT/src/golangorg\" \"$GOBIN/golangorg\"\n",
    );
    program(
        "go/src/golangorg",
        "#!/usr/bin/env python3\nimport http.server, sys\n\
         class Site(http.server.BaseHTTPRequestHandler):\n\
         \x20   def do_GET(self):\n\
         \x20       known = self.path.startswith(('/search', '/pkg'))\n\
         \x20       body = ('page %s of %s\\n' % (self.path, self.headers['Host'].split(':')[0])).encode()\n\
         \x20       self.send_response(200 if known else 404)\n\
         \x20       self.send_header('Content-Type', 'text/plain')\n\
         \x20       self.send_header('Content-Length', str(len(body)))\n\
         \x20       self.end_headers()\n\
         \x20       self.wfile.write(body)\n\
         port = int(next(a for a in sys.argv if a.startswith('-http=')).rsplit(':', 1)[1])\n\
         http.server.ThreadingHTTPServer(('127.0.0.1', port), Site).serve_forever()\n",
    );
    program("website/cmd/golangorg/README", "the site\n");
    let mut heads = serde_json::Map::new();
    for name in ["go", "website"] {
        let repo = here.join("repos").join(name);
        git(&repo, &["init", "-q"]);
        git(&repo, &["add", "-A"]);
        git(&repo, &["commit", "-qm", "c"]);
        let head = git(&repo, &["rev-parse", "HEAD"]);
        heads.insert(name.to_owned(), json!({ "branches": { "master": head } }));
    }
    let settings = here.join("gitconfig");
    let repos = here.join("repos");
    fs::write(
        &settings,
        format!(
            "[url \"file://{}/\"]\n\tinsteadOf = https://go.googlesource.com/\n",
            repos.display()
        ),
    )
    .unwrap();
    const HOST: &str = "127.0.0.1";
    let questions: Vec<Question> = vec![
        ("/_tipstatus", HOST, ""),
        ("/_ah/health", HOST, ""),
        ("/pkg/net/?m=all", HOST, ""),
        ("/no/such", HOST, ""),
        ("/x?y=z", "beta.golang.org", ""),
    ];
    let certificate = certificate(here);
    let plan = json!({
        "command": [go],
        "port": 8080,
        "environment": {
            "SSL_CERT_FILE": certificate, "TIP_BUILDER": "golangorg", "GIT_CONFIG_GLOBAL": settings,
            "TMPDIR": here.join("theirs"), "HOME": here,
        },
        "objects": {}, "heads": format!(")]}}'\n{}", Value::Object(heads)), "certificate": certificate,
        "ready": { "path": "/_ah/health", "host": HOST, "authorization": "" },
    });
    fs::create_dir(here.join("theirs")).unwrap();
    let mut expected = theirs(here, plan, &questions);
    let config = here.join("tip.toml");
    let base = format!("{}/", repos.display());
    fs::write(
        &config,
        PRESET.replace("https://go.googlesource.com/", &base),
    )
    .unwrap();
    let tip = Peer::start("tip", 1, |command| {
        command
            .args(["-http", "127.0.0.1:0", "-config"])
            .arg(&config);
        command.arg("-data").arg(here.join("ours"));
    });
    tip.wait_for("/_ah/health", |answer| answer.status == 200);
    let mut seen = ours(&tip.addresses[0], &questions);
    // Times differ, and theirs begins with the other side.
    for answers in [&mut expected, &mut seen] {
        let status = &mut answers[0];
        assert_eq!(status.status, 200);
        let shown = |line: &str| match line.split_once('=') {
            Some(("uptime", seconds)) => format!("uptime={}", seconds.parse::<u64>().is_ok()),
            Some(("side", side)) => format!("side={}", ["a", "b"].contains(&side)),
            _ => line.to_owned(),
        };
        status.body = status
            .body
            .lines()
            .map(shown)
            .collect::<Vec<_>>()
            .join("\n");
        status.kind = None;
        // The page beside the address of a redirect, which no browser shows.
        answers[4].body.clear();
        answers[4].kind = None;
        answers[1].kind = None;
    }
    assert!(expected[0].body.contains("error=<nil>"), "{expected:?}");
    assert_eq!(seen, expected);
    assert_eq!(seen[3].status, 404);
    record(
        &go,
        &[Row {
            direction: "the same questions to both",
            case: "a first commit is built, probed and served; status, health, pages, the host beta.golang.org",
            seen: "the same lines of /_tipstatus, the same health, pages and redirect",
            control: "a path that the site does not have: its own 404 in both",
        }],
    );
}
