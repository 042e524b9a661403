//! The stored format stays what it is: each line of the data files is an event of every kind.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::buildlet::ExecOutcome;
use crate::clock::Timestamp;
use crate::ids::{
    BuildId, BuilderName, ChangeRef, CommitHash, ExecId, HostType, LeaseId, MachineId, RepoId,
    RepoName, SecretName, SessionId, StepName, WishKey,
};
use crate::name::Name;
use crate::plan::{
    CommandLine, FoundSnapshot, Input, InputFrom, Network, Part, Plan, Sandbox, Step, StepInput,
    Unit,
};
use crate::test_lines::{SlowTest, TestCounts};
use crate::work::{Builder, Class, Trust, WorkItem};

fn item() -> WorkItem {
    let commit = CommitHash::new("0123456789012345678901234567890123456789").unwrap();
    WorkItem {
        repo_id: Some(RepoId::from_bits(0x1234)),
        host: Some("go.googlesource.com".into()),
        commit_time: Timestamp::from_seconds(1_608_753_536),
        subject: "runtime: wake up in time".into(),
        branch: Some("master".into()),
        tag: None,
        order: None,
        change: Some(ChangeRef::new("I8473b95934b5732ac55d26311a706c9c2bde9940").unwrap()),
        patch_set: Some(3),
        trust: Trust::Trusted,
        author: Some("ann@example.org".into()),
        class: Class::Try,
        labels: ["hotfix".to_owned()].into(),
        worktree: true,
        rerun_of: Some(BuildId::from_bits(9)),
        rest: BTreeMap::from([("later".to_owned(), serde_json::json!({"field": 1}))]),
        ..WorkItem::new(
            RepoName::new("go").unwrap(),
            "https://go.example.org/go",
            commit,
        )
    }
}

fn unit() -> Unit {
    Unit {
        step: StepName::new("test").unwrap(),
        part: Part::Shard(1),
    }
}

fn plan() -> Plan {
    let mut test = Step::new(StepName::new("test").unwrap(), "make test");
    test.tests = Some(CommandLine::Argv(vec!["make".into(), "list".into()]));
    test.shards = 2;
    test.sandbox = Sandbox::Namespaces;
    test.network = Network::Closed;
    test.image = Some("golang:1.16".into());
    test.secrets = BTreeMap::from([("KEY".into(), SecretName::new("deploy key").unwrap())]);
    let mut plan = Plan::new(vec![test], ".farmer.toml").unwrap();
    let builder = BuilderName::new("linux").unwrap();
    let builder = Builder::new(builder, HostType::new("vm").unwrap());
    plan.builder = Some(Box::new(builder));
    plan
}

/// A plan with every kind of input.
fn plan_with_inputs() -> Plan {
    let make = Step {
        snapshot: Some("out".into()),
        ..Step::new(StepName::new("make").unwrap(), "make")
    };
    let test = Step {
        inputs: vec![StepInput {
            step: make.name.clone(),
            dir: "made".into(),
        }],
        ..Step::new(StepName::new("test").unwrap(), "make test").needing(&make.name)
    };
    let mut plan = Plan::new(vec![make, test], ".farmer.toml").unwrap();
    let input = |dir: &str, from| Input {
        dir: dir.into(),
        from,
    };
    plan.inputs = vec![
        input(
            "tools",
            InputFrom::Checkout {
                repo: "tools".into(),
                rev: Some("main".into()),
                item: Some(Box::new(WorkItem::new(
                    RepoName::new("tools").unwrap(),
                    "https://go.example.org/tools",
                    item().commit,
                ))),
            },
        ),
        input(
            "data",
            InputFrom::Archive {
                url: "https://go.example.org/data.tar.gz".into(),
                sha256: "ef".repeat(32),
                max_bytes: 1 << 20,
                unpack: true,
                strip: 1,
            },
        ),
        input(
            "go",
            InputFrom::Snapshot {
                step: StepName::new("make").unwrap(),
                builder: Some(BuilderName::new("linux").unwrap()),
                repo: Some("go".into()),
                rev: Some("master".into()),
                optional: true,
                found: Some(FoundSnapshot {
                    build: BuildId::from_bits(8),
                    contents: BlobRef {
                        sha256: "ab".repeat(32),
                        size: 12,
                    },
                }),
            },
        ),
    ];
    plan
}

fn of_builds() -> Vec<BuildEvent> {
    let (lease, machine) = (LeaseId::from_bits(7), MachineId::new("m1").unwrap());
    let step = unit().step;
    let blob = BlobRef {
        sha256: "ab".repeat(32),
        size: 12,
    };
    let ended = |attempt, end| BuildEvent::Ended {
        unit: unit(),
        attempt,
        end,
        output_bytes: 5,
        took: Duration::from_micros(1_500_000),
        guessed: false,
    };
    let finished = |outcome| BuildEvent::Finished { outcome };
    vec![
        BuildEvent::Queued {
            item: item(),
            builder: BuilderName::new("linux").unwrap(),
        },
        BuildEvent::Reclassed {
            class: Class::Backfill,
        },
        BuildEvent::Planned { plan: plan() },
        BuildEvent::Leased {
            lease: lease.clone(),
            machine,
            unit: unit(),
        },
        BuildEvent::Ready {
            lease: lease.clone(),
            place: "unix:/m1".into(),
        },
        BuildEvent::Prepared {
            lease: lease.clone(),
            base: Base::CopyOf(LeaseId::from_bits(6)),
            cache_hits: vec!["target".into()],
            start: None,
            tool_caches: Vec::new(),
        },
        BuildEvent::Listed {
            step: step.clone(),
            tests: vec!["a".into(), b"b\xff".to_vec().into()],
            shards: vec![vec![1], vec![0]],
            listing: Some(blob.clone()),
        },
        BuildEvent::Taken {
            step: step.clone(),
            shard: 1,
            tests: vec!["a".into()],
            lease: lease.clone(),
        },
        BuildEvent::Started {
            unit: unit(),
            attempt: 1,
            lease: lease.clone(),
            exec: ExecId::new("B000000001-0-s1-1").unwrap(),
            tests: vec!["a".into()],
        },
        BuildEvent::Tested {
            unit: unit(),
            attempt: 1,
            tests: TestCounts {
                passed: 1,
                failed: 1,
                skipped: 1,
                failures: vec!["a".into(), b"caf\xe9".to_vec().into()],
                slowest: vec![SlowTest {
                    name: "b".into(),
                    took_us: 5,
                }],
                none_ran: false,
            },
            results: Some(blob),
        },
        ended(1, UnitEnd::Exited(ExecOutcome::Exit(1))),
        ended(2, UnitEnd::TimedOut(Duration::from_secs(60))),
        ended(3, UnitEnd::Silent(Duration::from_millis(1))),
        ended(4, UnitEnd::MissingTool("cc".into())),
        ended(5, UnitEnd::Lost("connection reset".into())),
        ended(6, UnitEnd::DiskQuota),
        BuildEvent::Kept {
            step: step.clone(),
            artifacts: ["out/x".into(), Name::from(b"out/\xe9".to_vec())]
                .map(|path| Artifact {
                    path,
                    size: 3,
                    sha256: "cd".repeat(32),
                })
                .into(),
            snapshot: None,
        },
        BuildEvent::CancelRequested {
            by: Principal::person("ann"),
        },
        finished(Outcome::Passed),
        finished(Outcome::Failed {
            step,
            text: "exit status 1".into(),
        }),
        finished(Outcome::Misconfigured {
            text: "no make".into(),
            hint: "install it".into(),
        }),
        finished(Outcome::Infrastructure {
            text: "no machine".into(),
        }),
        finished(Outcome::Canceled {
            by: Principal::person("ann"),
        }),
        BuildEvent::LeaseEnded {
            lease: lease.clone(),
            reason: LeaseEnd::Released,
        },
        BuildEvent::LeaseEnded {
            lease,
            reason: LeaseEnd::Unusable {
                text: "no shell".into(),
                hint: "install one".into(),
            },
        },
        BuildEvent::Planned {
            plan: plan_with_inputs(),
        },
        BuildEvent::Kept {
            step: StepName::new("make").unwrap(),
            artifacts: Vec::new(),
            snapshot: Some(Snapshot {
                dir: "out".into(),
                contents: BlobRef {
                    sha256: "ab".repeat(32),
                    size: 12,
                },
            }),
        },
        BuildEvent::Prepared {
            lease: LeaseId::from_bits(7),
            base: Base::Source,
            cache_hits: Vec::new(),
            start: Some(Start::Warm {
                build: BuildId::from_bits(8),
                dirs: vec!["target".into()],
                by: CopiedBy::Copy,
            }),
            tool_caches: Vec::new(),
        },
        BuildEvent::Prepared {
            lease: LeaseId::from_bits(7),
            base: Base::Source,
            cache_hits: Vec::new(),
            start: Some(Start::Cold {
                why: "a.h has changed".into(),
            }),
            tool_caches: Vec::new(),
        },
        BuildEvent::Planned {
            plan: Plan {
                warm: vec!["target".into()],
                ..plan()
            },
        },
        BuildEvent::Prepared {
            lease: LeaseId::from_bits(7),
            base: Base::Source,
            cache_hits: Vec::new(),
            start: None,
            tool_caches: vec!["cargo registry".into()],
        },
        BuildEvent::Salvaged {
            unit: unit(),
            attempt: 1,
            artifacts: vec![Artifact {
                path: "out/core".into(),
                size: 5,
                sha256: "cd".repeat(32),
            }],
        },
    ]
}

fn of_sessions() -> Vec<SessionEvent> {
    let later = of_builds().into_iter().filter_map(SessionEvent::of);
    let opened = |name: Option<&str>| SessionEvent::Opened {
        builder: BuilderName::new("linux").unwrap(),
        by: Principal::person("ann"),
        name: name.map(str::to_owned),
    };
    let closed = [
        SessionEnd::Returned,
        SessionEnd::Abandoned,
        SessionEnd::Stopped,
    ];
    let closed = closed.map(|end| SessionEvent::Finished {
        outcome: Outcome::Closed(end),
    });
    let named = opened(Some("user-ann-linux-0"));
    let events = [opened(None)].into_iter().chain(later).chain(closed);
    events.chain([named]).collect()
}

fn of_wishes() -> Vec<WishEvent> {
    let builder = BuilderName::new("linux").unwrap();
    let tip_of = BranchId {
        repo: RepoName::new("go").unwrap(),
        branch: "master".into(),
    };
    let build = BuildId::from_bits(1);
    let by = Principal::person("ann");
    vec![
        WishEvent::Asked {
            item: item(),
            builds: vec![WishedBuild {
                builder,
                build: build.clone(),
                owned: true,
            }],
            tip_of: Some(tip_of.clone()),
        },
        WishEvent::Backfilled {
            tip_of: BranchId {
                branch: b"b\xe9".to_vec().into(),
                ..tip_of
            },
        },
        WishEvent::Ended { build, met: true },
        WishEvent::Withdrawn { by },
    ]
}

fn of_repositories() -> Vec<RepoEvent> {
    let name = |text| RepoName::new(text).unwrap();
    vec![
        RepoEvent::Found {
            name: name("server"),
            origin: "https://x.org/a/server".into(),
        },
        RepoEvent::Moved {
            origin: "https://x.org/b/server".into(),
        },
        RepoEvent::Named {
            name: name("front"),
        },
    ]
}

/// The lines as they are written today, and what they say read again.
fn lines<E: Event + PartialEq + std::fmt::Debug>(stream: StreamId, events: &[E]) -> String {
    let mut text = String::new();
    for (event, n) in events.iter().zip(1..) {
        let at = Timestamp::from_micros(1_608_753_536_000_001);
        let new = NewEvent::new(stream.clone(), at, Principal::farm(), event).unwrap();
        let line = serde_json::to_string(&new.recorded(Seq(n), Version(n))).unwrap();
        let read: Recorded = serde_json::from_str(&line).unwrap();
        assert_eq!(read.read::<E>().as_ref(), Some(event), "{line}");
        text += &line;
        text.push('\n');
    }
    text
}

/// Versions that were written once are read for ever: a difference is a new version of a kind.
#[test]
fn events_are_written_as_they_were() {
    let builds = lines(BuildId::from_bits(1).into(), &of_builds());
    assert_eq!(builds, include_str!("golden/build-v1.jsonl"));
    let sessions = lines(SessionId::from_bits(1).into(), &of_sessions());
    assert_eq!(sessions, include_str!("golden/session-v1.jsonl"));
    let wishes = lines(WishKey::from_bits(1).into(), &of_wishes());
    assert_eq!(wishes, include_str!("golden/wish-v1.jsonl"));
    let repositories = lines(RepoId::from_bits(1).into(), &of_repositories());
    assert_eq!(repositories, include_str!("golden/repo-v1.jsonl"));
}

#[test]
fn a_work_item_and_a_step_carry_along_what_they_do_not_know() {
    let again = item().rerun(&BuildId::from_bits(2)).asked_again();
    assert_eq!(again.trust, Trust::Trusted);
    let text = serde_json::to_string(&again).unwrap();
    assert!(text.contains(r#""later":{"field":1}"#), "{text}");
    let step = r#"{"name":"x","run":{"argv":["true"]},"gpu":{"count":2}}"#;
    let step: Step = serde_json::from_str(step).unwrap();
    let text = serde_json::to_string(&step).unwrap();
    assert!(text.contains(r#""gpu":{"count":2}"#), "{text}");
    // What a commit configures is stored too: a newer version may say more of a builder.
    let builder = r#"{"name":"linux","host_type":"vm","price":3}"#;
    assert!(serde_json::from_str::<Builder>(builder).is_ok());
}
