//! Appending only while nobody else may be the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::log::LogPosition;
use crate::source::{LiveLog, MutationSink};
use crate::{Error, Result};

/// Until when the writer of a log in a store is the only one, kept up to date by the
/// [`ObjectLog`](super::ObjectLog) it is of. Clones are the same lease.
#[derive(Debug, Clone, Default)]
pub struct Lease {
    /// Milliseconds since 1970; 0 is no lease.
    until: Arc<AtomicU64>,
}

impl Lease {
    /// Whether it holds at this time.
    pub fn holds(&self, now: SystemTime) -> bool {
        millis(now) < self.until.load(Ordering::Acquire)
    }

    pub(super) fn set(&self, until: Option<SystemTime>) {
        self.until.store(until.map_or(0, millis), Ordering::Release);
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A log in a folder that is appended to only while its lease in the store holds. Whoever reads
/// the folder's log never sees what another writer would not continue.
#[derive(Debug, Clone)]
pub struct LeasedLog {
    log: LiveLog,
    lease: Lease,
}

impl LeasedLog {
    /// Appends to `log` while `lease` holds.
    pub fn new(log: LiveLog, lease: Lease) -> Self {
        Self { log, lease }
    }
}

impl MutationSink for LeasedLog {
    fn append(&mut self, payloads: &[&[u8]]) -> Result<LogPosition> {
        if self.lease.holds(SystemTime::now()) {
            return self.log.push(payloads);
        }
        let lost = std::io::Error::other(
            "the lease in the object store ran out: the store was not reached in time, or another writer has the log",
        );
        Err(Error::io("append to the log in", self.log.folder())(lost))
    }
}
