//! What is appended to a log from now on, without the log before it.

use bytes::Bytes;

use super::{FollowTask, NetworkSource, Options, Status};
use crate::Result;
use crate::log::LogPosition;

/// Something that a watcher sees.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Seen {
    /// A record was appended.
    Record {
        /// Where it begins.
        position: LogPosition,
        /// The serialised mutation.
        payload: Bytes,
    },
    /// An attempt to reach the server failed; it is tried again.
    Trouble(String),
    /// The server's history is another one: what was seen after this is not in it.
    Split {
        /// How much is as before.
        common: LogPosition,
    },
}

/// Sees what is appended to a server's log. Of the log before that only the segment that still
/// grows is fetched, and held in memory.
#[derive(Debug)]
pub struct Watch {
    source: NetworkSource,
    seen: Option<LogPosition>,
    epoch: u64,
    failures: u32,
    queue: std::collections::VecDeque<Seen>,
}

impl Watch {
    /// A watcher, and the task that it needs, which the caller runs. A cache is not used.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(mut options: Options) -> Result<(Self, FollowTask)> {
        options.cache = None;
        let (source, task) = NetworkSource::new(options)?;
        let watch = Self {
            source,
            seen: None,
            epoch: 0,
            failures: 0,
            queue: std::collections::VecDeque::new(),
        };
        Ok((watch, task.only_news()))
    }

    /// How the following goes.
    pub fn status(&self) -> Status {
        self.source.status()
    }

    /// Waits for the next thing to see.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the local copy cannot be read.
    pub async fn next(&mut self) -> Result<Seen> {
        let mut changes = self.source.subscribe();
        loop {
            if let Some(seen) = self.queue.pop_front() {
                return Ok(seen);
            }
            let status = changes.borrow_and_update().clone();
            self.look(&status)?;
            // The sender lives as long as this source does.
            if self.queue.is_empty() && changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn look(&mut self, status: &Status) -> Result<()> {
        if status.failures > self.failures
            && let Some(error) = &status.last_error
        {
            self.queue.push_back(Seen::Trouble(error.clone()));
        }
        self.failures = status.failures;
        if !status.caught_up {
            return Ok(());
        }
        let log = self.source.log();
        let end = log.end();
        let history = log.history();
        if let (Some(seen), Some(common)) = (self.seen, history.survived(self.epoch))
            && common < seen
        {
            self.seen = Some(common);
            self.queue.push_back(Seen::Split { common });
        }
        self.epoch = history.epoch();
        let from = *self.seen.get_or_insert(end);
        for (position, payload) in log.records(from)? {
            self.queue.push_back(Seen::Record { position, payload });
        }
        self.seen = Some(end);
        Ok(())
    }
}
