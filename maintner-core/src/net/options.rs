//! How a server is followed.

use std::path::PathBuf;
use std::time::Duration;

use super::FollowError;

/// How a log server is followed.
///
/// ```
/// use maintner_core::net::Options;
/// let options = Options::new("http://localhost:6343/logs").cache("/tmp/corpus");
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) server: String,
    pub(super) cache: Option<PathBuf>,
    pub(super) tail: bool,
    pub(super) attempts: u32,
    pub(super) poll: Duration,
    pub(super) silence: Duration,
    pub(super) agent: String,
}

/// A server holds a long poll for 55 s.
const POLL: Duration = Duration::from_secs(75);
/// Between two pieces of an answer; a tail says something every 15 s.
const SILENCE: Duration = Duration::from_secs(40);
/// First attempts before a follower without anything gives up.
const ATTEMPTS: u32 = 5;

impl Options {
    /// Follows the log server whose index is at `server`, for example
    /// `https://maintner.golang.org/logs`. The log is held in memory.
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            cache: None,
            tail: true,
            attempts: ATTEMPTS,
            poll: POLL,
            silence: SILENCE,
            agent: concat!("maintner-core/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Keeps the log in this folder and resumes from there. Go programs may share it.
    #[must_use]
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Whether the server's tail is read where it has one (the default) rather than its index
    /// polled.
    #[must_use]
    pub fn tail(mut self, tail: bool) -> Self {
        self.tail = tail;
        self
    }

    /// Failed attempts after which [`ready`](super::NetworkSource::ready) gives up when there
    /// is no log from earlier. Default: 5. Afterwards a follower goes on trying for ever.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// How long a long poll may stay unanswered; servers and what stands before them should
    /// answer within 60 s. Default: 75 s.
    #[must_use]
    pub fn poll_patience(mut self, patience: Duration) -> Self {
        self.poll = patience;
        self
    }

    /// How long an answer may pause before it counts as broken. Default: 40 s.
    #[must_use]
    pub fn silence(mut self, patience: Duration) -> Self {
        self.silence = patience;
        self
    }

    /// What the follower calls itself.
    #[must_use]
    pub fn user_agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = agent.into();
        self
    }

    pub(super) fn address(&self) -> Result<reqwest::Url, FollowError> {
        let bad = || FollowError::Address {
            url: self.server.clone(),
        };
        let url = reqwest::Url::parse(&self.server).map_err(|_| bad())?;
        let usable = matches!(url.scheme(), "http" | "https") && url.query().is_none();
        if usable && url.has_host() {
            Ok(url)
        } else {
            Err(bad())
        }
    }
}
