//! What happened to builds, in order: the only truth, from which everything else is folded.
//!
//! An event is recorded before its effect. Kinds this version does not know are kept as
//! they are, so that an older program does not lose what a newer one wrote.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Seq;
use crate::buildlet::ExecOutcome;
use crate::clock::Timestamp;
use crate::ids::{BuildId, BuilderName, ExecId, LeaseId, MachineId, Nonce, StepName};
use crate::plan::{Plan, Unit};
use crate::test_lines::TestCounts;
use crate::work::WorkItem;

/// One event as it stands in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OldRecorded {
    /// Where it stands.
    pub seq: Seq,
    /// When it happened.
    pub at: Timestamp,
    /// The build it belongs to.
    pub build: BuildId,
    /// What happened.
    pub event: BuildEvent,
}

/// An event that is not in the log yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OldNewEvent {
    /// When it happened; recorded as it is, so that a fold of the log sees what its author saw.
    pub at: Timestamp,
    /// The build it belongs to.
    pub build: BuildId,
    /// What happened.
    pub event: BuildEvent,
}

/// What happened to a build. Format version 1: fields are only ever added, with defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
#[non_exhaustive]
pub enum BuildEvent {
    /// It was asked for.
    Queued {
        /// The commit.
        item: WorkItem,
        /// What it is built on.
        builder: BuilderName,
    },
    /// A machine was asked for, to be used by hand: a session begins.
    SessionOpened {
        /// The builder whose machine it is.
        builder: BuilderName,
        /// For whom, for people.
        by: String,
    },
    /// What to run is known.
    Planned {
        /// The steps.
        plan: Plan,
    },
    /// A machine was granted to the build and is about to be started.
    Leased {
        /// The right to it.
        lease: LeaseId,
        /// Proof of the right.
        nonce: Nonce,
        /// The machine.
        machine: MachineId,
        /// The unit it was granted for.
        unit: Unit,
    },
    /// The machine answers.
    Ready {
        /// The lease.
        lease: LeaseId,
        /// Where it answers, in the words of its pool; enough to find it again.
        place: String,
    },
    /// The work directory holds the sources.
    Prepared {
        /// The lease.
        lease: LeaseId,
        /// Where the contents came from.
        base: Base,
        /// Cached directories that were put back.
        cache_hits: Vec<String>,
    },
    /// A command is about to be started.
    Started {
        /// What of the build it runs.
        unit: Unit,
        /// Counted from 1.
        attempt: u32,
        /// On which machine.
        lease: LeaseId,
        /// The command's id on the buildlet; starting it twice is starting it once.
        exec: ExecId,
        /// The tests it was given, for a shard.
        tests: Vec<String>,
    },
    /// A command has ended, or is known to be lost.
    Ended {
        /// What of the build it ran.
        unit: Unit,
        /// Counted from 1.
        attempt: u32,
        /// How.
        end: UnitEnd,
        /// Bytes of output recorded.
        output_bytes: u64,
        /// How long it ran.
        took: Duration,
    },
    /// What a command printed of the tests it ran; recorded before its end.
    Tested {
        /// What of the build it ran.
        unit: Unit,
        /// Counted from 1.
        attempt: u32,
        /// The tests.
        tests: TestCounts,
    },
    /// The tests of a sharded step are known.
    Listed {
        /// The step.
        step: StepName,
        /// Their names, in the order printed.
        tests: Vec<String>,
        /// For each shard the positions of its tests in `tests`.
        shards: Vec<Vec<u32>>,
    },
    /// Files of a passed step were kept.
    Kept {
        /// The step.
        step: StepName,
        /// The files.
        artifacts: Vec<Artifact>,
    },
    /// The right to a machine has ended.
    LeaseEnded {
        /// The lease.
        lease: LeaseId,
        /// Why.
        reason: LeaseEnd,
    },
    /// Somebody asked for the end of the build.
    CancelRequested {
        /// Who, for people.
        by: String,
    },
    /// Its result is known; only ends of leases follow.
    Finished {
        /// How it ended.
        outcome: Outcome,
    },
    /// A kind this version does not know, kept as it was written.
    Unknown(serde_json::Value),
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

/// A file that a build has kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its path below the checkout.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its contents, lower-case hex.
    pub sha256: String,
}

/// How a unit ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnitEnd {
    /// The command ran to its end.
    Exited(ExecOutcome),
    /// It ran longer than allowed and was ended.
    TimedOut(Duration),
    /// It printed nothing for longer than allowed and was ended.
    Silent(Duration),
    /// The disk had less free space than the floor and it was ended.
    DiskQuota,
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
        /// Who, for people.
        by: String,
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
            Self::Canceled { by } => write!(f, "canceled by {by}"),
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

/// The form on disk: known kinds are tagged objects, everything else stays what it was.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Known(Known),
    Unknown(serde_json::Value),
}

macro_rules! stored_kinds {
    ($($kind:ident { $($field:ident: $type:ty),* $(,)? }),* $(,)?) => {
        #[derive(Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        enum Known {
            $($kind { $($field: $type),* },)*
        }

        impl From<Stored> for BuildEvent {
            fn from(stored: Stored) -> Self {
                match stored {
                    $(Stored::Known(Known::$kind { $($field),* }) => Self::$kind { $($field),* },)*
                    Stored::Unknown(value) => Self::Unknown(value),
                }
            }
        }

        impl From<BuildEvent> for Stored {
            fn from(event: BuildEvent) -> Self {
                match event {
                    $(BuildEvent::$kind { $($field),* } => Self::Known(Known::$kind { $($field),* }),)*
                    BuildEvent::Unknown(value) => Self::Unknown(value),
                }
            }
        }
    };
}

stored_kinds! {
    Queued { item: WorkItem, builder: BuilderName },
    SessionOpened { builder: BuilderName, by: String },
    Planned { plan: Plan },
    Leased { lease: LeaseId, nonce: Nonce, machine: MachineId, unit: Unit },
    Ready { lease: LeaseId, place: String },
    Prepared { lease: LeaseId, base: Base, cache_hits: Vec<String> },
    Started { unit: Unit, attempt: u32, lease: LeaseId, exec: ExecId, tests: Vec<String> },
    Ended { unit: Unit, attempt: u32, end: UnitEnd, output_bytes: u64, took: Duration },
    Tested { unit: Unit, attempt: u32, tests: TestCounts },
    Listed { step: StepName, tests: Vec<String>, shards: Vec<Vec<u32>> },
    Kept { step: StepName, artifacts: Vec<Artifact> },
    LeaseEnded { lease: LeaseId, reason: LeaseEnd },
    CancelRequested { by: String },
    Finished { outcome: Outcome },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_events_are_tagged_and_come_back() {
        let event = BuildEvent::LeaseEnded {
            lease: LeaseId::from_bits(7),
            reason: LeaseEnd::Lost("connection reset".into()),
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"lease_ended","lease":"L0000000000000007","reason":{"lost":"connection reset"}}"#
        );
        assert_eq!(serde_json::from_str::<BuildEvent>(&text).unwrap(), event);
    }

    #[test]
    fn unknown_kinds_and_unknown_shapes_are_kept() {
        for text in [
            r#"{"kind":"promoted","to":"gold"}"#,
            r#"{"kind":"finished","outcome":{"melted":1}}"#,
        ] {
            let event: BuildEvent = serde_json::from_str(text).unwrap();
            assert!(matches!(event, BuildEvent::Unknown(_)));
            assert_eq!(serde_json::to_string(&event).unwrap(), text);
        }
    }
}
