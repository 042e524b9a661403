//! What goes wrong with a Gerrit server.

use crate::ErrorKind;

/// Why a call to Gerrit failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered with another status than the call's. The text is
    /// `HTTP status 404 Not Found; BEGIN OF THE BODY`.
    #[error("HTTP status {status} {reason}; {body}")]
    Status {
        /// The status.
        status: u16,
        /// Its standard words.
        reason: &'static str,
        /// The first 4096 bytes of the body.
        body: String,
    },
    /// There is no such change.
    #[error("change does not exist: {0}")]
    ChangeNotExist(String),
    /// There is no such project.
    #[error("project does not exist: {0}")]
    ProjectNotExist(String),
    /// A change holds no more updates (Gerrit allows 5000): it must not be written to again.
    #[error("the change takes no more updates: {0}")]
    TooManyUpdates(String),
    /// The answer does not begin with the guard line of Gerrit: a log-in page, a proxy.
    #[error("not a Gerrit reply from {url}: {start:?}")]
    NotGerrit {
        /// What was asked.
        url: String,
        /// The first 200 bytes of the answer.
        start: String,
    },
    /// The answer does not hold what was asked for.
    #[error("decoding the answer of {url}")]
    Decode {
        /// What was asked.
        url: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// There are no credentials, or they cannot be used.
    #[error("credentials for {server}: {why}")]
    Auth {
        /// The server.
        server: String,
        /// What is wrong with them; without a secret.
        why: String,
    },
    /// The call cannot be made like that.
    #[error("{0}")]
    Invalid(String),
    /// The connection failed, at the last try too.
    #[error("asking {url}")]
    Transport {
        /// What was asked.
        url: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
}

impl Error {
    /// Whether the thing asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::ChangeNotExist(_) | Self::ProjectNotExist(_) | Self::Status { status: 404, .. }
        )
    }

    /// Whether a write changed nothing because everything was so already.
    #[must_use]
    pub fn is_not_modified(&self) -> bool {
        matches!(self, Self::Status { status: 409, body, .. } if body.contains("no changes were made"))
    }

    /// What went wrong, in the words of this project.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ChangeNotExist(_) | Self::ProjectNotExist(_) => ErrorKind::NotFound,
            Self::TooManyUpdates(_) => ErrorKind::Limit,
            Self::NotGerrit { .. } | Self::Decode { .. } => ErrorKind::Corrupt,
            Self::Auth { .. } => ErrorKind::Denied,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Transport { source, .. } if source.is_timeout() => ErrorKind::TimedOut,
            Self::Transport { .. } => ErrorKind::Unavailable,
            Self::Status { status, .. } => match status {
                400 | 422 => ErrorKind::Invalid,
                401 | 403 => ErrorKind::Denied,
                404 => ErrorKind::NotFound,
                409 | 412 => ErrorKind::Conflict,
                429 | 500..=599 => ErrorKind::Unavailable,
                _ => ErrorKind::Unsupported,
            },
        }
    }
}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        Self::caused_by(error.kind(), "Gerrit", error)
    }
}
