//! Why a server could not be asked.

use crate::netlog::{AppendError, BadIndex, Refusal};

/// One attempt to follow a log server that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The address is none.
    #[error("{url:?} is no address of a log server: use http://HOST/logs or https://HOST/logs")]
    Address {
        /// What was given.
        url: String,
    },
    /// No connection, or it broke.
    #[error("no answer from {url}")]
    Transport {
        /// What was asked for.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The server said something else than the bytes asked for.
    #[error("{url} answered {status}{}", quoted(text))]
    Status {
        /// What was asked for.
        url: String,
        /// The status code of HTTP.
        status: u16,
        /// The beginning of the answer.
        text: String,
    },
    /// The server stopped in the middle.
    #[error("{url} sent nothing for {seconds} s")]
    Silent {
        /// What was asked for.
        url: String,
        /// How long it was waited.
        seconds: u64,
    },
    /// An answer longer than anything the server has reason to send.
    #[error("{url} sent more than {limit} bytes")]
    Overlong {
        /// What was asked for.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The index is no index.
    #[error(transparent)]
    Index(#[from] BadIndex),
    /// The tail is no tail.
    #[error(transparent)]
    Tail(#[from] AppendError),
    /// What was sent cannot be used.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl FollowError {
    /// Whether trying again soon may help: everything but an answer that says "this is no log".
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                *status >= 500 || matches!(status, 408 | 416 | 425 | 429)
            }
            Self::Address { .. } | Self::Index(_) => false,
            _ => true,
        }
    }
}

fn quoted(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        String::new()
    } else {
        format!(": {line}")
    }
}
