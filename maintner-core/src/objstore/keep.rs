//! The loop that keeps a store up to date with a log that grows.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ObjectError, ObjectLog, Objects};
use crate::log::{LogPosition, Segment};
use crate::source::MutationSource;

/// Pause after an upload that failed.
const AFTER_ERROR: Duration = Duration::from_secs(10);
/// How often the log is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How a store is kept up to date.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// The growing segment is uploaded at most so often; it is durable in its folder before
    /// that. A segment that is complete is uploaded at once.
    pub every: Duration,
}

impl Default for Keep {
    /// Every minute.
    fn default() -> Self {
        Self {
            every: Duration::from_secs(60),
        }
    }
}

/// Copies what is appended to `source` into the store until `stop`, then everything that is
/// left, and gives the log up. Failures of the store are tried again; `failed` is told of them.
/// Needs a runtime with time and blocking threads.
///
/// # Errors
/// [`ObjectError::Fenced`] when another writer took the log, and [`ObjectError::Diverged`] when
/// the log is no continuation of the store's: the writer must stop. After `stop`, what the last
/// upload failed with.
pub async fn keep<S: Objects>(
    log: &mut ObjectLog<S>,
    source: &(dyn MutationSource + '_),
    options: Keep,
    stop: CancellationToken,
    mut failed: impl FnMut(&ObjectError),
) -> Result<(), ObjectError> {
    let mut known = (0, LogPosition::START);
    let mut due = Instant::now();
    let mut renewal = Instant::now();
    loop {
        let last = stop.is_cancelled();
        let segments = source.segments()?;
        let end = segments.last().map_or(LogPosition::START, Segment::end);
        let now = (segments.len(), end);
        let rotated = now.0 != known.0;
        if last || rotated || now != known && Instant::now() >= due || Instant::now() >= renewal {
            let time = SystemTime::now();
            match log.push(&segments, time).await {
                Ok(_) if last => return log.release(time).await,
                Ok(_) => {
                    known = now;
                    due = Instant::now() + options.every;
                    renewal = Instant::now() + log.renewal();
                }
                Err(error) if last || is_final(&error) => return Err(error),
                Err(error) => {
                    failed(&error);
                    tokio::select! {
                        () = tokio::time::sleep(AFTER_ERROR.min(log.renewal())) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
        if !last {
            tokio::select! {
                () = tokio::time::sleep(LOOK.min(options.every)) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

pub(super) fn is_final(error: &ObjectError) -> bool {
    matches!(
        error,
        ObjectError::Fenced { .. } | ObjectError::Diverged { .. }
    )
}
