//! What pages and questions read: rows folded from the event log.
//!
//! A row is a pure function of a build's events, so every store folds with the same code and
//! can rebuild its rows from the log at any time.

mod fold;
mod kept;
mod report;
mod session;

use std::collections::BTreeMap;
use std::time::Duration;

use build_core::clock::{Timestamp, micros};
use build_core::event::{BlobRef, BuildEvent, Outcome, Recorded, Seq, Start, UnitEnd};
use build_core::ids::{BuildId, BuilderName, CommitHash, ExecId, LeaseId, StepName};
use build_core::plan::{Input, Part, Unit};
use build_core::report::{BuildStatus, Rerun};
use build_core::test_lines::TestCounts;
use build_core::work::WorkItem;
use serde::{Deserialize, Serialize};

pub use fold::{OfStep, ROWS_VERSION, RowKey, RowSink, row_keys, rows};
pub use kept::KeptFiles;
pub use session::SessionRow;

/// One run of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What of the build it ran.
    pub unit: Unit,
    /// Counted from 1.
    pub attempt: u32,
    /// Its command's id, after which its log is called.
    pub exec: ExecId,
    /// On which machine it runs.
    pub lease: LeaseId,
    /// When it was started.
    pub started: Timestamp,
    /// How many tests it was given, for a shard.
    #[serde(default)]
    pub tests: u64,
    /// What it printed of tests.
    #[serde(default, skip_serializing_if = "TestCounts::is_empty")]
    pub tested: TestCounts,
    /// The result of each test, where they were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<BlobRef>,
    /// How it ended; `None` while it runs.
    pub end: Option<UnitEnd>,
    /// How long it ran.
    #[serde(rename = "took_us", default, with = "micros::option")]
    pub took: Option<Duration>,
    /// Bytes of output recorded, once it has ended.
    pub output_bytes: u64,
}

/// One build as pages and questions see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRow {
    /// Which build.
    pub id: BuildId,
    /// Position of its first event: builds in order of being asked for.
    pub number: Seq,
    /// The commit.
    pub item: WorkItem,
    /// What it is built on.
    pub builder: BuilderName,
    /// Where it stands.
    pub state: BuildStatus,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// When it was asked for.
    pub queued: Timestamp,
    /// When its first machine was granted.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Names of the steps of its plan, in order.
    pub steps: Vec<StepName>,
    /// Why these steps: the file they were read from, or what was detected.
    pub reason: String,
    /// What lies in its work directories besides the commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// Every run of every unit, in order of being started.
    pub runs: Vec<Run>,
    /// Cached directories that were put back.
    pub cache_hits: Vec<String>,
    /// Whether it began with directories of an earlier build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Caches of tools that its commands name and that had something in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_caches: Vec<String>,
    /// Files kept; of many the first ones.
    pub kept: Vec<KeptFiles>,
    /// How long the files of steps stay that say so, in microseconds after its end.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keep_us: BTreeMap<StepName, u64>,
    /// Machines it holds; after the result they are still given back.
    pub held: Vec<LeaseId>,
    /// The build that runs its failed tests again; a store looks it up when it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun: Option<Rerun>,
}

impl BuildRow {
    /// The row that begins with `event`, if that one begins a build.
    pub fn begin(id: &BuildId, first: &Recorded, event: &BuildEvent) -> Option<Self> {
        let BuildEvent::Queued { item, builder } = event else {
            return None;
        };
        Some(Self {
            id: id.clone(),
            number: first.seq,
            item: item.clone(),
            builder: builder.clone(),
            state: BuildStatus::Queued,
            outcome: None,
            queued: first.at,
            started: None,
            finished: None,
            steps: Vec::new(),
            reason: String::new(),
            inputs: Vec::new(),
            runs: Vec::new(),
            cache_hits: Vec::new(),
            start: None,
            tool_caches: Vec::new(),
            kept: Vec::new(),
            keep_us: BTreeMap::new(),
            held: Vec::new(),
            rerun: None,
        })
    }

    /// Whether something may still happen to it: it has no result, or holds a machine.
    pub fn is_open(&self) -> bool {
        !self.state.is_final() || !self.held.is_empty()
    }

    /// Applies the next event of the build. Events that no page shows change nothing.
    pub fn apply(&mut self, at: Timestamp, event: &BuildEvent) {
        match event {
            BuildEvent::Planned { plan } => {
                self.steps = plan.steps.iter().map(|s| s.name.clone()).collect();
                self.reason.clone_from(&plan.reason);
                self.inputs.clone_from(&plan.inputs);
                let keep = plan.steps.iter().filter_map(|step| {
                    let micros = u64::try_from(step.artifacts_keep?.as_micros());
                    Some((step.name.clone(), micros.unwrap_or(u64::MAX)))
                });
                self.keep_us = keep.collect();
            }
            BuildEvent::Leased { lease, .. } => {
                self.started.get_or_insert(at);
                self.state = BuildStatus::Running;
                self.held.push(lease.clone());
            }
            BuildEvent::LeaseEnded { lease, .. } => self.held.retain(|held| held != lease),
            BuildEvent::Prepared {
                cache_hits,
                start,
                tool_caches,
                ..
            } => {
                add_new(&mut self.cache_hits, cache_hits);
                add_new(&mut self.tool_caches, tool_caches);
                // Of several machines what the first one warm says.
                if !matches!(self.start, Some(Start::Warm { .. })) && start.is_some() {
                    self.start.clone_from(start);
                }
            }
            BuildEvent::Started {
                unit,
                attempt,
                tests,
                exec,
                lease,
            } => self.runs.push(Run {
                unit: unit.clone(),
                attempt: *attempt,
                exec: exec.clone(),
                lease: lease.clone(),
                started: at,
                tests: tests.len() as u64,
                tested: TestCounts::default(),
                results: None,
                end: None,
                took: None,
                output_bytes: 0,
            }),
            BuildEvent::Ended {
                unit,
                attempt,
                end,
                output_bytes,
                took,
                ..
            } => {
                if let Some(run) = self.run_mut(unit, *attempt) {
                    run.end = Some(end.clone());
                    run.output_bytes = *output_bytes;
                    run.took = Some(*took);
                }
            }
            BuildEvent::Tested {
                unit,
                attempt,
                tests,
                results,
            } => {
                if let Some(run) = self.run_mut(unit, *attempt) {
                    run.results.clone_from(results);
                    run.tested.clone_from(tests);
                }
            }
            BuildEvent::Kept { .. } | BuildEvent::Salvaged { .. } => {
                self.kept.extend(KeptFiles::of(event, kept::ROW_FILES));
            }
            BuildEvent::Finished { outcome } => {
                self.state = outcome.into();
                self.outcome = Some(outcome.clone());
                self.finished = Some(at);
            }
            _ => {}
        }
    }

    /// The build whose tests it runs again, and what that one is to know of it.
    pub fn as_rerun(&self) -> Option<(&BuildId, Rerun)> {
        let rerun = Rerun {
            build: self.id.clone(),
            state: self.state,
        };
        Some((self.item.rerun_of.as_ref()?, rerun))
    }

    /// What `event` tells of tests. Uncommitted files are nobody's past.
    pub fn tested(&self, event: &BuildEvent) -> Option<Tested> {
        let BuildEvent::Tested {
            unit,
            tests,
            results,
            ..
        } = event
        else {
            return None;
        };
        (!self.item.worktree).then(|| Tested {
            build: self.id.clone(),
            number: self.number,
            origin: self.item.origin.clone(),
            commit: self.item.commit.clone(),
            rerun_of: self.item.rerun_of.clone(),
            step: unit.step.clone(),
            tests: tests.clone(),
            results: results.clone(),
        })
    }

    fn run_mut(&mut self, unit: &Unit, attempt: u32) -> Option<&mut Run> {
        let mut latest = self.runs.iter_mut().rev();
        latest.find(|run| run.unit == *unit && run.attempt == attempt)
    }

    /// How long the run that `event` ends took, when it passed: what estimates are made of.
    pub fn timing(&self, at: Timestamp, event: &BuildEvent) -> Option<Timing> {
        let BuildEvent::Ended {
            unit,
            end: UnitEnd::Exited(outcome),
            took,
            attempt,
            guessed: false,
            ..
        } = event
        else {
            return None;
        };
        let run = self
            .runs
            .iter()
            .find(|r| r.unit == *unit && r.attempt == *attempt);
        outcome.is_ok().then(|| Timing {
            build: self.id.clone(),
            at,
            step: unit.step.clone(),
            part: unit.part,
            tests: run.map_or(0, |run| run.tests),
            took: *took,
        })
    }
}

/// Adds what is not there yet.
fn add_new(all: &mut Vec<String>, more: &[String]) {
    for one in more {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
}

/// What a run printed of the tests of its step: the past of a test is made of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    /// In which build.
    pub build: BuildId,
    /// The position of that build.
    pub number: Seq,
    /// Where the repository is: two of one name do not share a past.
    #[serde(default)]
    pub origin: String,
    /// What was built.
    pub commit: CommitHash,
    /// The build that it runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<BuildId>,
    /// The step.
    pub step: StepName,
    /// The tests.
    pub tests: TestCounts,
    /// The result of each of them, where they were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<BlobRef>,
}

impl Tested {
    /// Whether it is of the same repository as `item`, whatever that is called.
    pub fn is_of(&self, item: &WorkItem) -> bool {
        self.origin == item.origin
    }
}

/// How long a unit took when it passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// In which build.
    pub build: BuildId,
    /// When it ended.
    pub at: Timestamp,
    /// The step.
    pub step: StepName,
    /// Which part of it.
    pub part: Part,
    /// How many tests it ran, for a shard.
    pub tests: u64,
    /// How long.
    #[serde(rename = "took_us", with = "micros")]
    pub took: Duration,
}
