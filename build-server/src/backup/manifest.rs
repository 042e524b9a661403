//! What a backup says of itself: first that it is one, at its end what is in it.

use std::io::Write;

use build_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The first entry of the archive.
pub(super) const HEAD: &str = "backup-head.json";
/// The last one.
pub(super) const LIST: &str = "backup-files.json";
pub(super) const FORMAT: &str = "farmer-backup";
pub(super) const VERSION: u32 = 1;
/// Bytes of a head or a list.
pub(super) const MAX_BYTES: u64 = 1 << 30;

/// What it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    /// [`FORMAT`].
    pub(super) format: String,
    /// [`VERSION`].
    pub(super) v: u32,
    /// When it was made, by RFC 3339.
    pub(super) made: String,
    /// The last event in it.
    pub(super) head: u64,
}

/// What is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct List {
    pub(super) files: Vec<Listed>,
}

/// One file, in the order of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) sha256: String,
}

impl Head {
    /// Reads a head.
    pub(super) fn read(json: &[u8]) -> Result<Self> {
        let head: Self = serde_json::from_slice(json).map_err(|_| no_backup())?;
        if head.format != FORMAT {
            return Err(no_backup());
        }
        if head.v != VERSION {
            let text = "the backup was made by a newer version";
            return Err(Error::new(ErrorKind::Unsupported, text).with_hint("use that version"));
        }
        Ok(head)
    }
}

pub(super) fn no_backup() -> Error {
    let text = "the file is no backup of a farm";
    Error::new(ErrorKind::Corrupt, text).with_hint("name one that farmer backup has made")
}

pub(super) fn torn() -> Error {
    let text = "the backup is torn: its end is missing or damaged";
    Error::new(ErrorKind::Corrupt, text).with_hint("take another copy of it, or another backup")
}

/// Counts and hashes what passes.
pub(super) struct Tally<W> {
    to: W,
    size: u64,
    hash: Sha256,
}

impl<W: Write> Tally<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            to,
            size: 0,
            hash: Sha256::new(),
        }
    }

    /// What passed, as the file at `path`.
    pub(super) fn listed(self, path: String) -> (W, Listed) {
        let listed = Listed {
            path,
            size: self.size,
            sha256: hex::encode(self.hash.finalize()),
        };
        (self.to, listed)
    }
}

impl<W: Write> Write for Tally<W> {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(piece)?;
        self.hash.update(&piece[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}
