//! What the commands say of one farm that never changes, for people and as JSON: one file each in
//! `snapshots/`. `INSTA_UPDATE=always cargo test -p farmer answers` writes them anew.

use std::process::Command;
use std::time::Duration;

use build_core::buildlet::ExecOutcome;
use build_core::clock::Timestamp;
use build_core::event::{Artifact, BuildEvent, LeaseEnd, NewEvent, Outcome, Principal, UnitEnd};
use build_core::ids::{
    BuildId, BuilderName, CommitHash, ExecId, LeaseId, MachineId, RepoName, StepName,
};
use build_core::plan::{Part, Plan, Step, Unit};
use build_core::test_lines::{SlowTest, TestCounts};
use build_core::work::WorkItem;
use build_server::store::{LogHash, Store};

use crate::repo::Run;

const OUTPUT: &str = "test parse ... ok\ntest print ... FAILED\n";

fn item(n: u64, subject: &str) -> WorkItem {
    let commit = CommitHash::new(format!("{n:040x}")).unwrap();
    let mut item = WorkItem::new(RepoName::new("orchard").unwrap(), "/nowhere", commit);
    item.commit_time = Timestamp::from_seconds(1_608_753_000 + 60 * i64::try_from(n).unwrap());
    item.subject = subject.into();
    item.branch = Some("main".into());
    item.author = Some("Ada Lovelace <ada@example.org>".into());
    item
}

/// The life of a build that is over, each event with its milliseconds after the first.
fn life(n: u64, subject: &str, passes: bool) -> Vec<(u64, BuildEvent)> {
    let builder = BuilderName::new("local").unwrap();
    let step = Step::new(StepName::new("test").unwrap(), "make test");
    let unit = Unit {
        step: step.name.clone(),
        part: Part::Whole,
    };
    let (lease, exec) = (
        LeaseId::from_bits(n),
        ExecId::new(format!("test-{n}")).unwrap(),
    );
    let (end, outcome) = match passes {
        true => (ExecOutcome::Ok, Outcome::Passed),
        false => {
            let text = "exit status 2".to_owned();
            (
                ExecOutcome::Exit(2),
                Outcome::Failed {
                    step: step.name.clone(),
                    text,
                },
            )
        }
    };
    let slowest = vec![SlowTest {
        name: "parse".into(),
        took_us: 312_457,
    }];
    let tests = TestCounts {
        passed: 1,
        failed: u64::from(!passes),
        failures: if passes { vec![] } else { vec!["print".into()] },
        slowest,
        ..TestCounts::default()
    };
    let kept = Artifact {
        path: "out/report.txt".into(),
        size: 12,
        sha256: "ab".repeat(32),
    };
    let mut events = vec![
        (
            0,
            BuildEvent::Queued {
                item: item(n, subject),
                builder,
            },
        ),
        (
            20,
            BuildEvent::Planned {
                plan: Plan::new(vec![step], "detected: Makefile").unwrap(),
            },
        ),
        (
            30,
            BuildEvent::Leased {
                lease: lease.clone(),
                machine: MachineId::new("local-1").unwrap(),
                unit: unit.clone(),
            },
        ),
        (
            40,
            BuildEvent::Started {
                unit: unit.clone(),
                attempt: 1,
                lease: lease.clone(),
                exec,
                tests: Vec::new(),
            },
        ),
        (
            1_290,
            BuildEvent::Tested {
                unit: unit.clone(),
                attempt: 1,
                tests,
                results: None,
            },
        ),
        (
            1_290,
            BuildEvent::Ended {
                unit: unit.clone(),
                attempt: 1,
                end: UnitEnd::Exited(end),
                output_bytes: OUTPUT.len() as u64,
                took: Duration::from_micros(1_250_125),
                guessed: false,
            },
        ),
    ];
    if passes {
        events.push((
            1_295,
            BuildEvent::Kept {
                step: unit.step,
                artifacts: vec![kept],
                snapshot: None,
            },
        ));
    }
    events.push((1_300, BuildEvent::Finished { outcome }));
    events.push((
        1_310,
        BuildEvent::LeaseEnded {
            lease,
            reason: LeaseEnd::Released,
        },
    ));
    events
}

async fn plant(data: &std::path::Path) {
    let store = Store::open(data).await.unwrap();
    // Whether a kept file is there is told by its name.
    let kept = data.join("blobs/artifact").join("ab".repeat(32));
    std::fs::write(kept, "").unwrap();
    for (n, subject, passes) in [(1, "plant a tree", true), (2, "print what grows", false)] {
        let id = BuildId::from_bits(n);
        let begun = item(n, subject).commit_time;
        let new = |(millis, told): (u64, BuildEvent)| {
            let at = begun + Duration::from_millis(millis);
            NewEvent::new(&id, at, Principal::farm(), &told).unwrap()
        };
        let events = life(n, subject, passes).into_iter().map(new).collect();
        build_server::testing::append(&**store.events(), events)
            .await
            .unwrap();
        let exec = ExecId::new(format!("test-{n}")).unwrap();
        let mut writer = store.logs().writer(&id, &exec).await.unwrap();
        writer.append(OUTPUT.as_bytes()).unwrap();
        let log = writer.log();
        writer.finish().unwrap();
        let mut hash = LogHash::default();
        hash.feed(OUTPUT.as_bytes());
        store
            .logs()
            .seal(&id, &exec, &log, &hash.finish())
            .await
            .unwrap();
    }
    // It waits for a farm.
    let id = BuildId::from_bits(3);
    let item = item(3, "look at it");
    let at = item.commit_time;
    let builder = BuilderName::new("local").unwrap();
    let queued = BuildEvent::Queued { item, builder };
    let queued = NewEvent::new(&id, at, Principal::person("ann"), &queued).unwrap();
    build_server::testing::append(&**store.events(), vec![queued])
        .await
        .unwrap();
    store.close().await.unwrap();
}

fn farmer(home: &std::path::Path, args: &[&str]) -> Run {
    let mut command = alone(home);
    command.args(args).env("FARMER_DATA", home.join("data"));
    Run::of(command.output().unwrap())
}

/// The program with nothing around it.
fn alone(home: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farmer"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.current_dir(home).env_clear().env("PATH", path);
    command
        .env("HOME", home)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .stdin(std::process::Stdio::null());
    command
}

/// Everything that a run said, and how it ended; the directory of the test is called HOME.
fn said(home: &std::path::Path, run: &Run) -> String {
    let (out, err) = (run.out(), run.err());
    let err = match err.is_empty() {
        true => err,
        false => format!("--- standard error\n{err}"),
    };
    let text = format!("{out}{err}--- exit {}\n", run.code());
    text.replace(home.to_str().unwrap(), "HOME")
}

#[tokio::test]
async fn every_command_answers_as_before() {
    let home = tempfile::tempdir().unwrap();
    plant(&home.path().join("data")).await;
    let verbs: [&[&str]; 14] = [
        &["status"],
        &["status", "--limit", "1"],
        &["why", "B000000001"],
        &["why", "B000000002"],
        &["why", "B000000003"],
        &["why", "B000000009"],
        &["log", "B000000002"],
        &["log", "B000000002", "--tail", "1"],
        &["log", "B000000002", "--events"],
        &["artifact", "list", "B000000001"],
        &["artifact", "list", "B000000002"],
        &["rerun", "B000000001"],
        &["cancel", "nonsense"],
        &["outbox", "list"],
    ];
    for verb in verbs {
        let name = verb.join(" ").replace("--", "").replace(' ', "-");
        let run = farmer(home.path(), verb);
        insta::assert_snapshot!(name.as_str(), said(home.path(), &run));
        let run = farmer(home.path(), &[verb, &["--json"]].concat());
        let name = format!("{name}-json");
        let text = said(home.path(), &run);
        insta::assert_snapshot!(name.as_str(), text);
    }
}

#[test]
fn every_program_says_what_it_does() {
    let home = tempfile::tempdir().unwrap();
    let groups = [
        farmer_corpus::PROGRAMS,
        farmer_servers::PROGRAMS,
        farmer_tools::PROGRAMS,
    ];
    let others = ["buildlet", "coordinator"];
    let names = groups
        .into_iter()
        .flatten()
        .map(|(name, _)| *name)
        .chain(others);
    for name in names {
        let run = Run::of(alone(home.path()).args([name, "--help"]).output().unwrap());
        insta::assert_snapshot!(format!("help-{name}"), said(home.path(), &run));
    }
}
