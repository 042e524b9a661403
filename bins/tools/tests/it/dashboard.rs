//! `fetchlogs` and `retrybuilds` against a stand-in for the dashboard, beside the programs of the
//! Go project.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use build_client::fake_gerrit::FakeGerrit;

use crate::go_peer::go_program;
use crate::{Ran, program, run};

const REV: &str = "26957168c4c0cdcc7ca4f0b19d0eb19474d224ac";

/// A server with fixed answers; queries do not matter to it, so `/` is every page.
fn dashboard(failures: bool) -> (FakeGerrit, [String; 2]) {
    let server = FakeGerrit::start().unwrap();
    let logs = [
        "FAIL: one\n2\n3\n".repeat(20),
        "timed out after 3m\n2\n3\n".to_owned(),
    ];
    let hashes = logs.clone().map(|log| {
        let mut child = Command::new("sha1sum")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), log.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()[..40].to_owned()
    });
    let urls = hashes
        .clone()
        .map(|hash| format!("{}/log/{hash}", server.url()));
    {
        let mut world = server.world();
        for (hash, log) in hashes.iter().zip(&logs) {
            world.answer(&format!("/log/{hash}"), 200, log);
        }
        let page = if failures {
            format!(
                "{REV} linux-amd64 {}\n{REV} linux-386 {}\n",
                urls[0], urls[1]
            )
        } else {
            format!(
                "{{\"builders\": [\"linux-386\", \"linux-amd64\"], \"revisions\": [{{\"repo\": \"go\", \"revision\": \"{REV}\", \
                 \"date\": \"2009-11-10T23:00:01Z\", \"branch\": \"master\", \"author\": \"Foo \\u003cfoo@example.com\\u003e\", \
                 \"desc\": \"a \\u0026 b\", \"results\": [\"{}\", \"{}\"]}}]}}",
                urls[1], urls[0]
            )
        };
        world.answer("/", 200, &page);
    }
    (server, hashes)
}

/// Every file below a directory with its content, and every link with its target.
fn tree(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            if let Ok(target) = path.read_link() {
                found.insert(name, format!("-> {}", target.display()));
            } else if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(name, std::fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

fn fetchlogs(server: &FakeGerrit, dir: &Path, args: &[&str]) -> Ran {
    run(program("fetchlogs")
        .args(["-n", "1", "-dashboard", server.url(), "-dir"])
        .arg(dir)
        .args(args))
}

#[test]
fn fetchlogs_keeps_what_the_go_program_keeps() {
    let (server, hashes) = dashboard(false);
    let dir = tempfile::tempdir().unwrap();
    let done = fetchlogs(&server, dir.path(), &[]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(
        done.out
            .starts_with(&format!("fetching {}/?mode=json&page=0\n", server.url())),
        "{}",
        done.out
    );
    let kept = tree(dir.path());
    let row = format!("rev/2009-11-10T23:00:01-{}", &REV[..7]);
    assert_eq!(
        kept[&format!("{row}/linux-amd64")],
        format!("-> ../../log/{}", hashes[0])
    );
    assert!(kept[&format!("{row}/.rev.json")].contains("Foo \\u003cfoo@example.com\\u003e"));
    assert_eq!(kept.len(), 6);
    let again = fetchlogs(&server, dir.path(), &["-json"]);
    let told: serde_json::Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!((&told["fetched"], &told["kept"]), (&0.into(), &2.into()));
    assert_eq!(
        server
            .seen()
            .iter()
            .filter(|line| line.starts_with("GET /log/"))
            .count(),
        2
    );
    let Some(go) = go_program("fetchlogs") else {
        return;
    };
    let theirs = tempfile::tempdir().unwrap();
    let done = run(Command::new(go)
        .args(["-n", "1", "-dashboard", server.url(), "-dir"])
        .arg(theirs.path()));
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(tree(theirs.path()), kept);
}

#[test]
fn fetchlogs_keeps_no_error_page_for_a_log() {
    let (server, hashes) = dashboard(false);
    server
        .world()
        .answer(&format!("/log/{}", hashes[0]), 404, "nothing here");
    server
        .world()
        .answer(&format!("/log/{}", hashes[1]), 200, "not what it was");
    let dir = tempfile::tempdir().unwrap();
    let done = fetchlogs(&server, dir.path(), &[]);
    assert_eq!(done.code, Some(1));
    assert!(
        done.err.contains("404 Not Found") && done.err.contains("does not have the hash"),
        "{}",
        done.err
    );
    assert_eq!(
        std::fs::read_dir(dir.path().join("log")).unwrap().count(),
        0
    );
    let done = fetchlogs(&server, dir.path(), &["-repo", "nosuch"]);
    assert!(
        done.code == Some(1) && done.err.contains("unknown repo nosuch"),
        "{}",
        done.err
    );
    server
        .world()
        .answer("/", 200, "{\"builders\": [], \"revisions\": null}");
    let done = run(program("fetchlogs")
        .args(["-dashboard", server.url(), "-dir"])
        .arg(dir.path()));
    assert_eq!(
        done.code,
        Some(0),
        "fewer commits than asked for: {}",
        done.err
    );
    server.world().answer("/", 200, "<html>");
    let done = fetchlogs(&server, dir.path(), &[]);
    assert!(
        done.code == Some(1) && done.err.contains("bogus JSON response from dashboard"),
        "{}",
        done.err
    );
    assert_eq!(fetchlogs(&server, dir.path(), &["extra"]).code, Some(2));
    assert_eq!(fetchlogs(&server, Path::new("/nowhere"), &[]).code, Some(1));
}

/// The arguments of the calls that cleared something, in order of builders.
fn cleared(server: &FakeGerrit) -> Vec<String> {
    let seen = server.seen();
    let mut calls: Vec<String> = seen
        .iter()
        .filter_map(|line| Some(line.strip_prefix("POST /clear-results?")?.to_owned()))
        .collect();
    calls.sort();
    calls
}

#[test]
fn retrybuilds_clears_what_the_go_program_clears() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("m"), "gophers rule\n").unwrap();
    let master = home.path().join("m");
    let go = go_program("retrybuilds");
    let (_, hashes) = dashboard(true);
    let log = format!("-loghash={}", &hashes[0][..6]);
    for (args, count) in [
        (&[log.as_str()][..], 1),
        (&["-builder=linux-386"], 1),
        (&["-builder=linux-386", "-hash=269571"], 1),
        (&["-substr=FAIL: one"], 1),
        (&["-substr=2"], 2),
        (&["-redo-flaky"], 1),
        (&["-redo-flaky", "-builder=linux-amd64"], 0),
    ] {
        let mut calls = Vec::new();
        for command in [Some(program("retrybuilds")), go.as_ref().map(Command::new)]
            .into_iter()
            .flatten()
        {
            let (server, _) = dashboard(true);
            server.world().answer(
                "/clear-results",
                200,
                "{\"Response\":null,\"Error\":\"\"}\n",
            );
            let mut command = command;
            let done = run(command
                .args(args)
                .args([
                    "-builder-prefix",
                    &format!("{}/", server.url()),
                    "-masterkey",
                ])
                .arg(&master));
            assert_eq!(done.code, Some(0), "{args:?} {}", done.err);
            calls.push(cleared(&server));
        }
        assert_eq!(calls[0].len(), count, "{args:?} {calls:?}");
        assert!(calls.iter().all(|c| *c == calls[0]), "{args:?} {calls:?}");
    }
}

#[test]
fn retrybuilds_tells_what_it_could_not_do() {
    let home = tempfile::tempdir().unwrap();
    let (server, _) = dashboard(true);
    std::fs::write(home.path().join("k"), "k3y\n").unwrap();
    let retry = |args: &[&str]| {
        run(program("retrybuilds")
            .args(["-builder-prefix", server.url()])
            .args(args)
            .env("HOME", home.path())
            .current_dir(home.path()))
    };
    let done = retry(&[]);
    assert!(
        done.code == Some(1)
            && done
                .err
                .contains("Missing -builder, -redo-flaky, -substr, or -loghash flag."),
        "{}",
        done.err
    );
    let done = retry(&["-builder=linux-386", "-hash=zz"]);
    assert!(
        done.code == Some(1)
            && done.err.contains(
                "invalid hash \"zz\"; failed to finds its full hash. Not a recent failure?"
            ),
        "{}",
        done.err
    );
    let done = retry(&["-builder=linux-386"]);
    assert!(
        done.code == Some(1)
            && done
                .err
                .contains("No --key specified for builder linux-386"),
        "{}",
        done.err
    );
    let done = retry(&["-builder=linux-386", "-dry-run", "-json"]);
    assert!(
        done.code == Some(0) && done.out.contains("would be cleared"),
        "{}",
        done.err
    );
    assert!(cleared(&server).is_empty());
    server.world().answer(
        "/clear-results",
        200,
        "{\"Error\": \"invalid key \\\"k3y\\\" for builder\"}",
    );
    let done = retry(&["-builder=linux-386", "-key=k"]);
    assert!(
        done.code == Some(3)
            && done.err.contains("Dashboard error: invalid key")
            && !done.err.contains("k3y"),
        "{}",
        done.err
    );
}

/// A coordinator that hands on to a dashboard what it is asked to clear, over TLS.
fn coordinator(dashboard: &str, dir: &Path) -> (tokio::runtime::Runtime, String) {
    use build_server::front::{Front, Services};
    use build_server::grpc::{ClearResults, DashboardResults, Methods, PROTOS};
    use build_server::https::{Tls, development};

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dashboard = build_client::build_dashboard::Dashboard::new(dashboard).unwrap();
    let service = ClearResults::new(DashboardResults::new(dashboard));
    let made = development(dir, &[]).unwrap();
    let address = runtime.block_on(async {
        let methods = Methods::new().with(service, PROTOS).into_router().await;
        let services = Services::new().with_grpc(methods.unwrap());
        let front = Front::new(services).with_tls(Tls::new(made.certificate().clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        #[expect(clippy::disallowed_methods, reason = "it ends with the runtime")]
        let _serving =
            tokio::spawn(front.run(listener, tokio_util::sync::CancellationToken::new()));
        format!("localhost:{port}")
    });
    (runtime, address)
}

#[test]
fn retrybuilds_clears_by_grpc_what_the_go_program_clears() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("m"), "gophers rule\n").unwrap();
    let go = go_program("retrybuilds");
    let mut calls = Vec::new();
    for mut command in [Some(program("retrybuilds")), go.as_ref().map(Command::new)]
        .into_iter()
        .flatten()
    {
        let (server, _) = dashboard(true);
        let answer = "{\"Response\":null,\"Error\":\"\"}\n";
        server.world().answer("/clear-results", 200, answer);
        let (_runtime, address) = coordinator(server.url(), home.path());
        command.args(["-grpc-host", &address, "-substr=2"]);
        command.args(["-builder-prefix", server.url(), "-masterkey"]);
        let done = run(command.arg(home.path().join("m")));
        assert_eq!(done.code, Some(0), "{}", done.err);
        calls.push(cleared(&server));
    }
    assert_eq!(calls[0].len(), 2, "{calls:?}");
    assert!(calls.iter().all(|c| *c == calls[0]), "{calls:?}");

    // What the dashboard refuses is the failure of each cell.
    let (server, _) = dashboard(true);
    let answer = "{\"Response\":null,\"Error\":\"no such builder\"}\n";
    server.world().answer("/clear-results", 200, answer);
    let (_runtime, address) = coordinator(server.url(), home.path());
    let done = run(program("retrybuilds")
        .args(["-grpc-host", &address, "-builder=linux-386"])
        .args(["-builder-prefix", server.url(), "-masterkey"])
        .arg(home.path().join("m")));
    assert_eq!(done.code, Some(3), "{}", done.err);
    assert!(
        done.err.contains("no such builder (FailedPrecondition)"),
        "{}",
        done.err
    );
}
