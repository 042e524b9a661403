//! The program is killed at any instruction, and nothing that was recorded is lost.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::processes::{below, buildlets, kill, wait_until};
use crate::repo::{Repo, Run};

const TWO_STEPS: &str = r#"
[[step]]
name = "first"
run = "for n in 1 2 3 4 5; do echo first $n; sleep 0.05; done"
[[step]]
name = "second"
needs = ["first"]
run = "for n in 1 2 3 4 5; do echo second $n; sleep 0.05; done"
"#;

const SLOW: &str = r#"
[[step]]
name = "slow"
run = "echo shell $$; for n in $(seq 1 40); do echo line $n; sleep 0.1; done"
"#;

fn repo_with(config: &str) -> Repo {
    let repo = Repo::new();
    repo.write(".farmer.toml", config).commit("first");
    repo
}

fn start(repo: &Repo) -> Child {
    repo.farmer()
        .args(["build"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill_now(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Every recorded event of the newest build; none when nothing is recorded yet.
fn events(repo: &Repo) -> Vec<Value> {
    events_of(repo, &[])
}

fn events_of(repo: &Repo, build: &[&str]) -> Vec<Value> {
    let run = repo.run(&[&["log", "--events", "--json"], build].concat());
    if run.code() == 0 {
        run.events()
    } else {
        Vec::new()
    }
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|e| e["kind"] == kind)
        .map(|e| &e["body"])
        .collect()
}

fn raw_log(repo: &Repo) -> String {
    repo.run(&["log"]).exits(0).out()
}

/// A small generator of delays: the test must not be the same each time within a run, and
/// must be the same from run to run.
struct Delays(u64);

impl Delays {
    fn next(&mut self, below: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        below.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[test]
fn a_hundred_kills_lose_no_recorded_event() {
    let mut delays = Delays(0x9e37_79b9_7f4a_7c15);
    let mut kills = 0;
    while kills < 100 {
        let repo = repo_with(TWO_STEPS);
        let mut recorded: Vec<Value> = Vec::new();
        // Short lives first, so that every stage of a start and of a build is hit.
        for round in 0..10u32 {
            let child = start(&repo);
            std::thread::park_timeout(
                delays.next(Duration::from_millis(200 + 100 * u64::from(round))),
            );
            kill_now(child);
            kills += 1;
            // A build that was finished in time is followed by another one.
            let known = recorded.first().map(|e| {
                let build = e["stream"].as_str().unwrap().strip_prefix("build/");
                build.unwrap().to_owned()
            });
            let still = known.map_or(Vec::new(), |id| events_of(&repo, &[&id]));
            assert!(
                still.starts_with(&recorded),
                "recorded events are gone:\n{recorded:#?}\nnow:\n{still:#?}"
            );
            recorded = events(&repo);
        }
        repo.run(&["build"]).exits(0);
        let now = events(&repo);
        let finished = of_kind(&now, "finished");
        assert_eq!(finished.len(), 1, "{now:#?}");
        assert_eq!(finished[0]["outcome"], "passed");
    }
}

#[test]
fn a_killed_coordinator_adopts_its_build_byte_for_byte() {
    let repo = repo_with(SLOW);
    let child = start(&repo);
    wait_until("some output", Duration::from_secs(90), || {
        raw_log_so_far(&repo).contains("line 5\n")
    });
    let before = events(&repo);
    let children = children_of_buildlets(&repo);
    assert!(!children.is_empty());
    kill_now(child);
    let run = repo.run(&["build"]).exits(0);
    assert!(run.err().contains("goes on"), "{}", run.err());
    let after = events(&repo);
    assert_eq!(
        of_kind(&before, "started"),
        of_kind(&after, "started"),
        "it was started again"
    );
    let log = raw_log(&repo);
    let shells: Vec<&str> = log.lines().filter(|l| l.starts_with("shell ")).collect();
    let pid = shells[0].trim_start_matches("shell ");
    assert_eq!(shells.len(), 1, "{log}");
    assert!(
        children.iter().any(|c| c.to_string() == pid),
        "{pid} is none of {children:?}"
    );
    let unkilled: String = (1..=40).map(|n| format!("line {n}\n")).collect();
    assert_eq!(log, format!("shell {pid}\n{unkilled}"));
}

fn raw_log_so_far(repo: &Repo) -> String {
    repo.run(&["log"]).out()
}

/// Pids of what the buildlets of the repository run.
fn children_of_buildlets(repo: &Repo) -> Vec<u32> {
    let buildlets = buildlets(&repo.data());
    below(&repo.data())
        .into_iter()
        .map(|p| p.pid)
        .filter(|pid| buildlets.iter().all(|b| b.pid != *pid))
        .collect()
}

#[test]
fn a_killed_buildlet_is_another_attempt_with_its_reason() {
    let repo = repo_with(SLOW);
    let child = start(&repo);
    wait_until("some output", Duration::from_secs(90), || {
        raw_log_so_far(&repo).contains("line 2\n")
    });
    for buildlet in buildlets(&repo.data()) {
        kill(buildlet.pid, "KILL");
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let events = events(&repo);
    let ends = of_kind(&events, "ended");
    assert_eq!(ends.len(), 2, "{events:#?}");
    assert!(ends[0]["end"]["lost"].is_string(), "{:#?}", ends[0]);
    assert_eq!(ends[1]["end"]["exited"], "ok");
    assert_eq!(ends[1]["attempt"], 2);
}

#[test]
fn an_interrupted_build_leaves_no_process_and_runs_again() {
    let repo = repo_with(SLOW);
    let child = start(&repo);
    wait_until("some output", Duration::from_secs(90), || {
        raw_log_so_far(&repo).contains("line 2\n")
    });
    let begin = Instant::now();
    kill(child.id(), "INT");
    let run = Run::of(child.wait_with_output().unwrap()).exits(130);
    drop(run);
    assert!(
        begin.elapsed() < Duration::from_secs(60),
        "took {:?} to stop",
        begin.elapsed()
    );
    wait_until("no process is left", Duration::from_secs(90), || {
        below(&repo.data()).is_empty()
    });
    let recorded = events(&repo);
    assert!(
        of_kind(&recorded, "ended")
            .iter()
            .any(|e| e["end"] == "interrupted"),
        "{recorded:#?}"
    );
    repo.run(&["build"]).exits(0);
    assert_eq!(of_kind(&events(&repo), "finished").len(), 1);
}

#[test]
fn a_finished_build_leaves_no_process() {
    let repo = repo_with(TWO_STEPS);
    repo.run(&["build"]).exits(0);
    wait_until("no process is left", Duration::from_secs(90), || {
        below(&repo.data()).is_empty()
    });
}
