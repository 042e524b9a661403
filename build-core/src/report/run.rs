//! One run of a part of a build.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{PartName, millis, rfc3339};
use crate::buildlet::ExecOutcome;
use crate::clock::Timestamp;
use crate::event::{BlobRef, UnitEnd};
use crate::ids::{ExecId, LeaseId, StepName};
use crate::name::Name;
use crate::test_lines::TestCounts;

/// One run of a step, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What ran, for people: `test (shard 3)`.
    pub unit: String,
    /// The step.
    pub step: StepName,
    /// Which part of it.
    pub part: PartName,
    /// Counted from 1.
    pub attempt: u32,
    /// Its command.
    pub exec: ExecId,
    /// The lease of its machine.
    pub lease: LeaseId,
    /// When it was started.
    #[serde(with = "rfc3339")]
    pub started: Timestamp,
    /// Where it stands, or how it ended.
    pub state: RunStatus,
    /// The exit status of a command that failed with one.
    pub exit_status: Option<i32>,
    /// The signal that ended the command.
    pub signal: Option<String>,
    /// How it ended, one clause; nothing while it runs.
    pub text: Option<String>,
    /// How long it ran.
    #[serde(rename = "took_ms", with = "millis::option")]
    pub took: Option<Duration>,
    /// Bytes of output, once it has ended.
    pub output_bytes: u64,
    /// How many tests it was given, for a shard.
    pub tests: u64,
    /// What it printed of tests; absent when that was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested: Option<Tests>,
    /// The result of each test, where they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<BlobRef>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It runs.
    Running,
    /// Its command ended well.
    Passed,
    /// Its command failed.
    Failed,
    /// It ran longer than allowed.
    TimedOut,
    /// It printed nothing for longer than allowed.
    Silent,
    /// The disk was nearly full.
    DiskQuota,
    /// There were no tests to run.
    NoTests,
    /// A program that it needs is missing.
    MissingTool,
    /// The machine or the way to it failed.
    Lost,
    /// The farm was stopped; it runs again.
    Interrupted,
    /// Somebody stopped it.
    Canceled,
}

impl From<&UnitEnd> for RunStatus {
    fn from(end: &UnitEnd) -> Self {
        match end {
            UnitEnd::Exited(outcome) => match outcome {
                ExecOutcome::Ok => Self::Passed,
                ExecOutcome::TimedOut => Self::TimedOut,
                ExecOutcome::Silent => Self::Silent,
                ExecOutcome::DiskQuota => Self::DiskQuota,
                ExecOutcome::Killed => Self::Canceled,
                ExecOutcome::Lost => Self::Lost,
                _ => Self::Failed,
            },
            UnitEnd::TimedOut(_) => Self::TimedOut,
            UnitEnd::Silent(_) => Self::Silent,
            UnitEnd::DiskQuota => Self::DiskQuota,
            UnitEnd::NoTests => Self::NoTests,
            UnitEnd::MissingTool(_) => Self::MissingTool,
            UnitEnd::Lost(_) => Self::Lost,
            UnitEnd::Interrupted => Self::Interrupted,
            UnitEnd::Canceled => Self::Canceled,
        }
    }
}

impl Run {
    /// Says how it ended.
    #[must_use]
    pub fn ended(mut self, end: &UnitEnd) -> Self {
        self.state = end.into();
        self.text = Some(crate::sentences::end(end));
        match end {
            UnitEnd::Exited(ExecOutcome::Exit(status)) => self.exit_status = Some(*status),
            UnitEnd::Exited(ExecOutcome::Signal(signal)) => self.signal = Some(signal.clone()),
            _ => {}
        }
        self
    }
}

/// What a run printed of tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tests {
    /// How many passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// How many were left out.
    pub skipped: u64,
    /// Names of those that failed, the first 1,000.
    pub failures: Vec<Name>,
    /// The slowest whose time was printed.
    pub slowest: Vec<SlowTest>,
    /// A runner said that there was nothing to run.
    pub none_ran: bool,
}

/// A test that took long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowTest {
    /// Its name.
    pub name: Name,
    /// How long.
    #[serde(rename = "took_ms", with = "millis")]
    pub took: Duration,
}

impl Tests {
    /// The report of what was counted; nothing when nothing was.
    pub fn of(counts: TestCounts) -> Option<Self> {
        let slow = |test: crate::test_lines::SlowTest| SlowTest {
            name: test.name,
            took: Duration::from_micros(test.took_us),
        };
        (!counts.is_empty()).then(|| Self {
            passed: counts.passed,
            failed: counts.failed,
            skipped: counts.skipped,
            failures: counts.failures,
            slowest: counts.slowest.into_iter().map(slow).collect(),
            none_ran: counts.none_ran,
        })
    }
}
