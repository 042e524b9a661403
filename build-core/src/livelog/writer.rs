//! The one writer of a log.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::cap::Cap;
use super::index::{Slots, Tally};
use super::log::{LiveLog, Shared, index_path};
use super::text::Text;

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    cap: Option<u64>,
    memory: usize,
    spill: Option<PathBuf>,
}

impl Default for Options {
    /// No cap; a log without a path stays in memory up to 256 KiB.
    fn default() -> Self {
        Self {
            cap: None,
            memory: 256 << 10,
            spill: None,
        }
    }
}

impl Options {
    /// With at most `bytes` of text, 128 KiB at least: the head and the last 64 KiB stay, with a mark
    /// between them. The last part appears when the log is finished.
    #[must_use]
    pub fn cap(self, bytes: u64) -> Self {
        Self {
            cap: Some(bytes),
            ..self
        }
    }

    /// How many bytes a log without a path holds in memory before it moves to a nameless file.
    #[must_use]
    pub fn memory(self, bytes: usize) -> Self {
        Self {
            memory: bytes,
            ..self
        }
    }

    /// The directory of that file; default: the system's for temporary files.
    #[must_use]
    pub fn spill_to(self, dir: impl Into<PathBuf>) -> Self {
        Self {
            spill: Some(dir.into()),
            ..self
        }
    }
}

/// Appends to a log. Each append is in the file, and seen by readers, when it returns; appends of
/// some KiB are cheaper than single lines.
#[derive(Debug)]
pub struct LogWriter {
    log: LiveLog,
    tally: Tally,
    cap: Option<Cap>,
}

impl LogWriter {
    /// A new log in memory, and in a nameless file once it is larger than [`Options::memory`].
    pub fn in_memory(options: Options) -> Self {
        let text = Text::memory(options.memory, options.spill);
        Self::new(
            Shared::new(text, Slots::Memory(Vec::new())),
            Tally::default(),
            options.cap,
        )
    }

    /// A new log at `path`, its line index beside it (`.idx`). What was there is overwritten.
    ///
    /// # Errors
    /// When the files cannot be made.
    pub fn create(path: impl AsRef<Path>, options: &Options) -> io::Result<Self> {
        let path = path.as_ref();
        let text = open(path)?;
        text.set_len(0)?;
        let index = Slots::create(open(&index_path(path))?)?;
        Ok(Self::new(
            Shared::new(Text::file(text), index),
            Tally::default(),
            options.cap,
        ))
    }

    /// Goes on with the log at `path` after a crash: all text in the file counts, the index is checked
    /// and repaired. (The part that a cap held back is lost.)
    ///
    /// # Errors
    /// When there is no such file or it cannot be written.
    pub fn reopen(path: impl AsRef<Path>, options: &Options) -> io::Result<Self> {
        let path = path.as_ref();
        let file = File::options().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        let text = Text::file(file);
        let (index, newlines) = Slots::repaired(open(&index_path(path))?, &text, length)?;
        let shared = Shared::new(text, index);
        shared.publish(length, newlines);
        Ok(Self::new(shared, Tally { newlines, length }, options.cap))
    }

    fn new(shared: Shared, tally: Tally, cap: Option<u64>) -> Self {
        Self {
            log: LiveLog {
                shared: Arc::new(shared),
            },
            tally,
            cap: cap.map(Cap::new),
        }
    }

    /// The log, for readers.
    pub fn log(&self) -> LiveLog {
        self.log.clone()
    }

    /// Adds `bytes`, which need not end in a newline. Never waits for a reader.
    ///
    /// # Errors
    /// Those of the storage; then nothing of `bytes` is in the log and the append may be tried again.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let head = self
            .cap
            .as_ref()
            .map_or(bytes, |cap| cap.head(self.tally.length, bytes));
        self.store(head)?;
        if let Some(cap) = &mut self.cap {
            cap.hold(&bytes[head.len()..]);
        }
        Ok(())
    }

    /// Forces what was added to the disk.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn sync(&self) -> io::Result<()> {
        self.log.shared.text.sync()
    }

    /// Ends the log: readers get what is left and then the end.
    ///
    /// # Errors
    /// Those of the storage, when a capped log's last part cannot be written; the log is finished all
    /// the same.
    pub fn finish(mut self) -> io::Result<LiveLog> {
        let stored = self.end();
        stored.map(|()| self.log.clone())
    }

    fn end(&mut self) -> io::Result<()> {
        let rest = self.cap.take().map(Cap::rest).unwrap_or_default();
        let stored = self.store(&rest);
        self.log.shared.finish();
        stored
    }

    /// Text first, then index, then the length that readers go by.
    fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let shared = &self.log.shared;
        let mut tally = self.tally;
        let first = tally.length / super::index::BLOCK + 1;
        let counts = tally.add(bytes);
        shared.text.write(self.tally.length, bytes)?;
        shared.share(self.tally.length, bytes);
        if !counts.is_empty() {
            shared
                .index
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .store(first, &counts)?;
        }
        self.tally = tally;
        shared.publish(tally.length, tally.newlines);
        Ok(())
    }
}

impl Drop for LogWriter {
    /// A writer that goes away without [`LogWriter::finish`] still ends the log.
    fn drop(&mut self) {
        // Nobody is left to hear of an error here; `finish` is the way to learn of it.
        let _ = self.end();
    }
}

/// A log is its owner's alone: it may print what others should not see.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
