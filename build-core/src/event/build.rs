//! What happens to builds.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::principal::Principal;
use crate::buildlet::ExecOutcome;
use crate::clock::micros;
use crate::ids::{BuildId, BuilderName, ExecId, LeaseId, MachineId, StepName};
use crate::name::Name;
use crate::plan::{Plan, Unit};
use crate::test_lines::TestCounts;
use crate::work::{Class, WorkItem};

fn is_false(flag: &bool) -> bool {
    !flag
}

events! {
    /// What happened to a build. Fields are only ever added, with defaults; a changed meaning is
    /// a new version of the kind.
    pub enum BuildEvent of BUILD {
        /// It was asked for.
        Queued = "queued" must {
            /// The commit.
            item: WorkItem,
            /// What it is built on.
            builder: BuilderName,
        },
        /// It is wanted more, or less, than before.
        Reclassed = "reclassed" may {
            /// Why it is wanted now.
            class: Class,
        },
        /// What to run is known.
        Planned = "planned" must {
            /// The steps.
            plan: Plan,
        },
        /// A machine was granted to the build and is about to be started. The proof of the right
        /// to it is a memo, `lease/LEASE`, until the lease has ended.
        Leased = "leased" must {
            /// The right to it.
            lease: LeaseId,
            /// The machine.
            machine: MachineId,
            /// The unit it was granted for.
            unit: Unit,
        },
        /// The machine answers.
        Ready = "ready" must {
            /// The lease.
            lease: LeaseId,
            /// Where it answers, in the words of its pool; enough to find it again.
            place: String,
        },
        /// The work directory holds the sources.
        Prepared = "prepared" must {
            /// The lease.
            lease: LeaseId,
            /// Where the contents came from.
            base: Base,
            /// Cached directories that were put back.
            cache_hits: Vec<String>,
            /// Whether it began with directories of an earlier build, for plans that want that.
            @(default, skip_serializing_if = "Option::is_none")
            start: Option<Start>,
            /// Caches of tools that its commands name and that had something in them.
            @(default, skip_serializing_if = "Vec::is_empty")
            tool_caches: Vec<String>,
        },
        /// A command is about to be started.
        Started = "started" must {
            /// What of the build it runs.
            unit: Unit,
            /// Counted from 1.
            attempt: u32,
            /// On which machine.
            lease: LeaseId,
            /// The command's id on the buildlet; starting it twice is starting it once.
            exec: ExecId,
            /// The tests it was given, for a shard.
            @(default, skip_serializing_if = "Vec::is_empty")
            tests: Vec<Name>,
        },
        /// A command has ended, or is known to be lost.
        Ended = "ended" must {
            /// What of the build it ran.
            unit: Unit,
            /// Counted from 1.
            attempt: u32,
            /// How.
            end: UnitEnd,
            /// Bytes of output recorded.
            output_bytes: u64,
            /// How long it ran, by a clock that is never set where the machine's end was seen by
            /// the process that saw its beginning.
            @(rename = "took_us", with = "micros")
            took: Duration,
            /// Another process saw its beginning: the time between, by clocks that may have been set
            /// meanwhile, and no more than it may take. Nothing is estimated from it.
            @(default, skip_serializing_if = "is_false")
            guessed: bool,
        },
        /// What a command printed of the tests it ran; recorded before its end.
        Tested = "tested" may {
            /// What of the build it ran.
            unit: Unit,
            /// Counted from 1.
            attempt: u32,
            /// The tests, counted; the first failed ones by name.
            tests: TestCounts,
            /// The result of each test, where they were kept.
            @(default, skip_serializing_if = "Option::is_none")
            results: Option<BlobRef>,
        },
        /// The tests of a sharded step are known.
        Listed = "listed" must {
            /// The step.
            step: StepName,
            /// Their names, in the order printed.
            tests: Vec<Name>,
            /// For each shard the positions of its tests in `tests`.
            shards: Vec<Vec<u32>>,
            /// What the listing printed, where it was kept.
            @(default, skip_serializing_if = "Option::is_none")
            listing: Option<BlobRef>,
        },
        /// Tests of a shard that have not begun were taken by an idle machine of the build: they
        /// are a shard of their own from then on, the next one by number.
        Taken = "taken" must {
            /// The step.
            step: StepName,
            /// The shard they were taken from.
            shard: u32,
            /// The tests.
            tests: Vec<Name>,
            /// The machine that takes them.
            lease: LeaseId,
        },
        /// Files of a passed step were kept.
        Kept = "kept" must {
            /// The step.
            step: StepName,
            /// The files.
            artifacts: Vec<Artifact>,
            /// The directory that was kept as a whole.
            @(default, skip_serializing_if = "Option::is_none")
            snapshot: Option<Snapshot>,
        },
        /// Files were kept of a step, or of a part of it, that failed; recorded before its end.
        Salvaged = "salvaged" may {
            /// What failed.
            unit: Unit,
            /// Counted from 1.
            attempt: u32,
            /// The files.
            artifacts: Vec<Artifact>,
        },
        /// The right to a machine has ended.
        LeaseEnded = "lease_ended" must {
            /// The lease.
            lease: LeaseId,
            /// Why.
            reason: LeaseEnd,
        },
        /// Somebody asked for the end of the build.
        CancelRequested = "cancel_requested" must {
            /// Who.
            by: Principal,
        },
        /// Its result is known; only ends of leases follow.
        Finished = "finished" must {
            /// How it ended.
            outcome: Outcome,
        },
    }
}

/// Contents that are kept beside the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// SHA-256 of the contents, lower-case hex.
    pub sha256: String,
    /// Their size in bytes.
    pub size: u64,
}

/// Where the contents of a work directory came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Base {
    /// A checkout of the commit.
    Source,
    /// A copy of the work directory of another lease.
    CopyOf(LeaseId),
}

/// How a build began whose plan has warm directories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Start {
    /// With directories of an earlier build.
    Warm {
        /// Which one.
        build: BuildId,
        /// The directories, below the checkout.
        dirs: Vec<String>,
        /// How they were copied, at worst.
        by: CopiedBy,
    },
    /// With nothing.
    Cold {
        /// Why, in a few words.
        why: String,
    },
}

impl fmt::Display for Start {
    /// One sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Warm { build, dirs, by } => {
                let by = match by {
                    CopiedBy::Reflink => "sharing its blocks",
                    CopiedBy::Copy => "copied",
                };
                write!(
                    f,
                    "began warm, with {} of build {build}, {by}",
                    dirs.join(", ")
                )
            }
            Self::Cold { why } => write!(f, "began cold: {why}"),
        }
    }
}

/// How files were copied; the later ones cost more.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CopiedBy {
    /// They share blocks until one of them is written to.
    #[default]
    Reflink,
    /// Byte by byte.
    Copy,
}

/// A file that a build has kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its path below the checkout.
    pub path: Name,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its contents, lower-case hex.
    pub sha256: String,
}

/// A directory that a build has kept as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its path below the checkout; empty for all of it.
    pub dir: String,
    /// The packed directory.
    pub contents: BlobRef,
}

/// How a unit ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnitEnd {
    /// The command ran to its end.
    Exited(ExecOutcome),
    /// It ran longer than allowed and was ended.
    TimedOut(#[serde(with = "micros")] Duration),
    /// It printed nothing for longer than allowed and was ended.
    Silent(#[serde(with = "micros")] Duration),
    /// The disk had less free space than the floor and it was ended.
    DiskQuota,
    /// It passed, but its test runner said that there was no test to run.
    NoTests,
    /// A program it needs is not on the machine: a fault of the configuration.
    MissingTool(String),
    /// The machine or the way to it failed; the command may be run again.
    Lost(String),
    /// The coordinator was stopped; the command will be run again.
    Interrupted,
    /// The build was canceled.
    Canceled,
}

/// Why a lease ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeaseEnd {
    /// It was given back.
    Released,
    /// The machine could not be started, or is gone.
    Lost(String),
    /// Nothing can be run on it, and no other machine would do: a fault of the configuration.
    Unusable {
        /// One sentence with its causes.
        text: String,
        /// What to do about it.
        hint: String,
    },
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Every step passed.
    Passed,
    /// A step failed: the code's fault.
    Failed {
        /// The first step that failed.
        step: StepName,
        /// One sentence, such as `exit status 1` or `disk quota`.
        text: String,
    },
    /// It could not be run as configured: nothing to run, a missing tool.
    Misconfigured {
        /// One sentence.
        text: String,
        /// What to do about it.
        hint: String,
    },
    /// The machines failed more often than allowed.
    Infrastructure {
        /// One sentence.
        text: String,
    },
    /// Somebody stopped it.
    Canceled {
        /// Who.
        by: Principal,
    },
    /// A session ended without anything having failed.
    Closed(SessionEnd),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionEnd {
    /// Whoever held it gave it back.
    Returned,
    /// Nobody renewed it in time.
    Abandoned,
    /// The coordinator was stopped.
    Stopped,
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Returned => "it was given back",
            Self::Abandoned => "nobody used it any more",
            Self::Stopped => "the coordinator was stopped",
        })
    }
}

impl fmt::Display for Outcome {
    /// One sentence without its subject.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed { step, text } => write!(f, "failed: step {step}: {text}"),
            Self::Misconfigured { text, .. } => {
                write!(f, "could not be run as configured: {text}")
            }
            Self::Infrastructure { text } => write!(f, "stopped: the machines failed: {text}"),
            Self::Canceled { by } => write!(f, "canceled by {}", by.text()),
            Self::Closed(end) => end.fmt(f),
        }
    }
}

impl Outcome {
    /// Whether every step passed.
    pub fn is_passed(&self) -> bool {
        *self == Self::Passed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::event::{Event, EventKind};

    #[test]
    fn an_event_comes_back_from_its_body() {
        let event = BuildEvent::LeaseEnded {
            lease: LeaseId::from_bits(7),
            reason: LeaseEnd::Lost("connection reset".into()),
        };
        let written = event.encode().unwrap();
        assert_eq!(written.kind.as_str(), "lease_ended");
        assert_eq!(
            written.body.get(),
            r#"{"lease":"L0000000000000007","reason":{"lost":"connection reset"}}"#
        );
        let read = BuildEvent::decode(&written.kind, written.v, &written.body);
        assert_eq!(read, Some(event));
    }

    #[test]
    fn kinds_shapes_and_versions_that_are_not_known_are_not_guessed() {
        let read = |kind: &'static str, v, body: &str| {
            let body = RawValue::from_string(body.to_owned()).unwrap();
            BuildEvent::decode(&EventKind::known(kind), v, &body)
        };
        assert!(read("finished", 1, r#"{"outcome":"passed","more":1}"#).is_some());
        assert!(read("finished", 1, r#"{"outcome":{"melted":1}}"#).is_none());
        assert!(read("finished", 2, r#"{"outcome":"passed"}"#).is_none());
        assert!(read("promoted", 1, r#"{"to":"gold"}"#).is_none());
    }
}
