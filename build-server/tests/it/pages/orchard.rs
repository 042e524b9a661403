//! A farm with a past: recorded builds of a small project, as pages are to show them.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use build_core::buildlet::ExecOutcome;
use build_core::clock::Timestamp;
use build_core::event::{BuildEvent, LeaseEnd, Outcome, UnitEnd};
use build_core::ids::{BuildId, BuilderName, CommitHash, ExecId, LeaseId, MachineId, RepoName};
use build_core::livelog::{LogWriter, Options, Position};
use build_core::plan::{Plan, Unit};
use build_core::work::{Class, WorkItem};
use build_server::store::{LogHash, Store};

use crate::farm::{step, whole};

/// What a compiler and its tests print, with colours.
pub const LOG: &str = "\x1b[1m\x1b[32m   Compiling\x1b[0m orchard v0.3.0\n\
\x1b[1m\x1b[33mwarning\x1b[0m\x1b[1m: unused variable: `row`\x1b[0m\n\
\x1b[1m\x1b[34m  -->\x1b[0m src/tree.rs:41:9\n\
\x1b[1m\x1b[32m    Finished\x1b[0m `test` profile in 14.20s\n\
\n\
running 4 tests\n\
test tree::grows ... \x1b[32mok\x1b[0m\n\
test tree::sheds_leaves ... \x1b[31mFAILED\x1b[0m\n\
test apple::falls_down ... \x1b[32mok\x1b[0m\n\
test apple::is_round ... \x1b[32mok\x1b[0m\n\
\n\
---- tree::sheds_leaves ----\n\
assertion `left == right` failed: <leaves> & \"twigs\"\n\
  left: 12\n right: 11\n\
\n\
\x1b[31mtest result: FAILED\x1b[0m. 3 passed; 1 failed\n";

/// How a recorded build went.
#[derive(Clone, Copy)]
pub enum How {
    Passed,
    Failed,
    Lost,
    LostOnce,
    Canceled,
}

pub fn now() -> Timestamp {
    SystemTime::now().into()
}

pub fn repo() -> RepoName {
    RepoName::new("orchard").unwrap()
}

/// The commit that is number `n` of the project, made `minutes` ago.
pub fn item(n: u64, subject: &str, author: &str, minutes: u64) -> WorkItem {
    WorkItem {
        repo: repo(),
        origin: "/nowhere".into(),
        commit: CommitHash::new(format!(
            "{:016x}{:024x}",
            0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n),
            n
        ))
        .unwrap(),
        commit_time: now() - Duration::from_secs(60 * minutes),
        subject: subject.into(),
        branch: Some("main".into()),
        tag: None,
        order: None,
        change: None,
        author: Some(author.into()),
        class: Class::DefaultTip,
        labels: BTreeSet::new(),
        worktree: false,
        rerun_of: None,
        repo_id: None,
        host: None,
        patch_set: None,
        trust: Default::default(),
        rest: Default::default(),
    }
}

fn run(unit: &Unit, attempt: u32, lease: u64, exec: &str) -> BuildEvent {
    BuildEvent::Started {
        unit: unit.clone(),
        attempt,
        lease: LeaseId::from_bits(lease),
        exec: ExecId::new(exec).unwrap(),
        tests: Vec::new(),
    }
}

fn ended(unit: &Unit, attempt: u32, end: UnitEnd, took: u64) -> BuildEvent {
    BuildEvent::Ended {
        unit: unit.clone(),
        attempt,
        end,
        output_bytes: LOG.len() as u64,
        took: Duration::from_secs(took),
        guessed: false,
    }
}

/// The events of a build that is over, each with its second after the first.
pub fn life(n: u64, item: &WorkItem, builder: &str, how: How) -> Vec<(u64, BuildEvent)> {
    let (build, test) = (whole("build"), whole("test"));
    let builder = BuilderName::new(builder).unwrap();
    let plan = Plan::new(
        vec![
            step("build", "cargo build"),
            step("test", "cargo test").needing(&build.step),
        ],
        "detected: Cargo.toml",
    );
    let plan = plan.unwrap();
    let lease = BuildEvent::Leased {
        lease: LeaseId::from_bits(n),
        machine: MachineId::new("m1").unwrap(),
        unit: build.clone(),
    };
    let ok = || UnitEnd::Exited(ExecOutcome::Ok);
    let lost = || UnitEnd::Lost("connection reset by peer".into());
    let item = item.clone();
    let mut events = vec![
        (0, BuildEvent::Queued { item, builder }),
        (1, BuildEvent::Planned { plan }),
        (2, lease),
        (3, run(&build, 1, n, "build-1")),
        (40, ended(&build, 1, ok(), 37)),
        (41, run(&test, 1, n, "test-1")),
    ];
    let (end, outcome) = match how {
        How::Passed => (ok(), Outcome::Passed),
        How::Failed => (
            UnitEnd::Exited(ExecOutcome::Exit(101)),
            Outcome::Failed {
                step: test.step.clone(),
                text: "exit status 101".into(),
            },
        ),
        How::Lost => (
            lost(),
            Outcome::Infrastructure {
                text: "m1: connection reset by peer".into(),
            },
        ),
        How::LostOnce => {
            events.push((60, ended(&test, 1, lost(), 19)));
            events.push((65, run(&test, 2, n, "test-2")));
            (ok(), Outcome::Passed)
        }
        How::Canceled => (UnitEnd::Canceled, Outcome::Canceled { by: "ada".into() }),
    };
    let attempt = if matches!(how, How::LostOnce) { 2 } else { 1 };
    events.push((130, ended(&test, attempt, end, 65 + n % 30)));
    events.push((130, BuildEvent::Finished { outcome }));
    let reason = LeaseEnd::Released;
    let lease = LeaseId::from_bits(n);
    events.push((131, BuildEvent::LeaseEnded { lease, reason }));
    events
}

pub async fn append(store: &Store, id: &BuildId, begun: Timestamp, life: Vec<(u64, BuildEvent)>) {
    let new = |(second, told): (u64, BuildEvent)| {
        build_server::testing::event(id, begun + Duration::from_secs(second), &told)
    };
    let events = life.into_iter().map(new).collect();
    let log = &**store.events();
    build_server::testing::append(log, events).await.unwrap();
}

/// Keeps the log of a run, in the place of an earlier one.
pub async fn write_log(
    store: &Store,
    id: &BuildId,
    exec: &str,
    write: impl FnOnce(&mut LogWriter),
) {
    let mut writer = LogWriter::in_memory(Options::default());
    write(&mut writer);
    let log = writer.log();
    writer.finish().unwrap();
    let mut hash = LogHash::default();
    let mut reader = log.reader(Position::Start).unwrap().until_now();
    let mut piece = vec![0; 1 << 20];
    while let Some(read) = reader.try_read(&mut piece).unwrap().filter(|n| *n > 0) {
        hash.feed(&piece[..read]);
    }
    let (exec, sum) = (ExecId::new(exec).unwrap(), hash.finish());
    let sealed = store.logs().seal(id, &exec, &log, &sum);
    sealed.await.unwrap();
}

const COMMITS: [(&str, &str, u64); 7] = [
    (
        "tree: shed leaves in autumn",
        "Ada Lovelace <ada@example.org>",
        9,
    ),
    (
        "apple: fall towards the ground",
        "Isaac N <isaac@example.org>",
        55,
    ),
    (
        "ladder: check the third rung before every climb",
        "Grace H <grace@example.org>",
        130,
    ),
    (
        "docs: how to plant a row",
        "Ada Lovelace <ada@example.org>",
        300,
    ),
    (
        "tree: count rings in parallel",
        "Grace H <grace@example.org>",
        1_500,
    ),
    (
        "Cargo.lock: newer shovels",
        "robot <robot@example.org>",
        2_900,
    ),
    ("first seed", "Ada Lovelace <ada@example.org>", 9_000),
];

/// Builds of seven commits on two builders, numbered from 1: odd ones on Linux.
pub async fn plant(store: &Store) {
    use How::{Canceled, Failed, Lost, LostOnce, Passed};
    let hows = [
        [Failed, Passed],
        [Passed, LostOnce],
        [Passed, Passed],
        [Passed, Canceled],
        [Passed, Lost],
        [Failed, Failed],
        [Passed, Passed],
    ];
    let mut newest_last: Vec<_> = COMMITS.iter().zip(hows).zip(1u64..).collect();
    newest_last.reverse();
    for (((subject, author, minutes), hows), n) in newest_last {
        let item = item(n, subject, author, *minutes);
        for (builder, how, number) in [
            ("linux-amd64", hows[0], 2 * n - 1),
            ("linux-arm64", hows[1], 2 * n),
        ] {
            let id = BuildId::from_bits(number);
            let life = life(number, &item, builder, how);
            append(store, &id, item.commit_time, life).await;
            for exec in ["build-1", "test-1", "test-2"] {
                let text = match exec {
                    "build-1" => "\x1b[1m\x1b[32m   Compiling\x1b[0m orchard v0.3.0\n",
                    _ => LOG,
                };
                write_log(store, &id, exec, |log| {
                    log.append(text.as_bytes()).unwrap();
                })
                .await;
            }
        }
    }
}
