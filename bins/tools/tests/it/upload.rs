//! `upload`, to a folder.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

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
    if !cfg!(feature = "cloud") {
        let done = upload(dir, &["-file=a", "golang/x"]);
        assert!(done.err.contains("--features cloud"), "{}", done.err);
    }
}
