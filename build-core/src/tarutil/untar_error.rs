//! Why an archive was not unpacked, with the text and the status that the buildlet answers.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::frame::FrameError;

/// Why an archive was not unpacked. The chain of messages, joined by `": "`, is the answer's body.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UntarError {
    /// The first bytes are not gzip.
    #[error("requires gzip-compressed body")]
    NotGzip(#[source] io::Error),
    /// The archive is damaged.
    #[error("tar error")]
    BadTar(#[source] FrameError),
    /// An entry's name is empty, absolute, leads up or is not allowed by the policy.
    #[error("tar file contained invalid name {name:?}")]
    Name {
        /// The name as it stands in the archive.
        name: String,
    },
    /// A device, a pipe, or what else the policy does not allow.
    #[error("tar file entry {name} contained unsupported file type {mode}")]
    Kind {
        /// The entry's name.
        name: String,
        /// Type and permissions as in `prw-r--r--`.
        mode: String,
    },
    /// A link's target is outside the directory.
    #[error("tar file entry {name:?} is a link that points outside: {target:?}")]
    Outside {
        /// The entry's name.
        name: String,
        /// Where it points.
        target: String,
    },
    /// A link that was there before the archive leads an entry out of the directory.
    #[error("tar file entry {name:?} leads outside through an existing link")]
    Through {
        /// The entry's name.
        name: String,
    },
    /// One of the policy's bounds.
    #[error("tar file exceeds the limit of {max} {bound}{}{name}", if name.is_empty() { "" } else { ": " })]
    Bound {
        /// The entry it happened on, or nothing when all entries together exceed it.
        name: String,
        /// Which bound.
        bound: Bound,
        /// Its value.
        max: u64,
    },
    /// The archive ends inside a file's content.
    #[error("error writing to {}: unexpected EOF", path.display())]
    Short {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("error writing to {}", path.display())]
    Write {
        /// The file, directory or link.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// Too little space is left on the disk.
    #[error("disk floor reached: {free} bytes free, {floor} required")]
    DiskFloor {
        /// Bytes free now.
        free: u64,
        /// Bytes that must stay free.
        floor: u64,
    },
    /// The deadline passed.
    #[error("unpacking took too long")]
    Deadline,
    /// The caller cancelled.
    #[error("unpacking was cancelled")]
    Cancelled,
    /// No thread could be started.
    #[error("starting the unpacking thread")]
    Thread(#[source] io::Error),
}

/// A bound of [`Limits`](super::Limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// Entries of any kind.
    Entries,
    /// Bytes of the uncompressed archive.
    TotalBytes,
    /// Bytes of one file.
    FileBytes,
    /// Uncompressed bytes per compressed byte.
    Ratio,
    /// Bytes of link names and targets.
    LinkBytes,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entries => "entries",
            Self::TotalBytes => "bytes in all",
            Self::FileBytes => "bytes in one file",
            Self::Ratio => "uncompressed bytes per compressed byte",
            Self::LinkBytes => "bytes of link names",
        })
    }
}

impl UntarError {
    /// The HTTP status of the buildlet's answer: 400 when the archive is to blame, else 500.
    /// (Short file data is 500, as in the protocol.)
    pub fn status(&self) -> u16 {
        match self {
            Self::NotGzip(_)
            | Self::BadTar(_)
            | Self::Name { .. }
            | Self::Kind { .. }
            | Self::Outside { .. }
            | Self::Through { .. }
            | Self::Bound { .. } => 400,
            Self::Short { .. }
            | Self::Write { .. }
            | Self::DiskFloor { .. }
            | Self::Deadline
            | Self::Cancelled
            | Self::Thread(_) => 500,
        }
    }

    /// The whole chain in one line: the body of the buildlet's answer, without a final newline.
    pub fn wire_text(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}
