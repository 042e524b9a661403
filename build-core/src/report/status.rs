//! Where a build stands, as one word.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::Outcome;
use crate::ids::BuildId;

/// Where a build stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildStatus {
    /// It waits for its plan or its first machine.
    Queued,
    /// It holds a machine, or held one and waits for the next.
    Running,
    /// Every step passed.
    Passed,
    /// A step failed.
    Failed,
    /// It could not be run as configured.
    Misconfigured,
    /// The machines failed more often than allowed.
    Infrastructure,
    /// Somebody stopped it.
    Canceled,
}

impl BuildStatus {
    /// Whether nothing more happens.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The word for it in JSON, pages and the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Misconfigured => "misconfigured",
            Self::Infrastructure => "infrastructure",
            Self::Canceled => "canceled",
        }
    }
}

impl fmt::Display for BuildStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&Outcome> for BuildStatus {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self::Passed,
            Outcome::Failed { .. } => Self::Failed,
            Outcome::Misconfigured { .. } => Self::Misconfigured,
            Outcome::Canceled { .. } => Self::Canceled,
            // Builds do not end like sessions: that is nobody's success.
            Outcome::Infrastructure { .. } | Outcome::Closed(_) => Self::Infrastructure,
        }
    }
}

/// The build that runs the failed tests of another one again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rerun {
    /// Which build.
    pub build: BuildId,
    /// Where it stands.
    pub state: BuildStatus,
}

impl Rerun {
    /// What it says of the first build, in a few words.
    pub fn verdict(&self) -> &'static str {
        match self.state {
            BuildStatus::Passed => "passed on re-run: flaky",
            BuildStatus::Failed => "failed again",
            BuildStatus::Queued => "is run again when machines are idle",
            BuildStatus::Running => "is run again now",
            _ => "was to be run again, without a result",
        }
    }
}
