//! A log server as a source of mutations.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::{FollowError, FollowTask, Options};
use crate::log::{LogPosition, Segment};
use crate::netlog::LocalLog;
use crate::source::{MutationSource, Rewrites};
use crate::{Error, Result};

/// How a follower is doing.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Status {
    /// Whether the local log was at least once all that the server had.
    pub caught_up: bool,
    /// Whether the last attempt to reach the server succeeded.
    pub connected: bool,
    /// Whether the server's tail is read, which is the fastest way to learn of news.
    pub tailing: bool,
    /// Attempts that failed since the last one that succeeded.
    pub failures: u32,
    /// What was wrong with the last attempt that failed; stays after a success.
    pub last_error: Option<String>,
    /// Whether that error may go away by itself.
    pub is_temporary: bool,
    /// How often the server's history was found to be another one, and the log rolled back.
    pub splits: u64,
    /// Requests sent so far.
    pub requests: u64,
    /// Bytes of segments received so far.
    pub received: u64,
    /// The end of the local log.
    pub end: LogPosition,
}

/// What [`NetworkSource::ready`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// The local log is what the server has.
    CaughtUp,
    /// The server cannot be reached; the log is as it was when it last could.
    Offline {
        /// Why, for people.
        warning: String,
    },
}

/// A log that is followed over the network. Clones share it; the last one ends the following.
#[derive(Debug, Clone)]
pub struct NetworkSource {
    shared: Arc<Shared>,
    _thread: Option<Arc<Thread>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) server: String,
    attempts: u32,
    log: Mutex<LocalLog>,
    grown: Condvar,
    pub(super) status: watch::Sender<Status>,
}

impl Shared {
    /// Nothing that panics runs under the lock.
    pub(super) fn log(&self) -> MutexGuard<'_, LocalLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait that the log changed.
    pub(super) fn changed(&self, end: LogPosition) {
        self.grown.notify_all();
        self.status.send_modify(|status| status.end = end);
    }
}

/// The thread that follows, ended when nobody needs it.
#[derive(Debug)]
struct Thread {
    stop: CancellationToken,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop.cancel();
        let handle = self
            .handle
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handle.take() {
            // A panic there was printed already, and nobody is left to be told.
            let _ = handle.join();
        }
    }
}

impl NetworkSource {
    /// A source, and the task that keeps it up to date, which the caller runs.
    ///
    /// # Errors
    /// When the address is none, or the cache cannot be opened.
    pub fn new(options: Options) -> Result<(Self, FollowTask)> {
        let server = options.server.clone();
        let client = Client::new(&options).map_err(|error| cannot_follow(&server, error))?;
        let log = match &options.cache {
            Some(folder) => LocalLog::open(folder)?,
            None => LocalLog::memory(),
        };
        let status = Status {
            end: log.end(),
            ..Status::default()
        };
        let shared = Arc::new(Shared {
            server,
            attempts: options.attempts,
            log: Mutex::new(log),
            grown: Condvar::new(),
            status: watch::Sender::new(status),
        });
        let task = FollowTask::new(Arc::clone(&shared), client, options.tail);
        let source = Self {
            shared,
            _thread: None,
        };
        Ok((source, task))
    }

    /// A source that keeps itself up to date on a thread of its own, for programs without a
    /// runtime and for those that want three lines.
    ///
    /// # Errors
    /// As [`new`](Self::new), or when no thread can be started.
    pub fn spawn(options: Options) -> Result<Self> {
        let (mut source, task) = Self::new(options)?;
        let server = source.shared.server.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| cannot_follow(&server, error))?;
        let stop = CancellationToken::new();
        let token = stop.clone();
        let handle = std::thread::Builder::new()
            .name("follow-log".to_owned())
            .spawn(move || runtime.block_on(task.run(token)))
            .map_err(|error| cannot_follow(&server, error))?;
        source._thread = Some(Arc::new(Thread {
            stop,
            handle: Mutex::new(Some(handle)),
        }));
        Ok(source)
    }

    /// The address of the server's index.
    pub fn server(&self) -> &str {
        &self.shared.server
    }

    /// The folder in which the log is kept, if it is.
    pub fn folder(&self) -> Option<std::path::PathBuf> {
        self.shared.log().folder().map(ToOwned::to_owned)
    }

    /// How the following goes.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    pub(super) fn log(&self) -> MutexGuard<'_, LocalLog> {
        self.shared.log()
    }

    /// Waits until the local log is all that the server has. When the server cannot be reached,
    /// a log from earlier will do.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When there is no log from earlier and the server says that it has none, or did not
    /// answer in [`Options::attempts`] attempts.
    pub async fn ready(&self) -> Result<Ready> {
        let mut status = self.shared.status.subscribe();
        let decided = |status: &Status| self.decide(status).is_some();
        let status = status.wait_for(decided).await.map(|status| status.clone());
        // The sender lives as long as this source does.
        let status = status.unwrap_or_else(|_| self.status());
        match self.decide(&status) {
            Some(ready) => ready,
            None => Ok(Ready::CaughtUp),
        }
    }

    /// [`ready`](Self::ready) for programs without a runtime. Must not be called from one.
    ///
    /// # Errors
    /// As [`ready`](Self::ready).
    pub fn wait_ready(&self) -> Result<Ready> {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| cannot_follow(&self.shared.server, error))?
            .block_on(self.ready())
    }

    fn decide(&self, status: &Status) -> Option<Result<Ready>> {
        if status.caught_up {
            return Some(Ok(Ready::CaughtUp));
        }
        let warning = status.last_error.clone().filter(|_| status.failures > 0)?;
        if status.end > LogPosition::START {
            return Some(Ok(Ready::Offline { warning }));
        }
        let given_up = !status.is_temporary || status.failures >= self.shared.attempts;
        given_up.then(|| Err(cannot_follow(&self.shared.server, warning)))
    }
}

fn cannot_follow(
    server: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Server {
        url: server.to_owned(),
        source: source.into(),
    }
}

impl From<(&str, FollowError)> for Error {
    fn from((server, error): (&str, FollowError)) -> Self {
        cannot_follow(server, error)
    }
}

impl MutationSource for NetworkSource {
    fn segments(&self) -> Result<Vec<Segment>> {
        Ok(self.shared.log().segments())
    }

    fn wait(&self, known: LogPosition, patience: Duration) -> Result<LogPosition> {
        let log = self.shared.log();
        let epoch = log.history().epoch();
        let unchanged = |log: &mut LocalLog| log.end() == known && log.history().epoch() == epoch;
        let (log, _timeout) = self
            .shared
            .grown
            .wait_timeout_while(log, patience, unchanged)
            .unwrap_or_else(PoisonError::into_inner);
        Ok(log.end())
    }

    fn rewrites(&self, since: u64) -> Rewrites {
        let log = self.shared.log();
        Rewrites {
            epoch: log.history().epoch(),
            survived: log.history().survived(since),
        }
    }
}
