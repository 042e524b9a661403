//! `buildstats`, on exported records and on a stand-in for the Datastore.

use build_client::fake_gerrit::FakeGerrit;

use crate::{Ran, program, run, write};

/// What was added, by kind, from lines of JSON.
fn added(out: &str) -> Vec<(String, u64)> {
    out.lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            (
                line["kind"].as_str().unwrap().to_owned(),
                line["added"].as_u64().unwrap(),
            )
        })
        .collect()
}

#[test]
fn buildstats_copies_records_once_and_tells_how_long_tests_take() {
    let dir = tempfile::tempdir().unwrap();
    let buildstats = |args: &[&str]| -> Ran {
        run(program("buildstats")
            .args(args)
            .args(["-store", "tables"])
            .current_dir(dir.path()))
    };
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    // Any time of the last three weeks will do.
    let day = String::from_utf8(
        std::process::Command::new("date")
            .args(["-u", "-d", &format!("@{}", now - 86_400), "+%FT%TZ"])
            .output()
            .unwrap()
            .stdout,
    )
    .unwrap();
    let span = |n: usize, seconds: f64, error: &str| {
        let day = day.trim();
        format!(
            "{{\"_id\": \"Span:{n}\", \"Repo\": \"go\", \"Builder\": \"linux-amd64\", \"Event\": \"run_test:go_test:fmt\", \
             \"Error\": \"{error}\", \"StartTime\": \"{day}\", \"EndTime\": \"{day}\", \"Seconds\": {seconds}}}\n"
        )
    };
    let mut spans: String = [1.0, 2.0, 3.0, 4.0, 100.0]
        .iter()
        .enumerate()
        .map(|(n, s)| span(n, *s, ""))
        .collect();
    spans += &span(9, 900.0, "exit status 1");
    write(&dir.path().join("exported/spans.jsonl"), &spans);
    write(&dir.path().join("exported/builds.jsonl"), "");
    let done = buildstats(&["-mode=sync", "-from=exported", "-json"]);
    assert_eq!(
        added(&done.out),
        [("Build".to_owned(), 0), ("Span".to_owned(), 6)],
        "{}",
        done.err
    );
    let done = buildstats(&["-mode", "sync", "-from", "exported", "-v"]);
    assert!(
        done.code == Some(0) && done.err.contains("Span: 0 records added"),
        "{}",
        done.err
    );
    let done = buildstats(&["-mode=testspeed"]);
    assert_eq!(
        done.out, "linux-amd64\tgo_test:fmt\t3.0 seconds\t5\n",
        "{}",
        done.err
    );
    assert!(
        buildstats(&["-mode=testspeed", "-json"])
            .out
            .contains("\"seconds\":3.0")
    );
    for args in [&["-mode=x"][..], &[]] {
        let done = buildstats(args);
        assert_eq!(done.code, Some(1));
        assert!(
            done.err.contains("Usage: buildstats") && done.err.contains("unknown --mode="),
            "{}",
            done.err
        );
    }
    let server = FakeGerrit::start().unwrap();
    let entity = "{\"batch\": {\"entityResults\": [{\"entity\": {\"key\": {\"path\": [{\"kind\": \"X\", \"name\": \"x\"}]}, \
         \"properties\": {\"EndTime\": {\"timestampValue\": \"2020-12-01T00:00:00Z\"}}}}]}}";
    server
        .world()
        .answer("/v1/projects/go-dashboard-dev:runQuery", 200, entity);
    let done = run(program("buildstats")
        .args([
            "-mode=sync",
            "-staging",
            "-json",
            "-store=other",
            "-datastore",
            server.url(),
        ])
        .current_dir(dir.path())
        .env("GOOGLE_ACCESS_TOKEN", "t0ken"));
    assert_eq!(
        added(&done.out),
        [("Build".to_owned(), 1), ("Span".to_owned(), 1)],
        "{}",
        done.err
    );
}
