//! How something ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::{self, Principal, SessionEnd};
use crate::ids::StepName;

/// How a build or a session ended: `{"result": "failed", "step": "test", "text": "exit status 1"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// Every step passed.
    Passed,
    /// A step failed: the code's fault.
    Failed {
        /// The first step that failed.
        step: StepName,
        /// One sentence, such as `exit status 1`.
        text: String,
    },
    /// It could not be run as configured.
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
    Closed {
        /// Why.
        reason: SessionEnd,
    },
}

impl From<event::Outcome> for Outcome {
    fn from(outcome: event::Outcome) -> Self {
        match outcome {
            event::Outcome::Passed => Self::Passed,
            event::Outcome::Failed { step, text } => Self::Failed { step, text },
            event::Outcome::Misconfigured { text, hint } => Self::Misconfigured { text, hint },
            event::Outcome::Infrastructure { text } => Self::Infrastructure { text },
            event::Outcome::Canceled { by } => Self::Canceled { by },
            event::Outcome::Closed(reason) => Self::Closed { reason },
        }
    }
}

impl From<Outcome> for event::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self::Passed,
            Outcome::Failed { step, text } => Self::Failed { step, text },
            Outcome::Misconfigured { text, hint } => Self::Misconfigured { text, hint },
            Outcome::Infrastructure { text } => Self::Infrastructure { text },
            Outcome::Canceled { by } => Self::Canceled { by },
            Outcome::Closed { reason } => Self::Closed(reason),
        }
    }
}

impl fmt::Display for Outcome {
    /// One sentence without its subject.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        event::Outcome::from(self.clone()).fmt(f)
    }
}
