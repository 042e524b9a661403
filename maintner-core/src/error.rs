//! The one error type of the crate.

use std::io;
use std::path::{Path, PathBuf};

use crate::log::{LogPosition, RecordError};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between a log on disk and an answer.
///
/// Each message names the object; the cause, where there is one, is the
/// error's source and is not repeated in the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: a verb such as `read`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A log file holds something that is no record.
    #[error("error in {}", path.display())]
    Record {
        /// The file (or the name of the in-memory log).
        path: PathBuf,
        /// What is wrong and at which offset of that file.
        source: RecordError,
    },
    /// A record's payload is no mutation.
    #[error("record at {pos} is no valid mutation")]
    Mutation {
        /// Where the record starts.
        pos: LogPosition,
        /// What the decoder says.
        source: prost::DecodeError,
    },
    /// A numbered segment is absent below the highest one.
    #[error("saw max segment number {max} but missing segment {missing} in {}", path.display())]
    MissingSegment {
        /// The log folder.
        path: PathBuf,
        /// The first number that is absent.
        missing: u32,
        /// The highest number present.
        max: u32,
    },
    /// A folder holds day files and numbered segments at once.
    #[error("{} mixes day files ({day}) with numbered segments ({segment})", path.display())]
    MixedLog {
        /// The log folder.
        path: PathBuf,
        /// One of the day files.
        day: String,
        /// One of the segments.
        segment: String,
    },
    /// A frozen segment's content does not match the hash in its name.
    #[error("segment {} is corrupt: its content hashes to {actual}", path.display())]
    HashMismatch {
        /// The file.
        path: PathBuf,
        /// The lower-case hexadecimal SHA-224 of what it holds.
        actual: String,
    },
    /// Another process (or another writer of this one) writes this log.
    #[error("log {} is in use by another writer", path.display())]
    Locked {
        /// The log folder.
        path: PathBuf,
    },
    /// The end of the log is damaged in a way that a crash does not explain.
    #[error(
        "log file {} is damaged at offset {offset} and {bytes} bytes follow; repair it explicitly before appending",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Length of the valid prefix.
        offset: u64,
        /// Bytes after the valid prefix.
        bytes: u64,
        /// Why reading stopped there.
        source: RecordError,
    },
    /// A payload is larger than the log's limit.
    #[error("mutation of {len} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Length of the payload in bytes.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// An earlier write failed and could not be undone; the writer must be
    /// opened again.
    #[error("log {} can no longer be appended to: an earlier write failed", path.display())]
    Poisoned {
        /// The log folder.
        path: PathBuf,
    },
    /// A position that was asked for lies beyond the end of the log.
    #[error("position {pos} is beyond the end of the log at {end}")]
    BeyondEnd {
        /// The position asked for.
        pos: LogPosition,
        /// The end of the log.
        end: LogPosition,
    },
    /// A git repository cannot be read.
    #[error("cannot read the git repository {}", path.display())]
    Repository {
        /// Where it was looked for, or its folder.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A log server, or the store that a log is kept in, cannot be used.
    #[error("cannot follow {url}")]
    Server {
        /// Its address.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The log is no longer a continuation of what was read from it before.
    #[error("the log was rewritten: only its first {common} bytes are as they were")]
    Split {
        /// Length of the common prefix.
        common: LogPosition,
    },
}

impl Error {
    /// Adapter for `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
