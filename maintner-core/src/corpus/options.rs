//! How a corpus is loaded.

use std::path::PathBuf;

use crate::log::DEFAULT_MAX_PAYLOAD;

/// How a corpus is loaded. The defaults suit a log folder on a local disk.
///
/// ```
/// use maintner_core::Options;
/// let options = Options::default().workers(4).verify(false);
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) workers: usize,
    pub(crate) verify: bool,
    pub(crate) max_payload: u64,
    pub(crate) snapshot: Snapshots,
    /// What was said, if anything was.
    remember: Option<bool>,
}

const MAX_PAYLOAD: u64 = 1 << 31;

/// Where snapshots are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Snapshots {
    Off,
    /// In the log's own folder, if it has one.
    Beside,
    At(PathBuf),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 0,
            verify: true,
            max_payload: DEFAULT_MAX_PAYLOAD,
            snapshot: Snapshots::Beside,
            remember: None,
        }
    }
}

impl Options {
    /// Threads for loading; 0 (the default) means one a core.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Whether frozen segments are checked against the hash in their name when they are read
    /// (not when a snapshot made it unnecessary to read them, nor while
    /// [they are remembered](Self::remember_checks)). On by default.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Whether segments that were checked are remembered in the log's folder, and not checked
    /// again until the file system says that they were changed. On by default where a snapshot is
    /// kept in that folder, too. What a disk spoils is not seen by this:
    /// [`Segment::verify`](crate::log::Segment::verify) always reads.
    #[must_use]
    pub fn remember_checks(mut self, remember: bool) -> Self {
        self.remember = Some(remember);
        self
    }

    pub(crate) fn remembers_checks(&self) -> bool {
        let beside = self.snapshot == Snapshots::Beside;
        self.remember.unwrap_or(beside)
    }

    /// The longest record accepted, in bytes; 256 MiB by default and 2 GiB at most.
    #[must_use]
    pub fn max_payload(mut self, bytes: u64) -> Self {
        self.max_payload = bytes.min(MAX_PAYLOAD);
        self
    }

    /// Whether a snapshot is kept in the log's folder, so that the next start is instant. On by
    /// default; a folder that cannot be written to is no error.
    #[must_use]
    pub fn snapshot(mut self, keep: bool) -> Self {
        self.snapshot = if keep {
            Snapshots::Beside
        } else {
            Snapshots::Off
        };
        self
    }

    /// Keeps the snapshot in this file instead.
    #[must_use]
    pub fn snapshot_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.snapshot = Snapshots::At(path.into());
        self
    }
}
