//! `rmplaysnippet`, on a directory and on a stand-in for the Datastore.

use std::io::Write as _;
use std::process::Stdio;

use build_client::fake_gerrit::FakeGerrit;

use crate::{Ran, program, run};

#[test]
fn rmplaysnippet_deletes_what_was_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    for name in ["one", "two", "three"] {
        std::fs::write(file(name), "package main").unwrap();
    }
    let answered = |answer: &str, args: &[&str]| -> Ran {
        let mut command = program("rmplaysnippet");
        command.arg("-dir").arg(dir.path()).args(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(answer.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap().into()
    };
    let done = answered("n\n", &["one"]);
    assert!(
        done.code == Some(0)
            && done
                .err
                .contains("Really delete Snippet with ID \"one\"? [y,N]: Aborting"),
        "{}",
        done.err
    );
    assert!(file("one").exists());
    assert_eq!(answered("", &["one"]).code, Some(0));
    let done = answered("y\n", &["https://play.golang.org/p/one"]);
    assert_eq!(
        (done.code, done.out.as_str()),
        (Some(0), "Snippet with ID \"one\" deleted\n")
    );
    assert!(!file("one").exists() && file("two").exists());
    let done = answered("", &["-dry-run", "-json", "two"]);
    assert_eq!(done.out, "{\"id\":\"two\",\"outcome\":\"found\"}\n");
    assert_eq!(answered("", &["-yes", "two", "three"]).code, Some(0));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let done = answered("", &["-yes", "one"]);
    assert!(
        done.code == Some(1) && done.err.contains("no such snippet \"one\""),
        "{}",
        done.err
    );
    assert_eq!(answered("", &[]).code, Some(2));
    let done = answered("", &["-yes", "../x"]);
    assert!(
        done.code == Some(2) && done.err.contains("is no snippet of the playground"),
        "{}",
        done.err
    );
}

#[test]
fn rmplaysnippet_asks_the_datastore() {
    let server = FakeGerrit::start().unwrap();
    server
        .world()
        .answer("/v1/projects/golang-org:lookup", 200, "{\"found\": [{}]}");
    server
        .world()
        .answer("/v1/projects/golang-org:commit", 200, "{}");
    let done = run(program("rmplaysnippet")
        .args(["-yes", "-datastore", server.url(), "x"])
        .env("GOOGLE_ACCESS_TOKEN", "t0ken"));
    assert_eq!(
        (done.code, done.out.as_str()),
        (Some(0), "Snippet with ID \"x\" deleted\n"),
        "{}",
        done.err
    );
    server
        .world()
        .answer("/v1/projects/golang-org:commit", 403, "{}");
    let done = run(program("rmplaysnippet")
        .args(["-yes", "-datastore", server.url(), "x"])
        .env("GOOGLE_ACCESS_TOKEN", "t0ken"));
    assert_eq!(done.code, Some(1));
    assert!(
        done.err.contains("gcloud auth application-default login") && !done.err.contains("t0ken"),
        "{}",
        done.err
    );
}
