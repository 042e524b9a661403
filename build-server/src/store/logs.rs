//! The output of commands: one log for each attempt of a unit, kept by whoever brings a [`Logs`].

use async_trait::async_trait;
use build_core::Result;
use build_core::ids::{BuildId, ExecId};
use build_core::livelog::{LiveLog, LogWriter};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a log was when its attempt ended: by it a damaged one is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSum {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of the text, lower-case hex.
    pub sha256: String,
}

/// Sums a log up while it passes by.
#[derive(Clone, Debug, Default)]
pub struct LogHash {
    hash: Sha256,
    bytes: u64,
}

impl LogHash {
    /// Goes on with the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// The sum of all bytes.
    pub fn finish(self) -> LogSum {
        LogSum {
            bytes: self.bytes,
            sha256: hex::encode(self.hash.finalize()),
        }
    }
}

/// Logs of builds.
///
/// A log is written by the coordinator's own process, and followed there by any number of readers
/// while it grows: that is what [`LogWriter`] and [`LiveLog`] are for. Where its text lies then, and
/// where it is found again, is this trait's business. A store on other machines gives a writer on
/// this one, and takes the text along in [`Logs::seal`].
#[async_trait]
pub trait Logs: Send + Sync {
    /// Opens the log of an attempt to go on where it ends, as after a restart; a new one when
    /// there is none. Only one writer of an attempt lives at a time.
    ///
    /// # Errors
    /// When the log cannot be made or read.
    async fn writer(&self, build: &BuildId, exec: &ExecId) -> Result<LogWriter>;

    /// Keeps a log whose attempt has ended: `written` is all of it and durable with `sum` on
    /// return. Called once more after a crash, perhaps with more text.
    ///
    /// # Errors
    /// When it cannot be kept; it will be tried again.
    async fn seal(
        &self,
        build: &BuildId,
        exec: &ExecId,
        written: &LiveLog,
        sum: &LogSum,
    ) -> Result<()>;

    /// The log of an attempt as far as it was written, sealed or not; `None` when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn open(&self, build: &BuildId, exec: &ExecId) -> Result<Option<LiveLog>>;

    /// What the log of an attempt was when it was sealed; `None` when it was not.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn sum(&self, build: &BuildId, exec: &ExecId) -> Result<Option<LogSum>>;

    /// The attempts of a build that have logs, in any order.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn attempts(&self, build: &BuildId) -> Result<Vec<ExecId>>;

    /// The builds that have logs, in any order.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn builds(&self) -> Result<Vec<BuildId>>;

    /// Removes all logs of a build; fine when there are none.
    ///
    /// # Errors
    /// When the store cannot be written; the next call goes on.
    async fn remove(&self, build: &BuildId) -> Result<()>;
}
