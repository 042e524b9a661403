//! `perfdata`: results go in by the form that clients send, and come out searched and compared.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use super::peer::{Answer, Peer};

fn start(dir: &std::path::Path, more: &[&str]) -> Peer {
    Peer::start("perfdata", 1, |command| {
        command
            .args(["-http", "127.0.0.1:0", "-data"])
            .arg(dir)
            .args(more);
    })
}

/// Sends a form as `benchsave` does: files, then a part that says that all is there.
fn upload(peer: &Peer, parts: &[(&str, &str)], more: &str) -> Answer {
    let mut body = String::new();
    for (name, text) in parts {
        let _infallible = write!(
            body,
            "--line\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f.txt\"\r\n\r\n{text}\r\n"
        );
    }
    body.push_str("--line--\r\n");
    let head = format!("Content-Type: multipart/form-data; boundary=line\r\n{more}");
    peer.ask("POST", "/upload", &head, body.as_bytes())
}

fn results(commit: &str, time: &str, base: u32) -> String {
    let mut text = format!("goos: linux\ngoarch: amd64\ncommit: {commit}\ncommit-time: {time}\n");
    for n in 0..8 {
        let _infallible = writeln!(text, "BenchmarkSort/n=10-4 100 {} ns/op 16 B/op", base + n);
    }
    text
}

#[test]
fn perfdata_takes_searches_and_compares_uploads() {
    let dir = tempfile::tempdir().unwrap();
    let mut peer = start(dir.path(), &[]);
    let old = results("a1", "2020-12-22T10:00:00Z", 1000);
    let new = results("b2", "2020-12-23T10:00:00Z", 500);
    let first: Value =
        serde_json::from_slice(&upload(&peer, &[("file", &old), ("commit", "1")], "").body)
            .unwrap();
    let id = first["uploadid"].as_str().unwrap().to_owned();
    assert!(id.ends_with(".1"), "{id}");
    assert_eq!(first["fileids"][0], format!("{id}/0"));
    let second: Value = serde_json::from_slice(&upload(&peer, &[("file", &new)], "").body).unwrap();
    assert!(second["uploadid"].as_str().unwrap().ends_with(".2"));
    let stored = fs::read_to_string(dir.path().join(format!("uploads/{id}/0.txt"))).unwrap();
    assert!(
        stored.starts_with("upload: ") && stored.ends_with(&old),
        "{stored}"
    );

    let found = peer.get(&format!("/search?q=upload:{id}"));
    assert_eq!(found.text().matches("BenchmarkSort/n=10-4 100").count(), 8);
    assert!(found.text().contains(&format!("upload-part: {id}/0\n")));
    assert_eq!(
        peer.get("/search?q=n:10+commit%3Eb")
            .text()
            .matches("Benchmark")
            .count(),
        8
    );
    assert_eq!(peer.get("/search?q=commit:a1+commit:b2").text(), "");
    assert_eq!(peer.get("/search").text(), "missing q parameter\n");
    assert_eq!(
        peer.get("/search?q=%22a:b").status,
        200,
        "an open quote is no harm"
    );
    let wrong = peer.get("/search?q=X:1");
    assert_eq!(
        (wrong.status, wrong.text().as_str()),
        (400, "query part \"X:1\" has invalid key\n")
    );

    let listed = peer
        .get("/uploads?q=goos:linux&extra_label=commit&limit=1")
        .text();
    assert!(
        listed.contains("\"Count\":8") && listed.contains("\"LabelValues\":{\"commit\":\"b2\"}"),
        "{listed}"
    );
    assert_eq!(listed.lines().count(), 1);
    let limit = peer.get("/uploads?limit=x");
    assert_eq!(
        (limit.status, limit.text().as_str()),
        (400, "invalid limit parameter\n")
    );

    let compared = peer.get("/compare?q=goos:linux+%7C+commit:a1+vs+commit:b2");
    assert!(
        compared.text().contains("-49.83% (p=0.000)"),
        "{}",
        compared.text()
    );
    let json: Value = serde_json::from_slice(
        &peer
            .get("/compare?format=json&q=commit:a1+vs+commit:b2")
            .body,
    )
    .unwrap();
    assert_eq!(json[0]["unit"], "ns/op");

    // What is refused leaves nothing; a wrong method is said.
    for (parts, told) in [
        (&[("file", "ok\n")][..], "no valid benchmark lines found"),
        (&[("commit", "1")], "no files processed"),
        (&[("file", &*old), ("abort", "1")], "abort"),
    ] {
        let refused = upload(&peer, parts, "");
        assert_eq!(refused.status, 500);
        assert!(refused.text().contains(told), "{}", refused.text());
    }
    assert_eq!(peer.get("/upload").status, 405);
    assert_eq!(peer.get("/uploads").text().lines().count(), 2);
    let foreign = upload(
        &peer,
        &[("file", &old)],
        "Origin: http://attacker.example\r\n",
    );
    assert_eq!(foreign.status, 403);
    assert_eq!(peer.end(), Some(0));
    let peer = start(dir.path(), &[]);
    assert_eq!(
        peer.get("/uploads").text().lines().count(),
        2,
        "the files are all there is"
    );
}

#[test]
fn perfdata_shows_changes_over_commits_without_scripts() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path(), &[]);
    let mut all = String::new();
    for day in 1..=28 {
        let base = if day < 15 { 1000 } else { 1200 };
        all.push_str(&results(
            &format!("c{day:02}<b>"),
            &format!("2020-12-{day:02}T10:00:00Z"),
            base,
        ));
    }
    assert_eq!(upload(&peer, &[("file", &all)], "").status, 200);
    let at = "days=40&end=2020-12-31T00:00";
    let page = peer.get(&format!("/dashboard/?{at}"));
    let text = page.text();
    assert!(
        text.contains("<svg") && text.contains("worse) at c15"),
        "{text}"
    );
    assert!(
        !text.contains("<script") && !text.contains("<b>"),
        "everything is escaped"
    );
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .starts_with("default-src 'none'")
    );
    let data: Value = serde_json::from_slice(
        &peer
            .get(&format!(
                "/dashboard/data.json?benchmark=Sort/n=10&unit=ns/op&{at}"
            ))
            .body,
    )
    .unwrap();
    let series = &data["Benchmarks"][0];
    assert_eq!(series["Values"].as_array().unwrap().len(), 28);
    assert_eq!(
        (&series["Platform"], &series["HigherIsBetter"]),
        (&Value::from("linux/amd64"), &Value::from(false))
    );
    assert_eq!(series["Regression"]["DeltaIndex"], 14);
    for (path, status) in [
        ("/dashboard/data.json", 400),
        ("/dashboard/data.json?benchmark=None", 404),
        ("/dashboard/data.json?benchmark=Sort/n=10&days=367", 400),
        (
            "/dashboard/data.json?benchmark=Sort/n=10&end=yesterday",
            400,
        ),
        ("/dashboard/benchmarks.json", 200),
        ("/dashboard/formfields.json", 200),
        ("/", 200),
        ("/results?q=goos:linux", 200),
        ("/healthz", 200),
    ] {
        assert_eq!(peer.get(path).status, status, "{path}");
    }
}

#[test]
fn perfdata_takes_uploads_from_those_who_know_the_token() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("token"), "sesame\n").unwrap();
    let token = dir.path().join("token");
    let peer = start(
        &dir.path().join("data"),
        &["-token", token.to_str().unwrap(), "-max-upload", "2000"],
    );
    let text = results("a1", "2020-12-22T10:00:00Z", 1);
    assert_eq!(upload(&peer, &[("file", &text)], "").status, 401);
    assert_eq!(
        upload(&peer, &[("file", &text)], "Authorization: Bearer x\r\n").status,
        401
    );
    assert_eq!(
        upload(
            &peer,
            &[("file", &text)],
            "Authorization: Bearer sesame\r\n"
        )
        .status,
        200
    );
    let large = "BenchmarkA 1 2 ns/op\n".repeat(200);
    assert_eq!(
        upload(
            &peer,
            &[("file", &large)],
            "Authorization: Bearer sesame\r\n"
        )
        .status,
        413
    );
    let open = super::program("perfdata")
        .args(["-http", "0.0.0.0:0", "-data"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(open.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&open.stderr).contains("-token"));
}
