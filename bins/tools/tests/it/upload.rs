//! `upload`, to a folder and to S3.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::s3::{SECRET, Store, environment};
use crate::{Ran, program, run};

fn upload(dir: &Path, args: &[&str]) -> Ran {
    run(program("upload").current_dir(dir).args(args))
}

fn url(dir: &Path, name: &str) -> String {
    format!("file://{}/{name}", dir.display())
}

#[test]
fn upload_writes_only_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    let store = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("page"), "<html><body>x</body></html>").unwrap();
    let target = url(store.path(), "site/page.html");
    let first = upload(dir.path(), &["-verbose", "-json", "-file=page", &target]);
    assert_eq!(first.code, Some(0), "{}", first.err);
    assert!(first.err.contains("Uploaded page.html"), "{}", first.err);
    let told: serde_json::Value = serde_json::from_str(&first.out).unwrap();
    assert_eq!(told["content_type"], "text/html; charset=utf-8");
    assert_eq!(told["outcome"], "uploaded");
    let stored = store.path().join("site/page.html");
    let before = stored.metadata().unwrap().modified().unwrap();
    let second = upload(dir.path(), &["-verbose", "-file", "page", &target]);
    assert_eq!(
        (second.code, second.err.trim()),
        (Some(0), "Already uploaded.")
    );
    assert_eq!(
        stored.metadata().unwrap().modified().unwrap(),
        before,
        "nothing is written"
    );
    let quiet = upload(dir.path(), &["-file=page", &target]);
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));
    let ruled = upload(
        dir.path(),
        &["-cacheable=false", "-verbose", "-file=page", &target],
    );
    assert!(ruled.err.contains("Uploaded"), "{}", ruled.err);
    let headers = std::fs::read_to_string(store.path().join("site/.page.html.headers")).unwrap();
    assert!(
        headers.contains("\"cache-control\":\"no-cache\""),
        "{headers}"
    );
}

#[test]
fn upload_takes_standard_input_and_compresses() {
    let store = tempfile::tempdir().unwrap();
    let target = url(store.path(), "out.txt.gz");
    let mut child = program("upload")
        .args(["-gzip", &target])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"from a pipe\n")
        .unwrap();
    assert!(child.wait().unwrap().success());
    let mut text = String::new();
    let packed = std::fs::read(store.path().join("out.txt.gz")).unwrap();
    std::io::Read::read_to_string(
        &mut build_core::tarutil::Gunzip::new(packed.as_slice()),
        &mut text,
    )
    .unwrap();
    assert_eq!(text, "from a pipe\n");
    let headers = std::fs::read_to_string(store.path().join(".out.txt.gz.headers")).unwrap();
    assert!(headers.contains("application/octet-stream"), "{headers}");
}

#[test]
fn upload_refuses_what_it_cannot_do() {
    let store = tempfile::tempdir().unwrap();
    let dir = store.path();
    std::fs::write(dir.join("a"), "a").unwrap();
    let target = url(dir, "x");
    for (args, code, told) in [
        (
            vec!["-gzip", target.as_str()],
            1,
            "--gzip flag requires object ending in .gz",
        ),
        (
            vec!["unknown-bucket/x"],
            1,
            "doesn't have an associated project",
        ),
        (vec!["noslash"], 1, "is not BUCKET/OBJECT"),
        (vec![], 2, "required"),
        (
            vec!["-file=go:golang.org/x/build", target.as_str()],
            2,
            "build the program first",
        ),
        (vec!["-file=missing", target.as_str()], 1, "reading missing"),
        (
            vec!["-public", "-file=a", target.as_str()],
            2,
            "means nothing on file://",
        ),
        (
            vec!["-sha256=00", "-file=a", target.as_str()],
            1,
            "has SHA-256",
        ),
        (vec!["-file=a", "file:///"], 2, "names no object"),
    ] {
        let done = upload(dir, &args);
        assert_eq!(done.code, Some(code), "{args:?}: {}", done.err);
        assert!(done.err.contains(told), "{args:?}: {}", done.err);
    }
    assert!(!dir.join("x").exists());
    assert_eq!(
        upload(dir, &["-if-absent", "-file=a", &target]).code,
        Some(0)
    );
    std::fs::write(dir.join("a"), "b").unwrap();
    let done = upload(dir, &["-if-absent", "-file=a", &target]);
    assert!(
        done.code == Some(1) && done.err.contains("refusing to overwrite"),
        "{}",
        done.err
    );
}

#[test]
fn upload_speaks_to_s3() {
    let store = Store::start();
    let dir = tempfile::tempdir().unwrap();
    let put = |secret: &str, args: &[&str]| {
        let mut command = program("upload");
        for name in [
            "AWS_SESSION_TOKEN",
            "AWS_PROFILE",
            "HTTP_PROXY",
            "http_proxy",
        ] {
            command.env_remove(name);
        }
        command.envs(environment(&store, secret));
        run(command
            .current_dir(dir.path())
            .args(["-verbose"])
            .args(args))
    };
    let asked = |what: &str| {
        let state = store.state();
        state
            .asked
            .iter()
            .filter(|asked| asked.starts_with(what))
            .count()
    };
    let page = "/site/docs/index.html";
    std::fs::write(dir.path().join("page"), "<html>one").unwrap();
    let target = "s3://site/docs/index.html";
    let ruled = ["-cacheable=false", "-file=page", target];
    let done = put(SECRET, &ruled);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let stored = store.state().objects[page].clone();
    assert_eq!(stored.bytes, b"<html>one");
    assert_eq!(stored.fields["content-type"], "text/html; charset=utf-8");
    assert_eq!(stored.fields["cache-control"], "no-cache");
    assert_eq!(stored.fields["x-amz-meta-sha256"].len(), 64);

    // The same is written once, by whoever asks; what differs is written again.
    assert_eq!(put(SECRET, &ruled).err.trim(), "Already uploaded.");
    assert_eq!(asked("PUT"), 1);
    std::fs::write(dir.path().join("page"), "<html>two").unwrap();
    let done = put(SECRET, &["-if-absent", "-file=page", target]);
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert_eq!(store.state().objects[page].bytes, b"<html>one");
    assert!(put(SECRET, &ruled).err.contains("Uploaded"));
    assert_eq!(store.state().objects[page].bytes, b"<html>two");
    std::fs::write(dir.path().join("page"), "<html>three").unwrap();
    let done = put("another secret", &ruled);
    assert_ne!(done.code, Some(0), "a wrong signature is refused");
    assert!(!done.err.contains("another secret"), "{}", done.err);

    // A large one comes in parts, whole or not at all.
    let large: Vec<u8> = (0..17 << 20).map(|n: u32| (n % 251) as u8).collect();
    std::fs::write(dir.path().join("large"), &large).unwrap();
    store.state().refuses_part = Some(2);
    let done = put(SECRET, &["-file=large", "s3://site/large.bin"]);
    assert_ne!(done.code, Some(0));
    assert!(!store.state().objects.contains_key("/site/large.bin"));
    assert!(store.state().open.is_empty(), "its parts are given back");
    store.state().refuses_part = None;
    let done = put(SECRET, &["-file=large", "s3://site/large.bin"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(store.state().objects["/site/large.bin"].bytes == large);
    let done = put(SECRET, &["-file=large", "s3://site/large.bin"]);
    assert_eq!(done.err.trim(), "Already uploaded.");
}
