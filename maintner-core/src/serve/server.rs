//! The server as a value: what it serves, and the loop that keeps it up to date.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;

use super::{Options, index, segment, stream};
use crate::log::LogPosition;
use crate::netlog::{Ledger, Snapshot};
use crate::source::MutationSource;
use crate::{Error, Result};

/// How long the log is waited for before the loop looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(100);
/// Pause after a failure to read the log.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Serves a log over HTTP. Clones serve the same.
#[derive(Debug, Clone)]
pub struct LogServer {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    source: Box<dyn MutationSource>,
    ledger: Mutex<Ledger>,
    pub(super) shown: watch::Sender<Arc<Shown>>,
    waiting: Arc<Semaphore>,
    pub(super) options: Options,
    /// Why the log could not be read the last time.
    trouble: Mutex<Option<String>>,
    /// Cancelled when the loop ended: those who wait wait for nothing.
    pub(super) closed: CancellationToken,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What is served, with its index as soon as somebody asked for it.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) index: OnceLock<Bytes>,
}

impl LogServer {
    /// A server of what `source` has. Reads what is not complete of the log, which takes a
    /// moment for a log in large files.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn new(source: impl MutationSource + 'static, options: Options) -> Result<Self> {
        let inner = Inner {
            source: Box::new(source),
            ledger: Mutex::default(),
            shown: watch::Sender::new(Arc::default()),
            waiting: Arc::new(Semaphore::new(options.waiting)),
            options,
            trouble: Mutex::default(),
            closed: CancellationToken::new(),
        };
        inner.refresh()?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The routes `/logs`, `/logs/N` and `/logs/stream`.
    pub fn router(&self) -> Router {
        let listing = Router::new()
            .route("/logs", any(index::answer))
            // Segments are asked for by range, and a tail must not be held back.
            .layer(CompressionLayer::new().gzip(true));
        Router::new()
            .route("/logs/stream", any(stream::answer))
            .route("/logs/{number}", any(segment::answer))
            .merge(listing)
            .with_state(Arc::clone(&self.inner))
    }

    /// Shows what is appended, as soon as it is, until `stop`; then ends all long polls and
    /// tails. A log that cannot be read is tried again every second, and what was last read is
    /// served meanwhile. Needs a runtime with blocking threads.
    ///
    /// Cancel safe.
    pub async fn run(&self, stop: CancellationToken) {
        let _close = self.inner.closed.clone().drop_guard();
        let mut known = LogPosition::START;
        while !stop.is_cancelled() {
            let inner = Arc::clone(&self.inner);
            let look = tokio::task::spawn_blocking(move || {
                let end = inner.source.wait(known, PATIENCE)?;
                inner.refresh()?;
                Ok::<_, Error>(end)
            });
            // Waited for even when it is to end: the log is let go when this returns.
            match look.await.unwrap_or_else(|panic| Err(panicked(&panic))) {
                Ok(end) => {
                    known = end;
                    self.inner.trouble(None);
                }
                Err(error) => {
                    self.inner.trouble(Some(error.to_string()));
                    tokio::select! {
                        () = tokio::time::sleep(AFTER_ERROR) => {}
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }

    /// Where the log that is served ends.
    pub fn end(&self) -> LogPosition {
        LogPosition::new(self.inner.shown.borrow().snapshot.sum())
    }

    /// What is served now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.inner.shown.borrow().snapshot)
    }

    /// Clients that wait at the moment.
    pub fn waiting(&self) -> usize {
        let inner = &self.inner;
        inner.options.waiting - inner.waiting.available_permits()
    }

    /// Why the log cannot be read; nothing when it can.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.inner.trouble.lock();
        trouble.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn panicked(error: &tokio::task::JoinError) -> Error {
    Error::io("read", std::path::Path::new("the log"))(std::io::Error::other(error.to_string()))
}

impl Inner {
    /// Looks at the log, and shows what is new of it. Blocks on the disk.
    pub(super) fn refresh(&self) -> Result<()> {
        // A ledger is replaced as a whole, so a panic elsewhere leaves a whole one.
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let segments = self.source.segments()?;
        let before = Arc::clone(ledger.snapshot());
        let changed = ledger.refresh(&segments)?;
        let snapshot = Arc::clone(ledger.snapshot());
        let rewritten = snapshot.rewrites() != before.rewrites();
        let shown = Arc::new(Shown {
            snapshot,
            index: OnceLock::new(),
        });
        // Nobody is woken for files that were renamed.
        self.shown.send_if_modified(|now| {
            *now = shown;
            changed || rewritten
        });
        Ok(())
    }

    /// The right to wait, if not too many do.
    pub(super) fn wait_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.waiting).try_acquire_owned().ok()
    }

    fn trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
