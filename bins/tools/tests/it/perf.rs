//! Benchmarks: run on a real buildlet, read back, compared.

use std::fs;
use std::path::Path;
use std::process::Command;

use build_server::buildlet::{Address, BuildletServer, Config, Listener};
use build_server::supervise::Supervisor;

use super::program;

/// A tree whose benchmark is a script; `time` is what it measures.
fn tree(dir: &Path, commit: &str, time: &str, fails: bool) {
    let tree = dir.join("tree");
    fs::create_dir_all(&tree).unwrap();
    let build = if fails {
        "echo no compiler; exit 1"
    } else {
        "cp bench.in bench"
    };
    fs::write(tree.join("build.sh"), build).unwrap();
    fs::write(
        tree.join("bench.in"),
        format!("echo 'goos: linux'; echo 'BenchmarkX-2 100 {time} ns/op'; echo PASS"),
    )
    .unwrap();
    let tgz = dir.join(format!("{commit}.tar.gz"));
    let packed = Command::new("tar")
        .arg("czf")
        .arg(tgz)
        .arg("-C")
        .arg(&tree)
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn perfrun_runs_commits_in_turns_and_perf_compares_them() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    let listener = Listener::bind(&Address::Tcp("127.0.0.1:0".to_owned()))
        .await
        .unwrap();
    let address = listener.address();
    let server = BuildletServer::open(Config::new(&work, dir.path().join("state"))).unwrap();
    let tasks = Supervisor::new("test");
    let stop = tasks.token().clone();
    tasks.spawn("buildlet", async move {
        server.run(vec![listener], stop).await.map(drop)
    });
    tree(dir.path(), "a1", "200", false);
    tree(dir.path(), "b2", "100", false);
    tree(dir.path(), "bad", "1", true);
    let trees = dir.path().join("{commit}.tar.gz");
    let run = |commits: &[&str], more: &[&str]| {
        let mut command = program("perfrun");
        command.current_dir(dir.path());
        command.args([
            "-buildlet",
            &address,
            "-build",
            "sh build.sh",
            "-bench",
            "sh bench",
        ]);
        command.args(["-o", "out.log", "-trees", trees.to_str().unwrap()]);
        command.args(more).args(commits);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let done = run(&["a1", "b2"], &["-count", "6", "-json"]).await.unwrap();
    assert!(done.status.success(), "{done:?}");
    let summary: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(summary[0]["rows"][0]["cells"][1]["compare"]["delta"], -0.5);
    let text = fs::read_to_string(dir.path().join("out.log")).unwrap();
    let blocks: Vec<&str> = text.lines().filter(|l| l.starts_with("commit: ")).collect();
    assert_eq!(blocks, ["commit: a1", "commit: b2"].repeat(6));
    let starts: Vec<_> = text.lines().filter(|l| l.starts_with("start: ")).collect();
    assert!(
        starts
            .iter()
            .all(|line| line.len() == "start: 2020-12-23T10:11:12Z".len()),
        "{starts:?}"
    );
    let results: Vec<_> = build_core::benchfmt::Reader::new(&text).collect();
    assert_eq!(results.len(), 12);
    assert_eq!(results[11].labels["iteration"], "5");

    let failed = run(&["a1", "bad"], &[]).await.unwrap();
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1), "{told}");
    assert!(
        told.contains("build the benchmarks of bad") && told.contains("no compiler"),
        "{told}"
    );

    let status =
        r#"{"builders":["linux"],"revisions":[{"repo":"go","revision":"a1","results":["ok"]}]}"#;
    fs::write(dir.path().join("status.json"), status).unwrap();
    let unknown = run(&[], &["-status", "status.json", "-buildlet_src", "plan9"])
        .await
        .unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("builder \"plan9\" not found"));
    let known = run(
        &[],
        &[
            "-status",
            "status.json",
            "-buildlet_src",
            "linux",
            "-count",
            "1",
        ],
    )
    .await
    .unwrap();
    assert!(known.status.success(), "{known:?}");
    let nothing = program("perfrun").output().unwrap();
    assert_eq!(nothing.status.code(), Some(2), "-buildlet is needed");
    let drained = tasks.drain(std::time::Duration::from_secs(10)).await;
    drained.unwrap();
}

#[test]
fn perf_compares_files_as_text_and_json() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, base: u32| {
        let lines: String = (0..8)
            .map(|n| format!("BenchmarkA-4 10 {} ns/op\n", base + n))
            .collect();
        fs::write(dir.path().join(name), lines).unwrap();
    };
    file("old", 1000);
    file("new", 500);
    fs::write(dir.path().join("none"), "ok\n").unwrap();
    let run = |args: &[&str]| {
        program("perf")
            .current_dir(dir.path())
            .args(args)
            .output()
            .unwrap()
    };
    let text = String::from_utf8(run(&["compare", "old", "new"]).stdout).unwrap();
    assert!(text.contains("-49.8") && text.contains("p=0.000"), "{text}");
    let json: serde_json::Value =
        serde_json::from_slice(&run(&["compare", "a=old", "b=old", "-json"]).stdout).unwrap();
    assert_eq!(json[0]["sets"], serde_json::json!(["a", "b"]));
    assert_eq!(
        json[0]["rows"][0]["cells"][1]["compare"]["delta"],
        serde_json::Value::Null
    );
    for wrong in [
        &["compare", "none"][..],
        &["compare", "absent"],
        &["compare", "old", "-alpha", "2"],
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
