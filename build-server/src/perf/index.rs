//! Summaries of all uploads in one file, so that a start reads one file and not all.
//!
//! ```text
//! perfdata index 1
//! 1f2e3d4c {"id":"20201223.1",…}      the first bytes of the line's SHA-256, the summary
//! ```
//!
//! A line is added after its upload is there. Lines that are torn or damaged are passed over: the
//! uploads' files are the originals, and what the index lacks is read from them. Of an upload with
//! several lines the last counts.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind as IoKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use build_core::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};

use super::summary::Summary;
use crate::file_lock::FileLock;

/// The first line; another one is of another program.
const HEAD: &str = "perfdata index 1";

/// The file, open for more; nobody else writes to the folder while it lives.
#[derive(Debug)]
pub(super) struct Index {
    path: PathBuf,
    file: File,
    /// Whether the last line may have no end.
    is_torn: bool,
    _lock: FileLock,
}

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Summaries by id.
    pub(super) summaries: HashMap<String, Summary>,
    /// Whether the file holds lines that nobody needs.
    pub(super) is_untidy: bool,
}

impl Index {
    /// The index of a folder, and what it says.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when another process has the folder; when it cannot be read.
    pub(super) fn open(dir: &Path) -> Result<(Self, Known)> {
        let path = dir.join("index");
        let named = |e: std::io::Error| Error::from(e).while_doing(path.display().to_string());
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("lock"))
            .map_err(named)?;
        let lock = FileLock::take(lock, Duration::ZERO).map_err(named)?;
        let lock = lock.ok_or_else(|| {
            let text = format!("another program serves {}", dir.display());
            Error::new(ErrorKind::Conflict, text).with_hint("end it, or give another folder")
        })?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == IoKind::NotFound => Vec::new(),
            Err(e) => return Err(named(e)),
        };
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(named)?;
        let known = read(&bytes);
        let index = Self {
            is_torn: bytes.last().is_some_and(|b| *b != b'\n'),
            path,
            file,
            _lock: lock,
        };
        Ok((index, known))
    }

    /// Adds a summary.
    ///
    /// # Errors
    /// When it cannot be written; the next start reads the upload again.
    pub(super) fn add(&mut self, summary: &Summary) -> std::io::Result<()> {
        let mut text = String::new();
        if self.is_torn {
            text.push('\n');
        }
        text.push_str(&line(summary));
        self.is_torn = true;
        self.file.write_all(text.as_bytes())?;
        self.is_torn = false;
        Ok(())
    }

    /// Writes the whole index anew.
    ///
    /// # Errors
    /// When it cannot be written; the old one is there then.
    pub(super) fn rewrite<'s>(
        &mut self,
        summaries: impl Iterator<Item = &'s Summary>,
    ) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        let mut text = format!("{HEAD}\n");
        summaries.for_each(|summary| text.push_str(&line(summary)));
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        self.is_torn = false;
        Ok(())
    }
}

fn line(summary: &Summary) -> String {
    let json = serde_json::to_string(summary).unwrap_or_default();
    format!("{} {json}\n", sum(json.as_bytes()))
}

fn sum(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..4])
}

fn read(bytes: &[u8]) -> Known {
    let mut known = Known::default();
    let mut lines = bytes.split(|b| *b == b'\n');
    if lines.next() != Some(HEAD.as_bytes()) {
        known.is_untidy = true;
        return known;
    }
    for line in lines.filter(|line| !line.is_empty()) {
        let summary = line.split_at_checked(9).and_then(|(head, json)| {
            (head == format!("{} ", sum(json)).as_bytes()).then_some(())?;
            serde_json::from_slice::<Summary>(json).ok()
        });
        let replaced = match summary {
            Some(summary) => known
                .summaries
                .insert(summary.id.clone(), summary)
                .is_some(),
            None => true,
        };
        known.is_untidy |= replaced;
    }
    known
}
