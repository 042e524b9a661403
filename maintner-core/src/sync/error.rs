//! What can go wrong between a host and the log.

use std::time::Duration;

/// Why a host could not be brought in step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The log could not be written, or the corpus not read.
    #[error(transparent)]
    Corpus(#[from] crate::Error),
    /// The git program failed.
    #[error("git {action} of {remote} failed: {reason}")]
    Git {
        /// What was asked of it: `fetch`.
        action: &'static str,
        /// The remote.
        remote: String,
        /// What it said.
        reason: String,
    },
    /// The git program could not be run.
    #[error("cannot run git for {remote}")]
    NoGit {
        /// The remote.
        remote: String,
        /// Why.
        source: std::io::Error,
    },
    /// A host could not be reached, or its answer was cut short.
    #[error("{request}: {reason}")]
    Unreachable {
        /// Method and path.
        request: String,
        /// Why.
        reason: String,
    },
    /// A host refused.
    #[error("{request} was refused with status {status}: {reason}")]
    Refused {
        /// Method and path.
        request: String,
        /// Of the answer.
        status: u16,
        /// What the host said, and what can be done.
        reason: String,
    },
    /// A host answered with something that makes no sense.
    #[error("{request} was answered with something else than expected: {reason}")]
    Nonsense {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Credentials cannot be used.
    #[error("cannot use the credentials for {host}: {reason}")]
    Credentials {
        /// For which host.
        host: String,
        /// Why.
        reason: String,
    },
    /// The notes of a reader could not be kept.
    #[error("cannot {action} the notes of {name}")]
    Notes {
        /// `read` or `write`.
        action: &'static str,
        /// The reader.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// The text names no host.
    #[error("{0}")]
    BadTarget(String),
    /// The synchronisation was told to stop.
    #[error("stopped")]
    Stopped,
}

impl SyncError {
    /// Whether another try needs a person's help first: wrong credentials, a wrong name.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 401 | 403 | 404 | 451),
            Self::Credentials { .. } | Self::NoGit { .. } | Self::BadTarget(_) => true,
            _ => false,
        }
    }

    /// How long to wait before another try.
    pub(crate) fn pause(&self) -> Duration {
        match self {
            _ if self.is_lasting() => Duration::from_secs(15 * 60),
            _ => Duration::from_secs(30),
        }
    }
}
