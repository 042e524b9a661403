//! What every store of rows promises: whatever was written, it answers as the rows in memory do,
//! which are the one fold of [`crate::record::rows`] and a search.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use build_core::Result;
use build_core::buildlet::ExecOutcome;
use build_core::clock::Timestamp;
use build_core::event::{BuildEvent, NewEvent, Outcome, Principal, Seq, SessionEvent, UnitEnd};
use build_core::ids::{
    BuildId, BuilderName, CommitHash, ExecId, LeaseId, RepoName, SessionId, StepName,
};
use build_core::plan::{Part, Unit};
use build_core::report::BuildStatus;
use build_core::work::{Class, WorkItem};

use super::batch;
use crate::store::{BoardFilter, BuildFilter, EventLog, Ledger, MemoryStore, Records};

const BUILDS: u64 = 24;

fn at(second: u64) -> Timestamp {
    Timestamp::from_seconds(i64::try_from(1_600_000_000 + second).unwrap_or(0))
}

fn item(n: u64) -> Result<WorkItem> {
    let mut item = WorkItem {
        repo: RepoName::new(if n.is_multiple_of(3) {
            "a/server"
        } else {
            "b/server"
        })?,
        origin: "/somewhere".into(),
        commit: CommitHash::new(format!("{:02x}{:038x}", n / 2, 0))?,
        commit_time: at(n / 2),
        subject: "a change".into(),
        branch: (!n.is_multiple_of(5)).then(|| format!("b{}", n % 2).into()),
        tag: None,
        order: None,
        change: None,
        author: None,
        class: Class::DefaultTip,
        labels: BTreeSet::new(),
        worktree: n == 7,
        rerun_of: None,
        repo_id: None,
        host: None,
        patch_set: None,
        trust: Default::default(),
        rest: Default::default(),
    };
    if n == 20 {
        item = item.rerun(&BuildId::from_bits(10));
    }
    Ok(item)
}

fn builder(n: u64) -> Result<BuilderName> {
    BuilderName::new(if n.is_multiple_of(2) { "linux" } else { "mac" })
}

fn step() -> Result<StepName> {
    StepName::new("test")
}

/// The life of a build, up to a point of its own.
fn life(n: u64) -> Result<Vec<BuildEvent>> {
    let unit = Unit {
        step: step()?,
        part: Part::Whole,
    };
    let mut life = vec![
        BuildEvent::Queued {
            item: item(n)?,
            builder: builder(n)?,
        },
        BuildEvent::Started {
            unit: unit.clone(),
            attempt: 1,
            lease: LeaseId::from_bits(n),
            exec: ExecId::new(format!("e{n}"))?,
            tests: vec![],
        },
        BuildEvent::Ended {
            unit,
            attempt: 1,
            end: UnitEnd::Exited(if n == 10 {
                ExecOutcome::Exit(1)
            } else {
                ExecOutcome::Ok
            }),
            output_bytes: n,
            took: Duration::from_millis(n),
            guessed: false,
        },
        BuildEvent::Finished {
            outcome: if n == 10 {
                let (step, text) = (step()?, "exit status 1".into());
                Outcome::Failed { step, text }
            } else {
                Outcome::Passed
            },
        },
    ];
    // Every fourth build goes on: it waits, or runs.
    if n.is_multiple_of(4) {
        life.truncate(1 + usize::try_from(n / 4 % 3).unwrap_or(0));
    }
    Ok(life)
}

/// Everything that can be asked, as text.
async fn everything(records: &dyn Records) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for n in 0..=BUILDS + 1 {
        all.push(format!(
            "{:?}",
            records.build(&BuildId::from_bits(n)).await?
        ));
        all.push(format!(
            "{:?}",
            records.session(&SessionId::from_bits(n)).await?
        ));
    }
    let none = BuildFilter::default;
    let filters = [
        none(),
        BuildFilter {
            repo: Some(RepoName::new("a/server")?),
            ..none()
        },
        BuildFilter {
            branch: Some("b1".into()),
            ..none()
        },
        BuildFilter {
            builder: Some(builder(1)?),
            ..none()
        },
        BuildFilter {
            commit: Some(item(6)?.commit.as_str()[..14].into()),
            ..none()
        },
        BuildFilter {
            state: Some(BuildStatus::Passed),
            ..none()
        },
        BuildFilter {
            state: Some(BuildStatus::Queued),
            ..none()
        },
    ];
    for which in &filters {
        let mut before = None;
        for _ in 0..=BUILDS {
            let page = records.builds(which, before, 5).await?;
            all.push(format!("{which:?} {page:?}"));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
    }
    all.push(format!("open {:?}", records.open().await?));
    all.push(format!("active {:?}", records.active().await?));
    all.push(format!("queued {:?}", records.queued(2).await?));
    all.push(format!("waiting {}", records.count_queued().await?));
    all.push(format!("repos {:?}", records.repos().await?));
    all.push(format!("sessions {:?}", records.open_sessions().await?));
    for (repo, branch) in [("a/server", None), ("b/server", Some("b1")), ("c", None)] {
        let which = BoardFilter {
            repo: RepoName::new(repo)?,
            branch: branch.map(Into::into),
        };
        let mut before = None;
        for _ in 0..=BUILDS {
            let page = records.board(&which, before, 3).await?;
            all.push(format!("board {page:?}"));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let (builder, step) = (builder(0)?, step()?);
        let timings = records.timings(&which.repo, &builder, &step, 3).await?;
        all.push(format!("timings {timings:?}"));
        let tested = records
            .tested(&which.repo, &builder, &step, Seq(u64::MAX), 3)
            .await?;
        all.push(format!("tested {tested:?}"));
    }
    Ok(all)
}

/// Checks what every [`Records`] promises, on an empty log and its rows: those of a store that
/// writes both together, or rows that lie beside the log, which a [`Ledger`] folds.
///
/// # Errors
/// When the store fails.
///
/// # Panics
/// When it breaks a promise: the text says which.
pub async fn records(events: Arc<dyn EventLog>, records: Arc<dyn Records>) -> Result<()> {
    let twin = Arc::new(MemoryStore::default());
    let ledgers = [
        Ledger::new(events.clone(), records.clone()),
        Ledger::new(twin.clone(), twin.clone()),
    ];
    for ledger in &ledgers {
        for n in 1..=BUILDS {
            let build = BuildId::from_bits(n);
            let session = SessionId::from_bits(n);
            let mut written = life(n)?
                .iter()
                .map(|event| Ok(super::event(&build, at(n), event)))
                .collect::<Result<Vec<NewEvent>>>()?;
            if n <= 2 {
                let mut opened = vec![SessionEvent::Opened {
                    builder: builder(n)?,
                    by: Principal::person("ann"),
                    name: None,
                }];
                if n == 2 {
                    opened.push(SessionEvent::Finished {
                        outcome: Outcome::Passed,
                    });
                }
                for event in opened {
                    written.push(NewEvent::new(
                        &session,
                        at(n),
                        Principal::person("ann"),
                        &event,
                    )?);
                }
            }
            let batch = batch(&**ledger.events(), written).await?;
            ledger.append(batch).await?;
        }
    }
    let head = events.head().await?;
    assert!(
        records.position().await? >= head,
        "rows are there when the append returns"
    );
    let expected = everything(&*twin).await?;
    compare(
        &expected,
        &everything(&*records).await?,
        "rows are the fold of the log",
    );
    records.rebuild().await?;
    compare(
        &expected,
        &everything(&*records).await?,
        "and the same when folded anew",
    );
    Ok(())
}

fn compare(expected: &[String], found: &[String], what: &str) {
    for (expected, found) in expected.iter().zip(found) {
        assert_eq!(expected, found, "{what}");
    }
    assert_eq!(expected.len(), found.len(), "{what}");
}
