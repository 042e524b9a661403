//! The log of a writer and its readers in one process.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{DiskSource, MutationSink, MutationSource};
use crate::Result;
use crate::log::{LogPosition, LogWriter, Recovery, Segment, WriterOptions};

/// A log folder that this process writes, and whose readers learn of an append at once rather
/// than by looking at the folder. Clones share it.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use maintner_core::log::{LogPosition, WriterOptions};
/// use maintner_core::source::{LiveLog, MutationSource as _};
///
/// let log = LiveLog::open(dir.path(), WriterOptions::default())?;
/// let reader = log.clone();
/// let waiting = std::thread::spawn(move || {
///     reader.wait(LogPosition::START, std::time::Duration::from_secs(10))
/// });
/// let end = log.push(&[b"payload"])?;
/// assert_eq!(waiting.join().expect("no panic")?, end);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LiveLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writer: Mutex<LogWriter>,
    /// The end of the log, for those who wait for it to move on.
    end: Mutex<LogPosition>,
    moved: Condvar,
    disk: DiskSource,
}

impl LiveLog {
    /// Opens the log in `folder` for writing, as [`LogWriter::open_with`] does.
    ///
    /// # Errors
    /// Those of the writer: another one has it, or its end is damaged.
    pub fn open(folder: impl AsRef<Path>, options: WriterOptions) -> Result<Self> {
        Ok(Self::of(LogWriter::open_with(folder, options)?))
    }

    /// The log of a writer that is open already.
    pub fn of(writer: LogWriter) -> Self {
        let disk = DiskSource::new(writer.folder());
        Self {
            shared: Arc::new(Shared {
                end: Mutex::new(writer.end()),
                writer: Mutex::new(writer),
                moved: Condvar::new(),
                disk,
            }),
        }
    }

    /// The log folder.
    pub fn folder(&self) -> &Path {
        self.shared.disk.folder()
    }

    /// The end of the log: everything before it is on disk.
    pub fn end(&self) -> LogPosition {
        *self
            .shared
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What opening had to cut off, if anything.
    pub fn recovered(&self) -> Option<Recovery> {
        self.writer().recovered().cloned()
    }

    /// Appends serialised mutations and returns the end of the log once they are on disk; then
    /// readers are told. Writers wait for each other.
    ///
    /// # Errors
    /// Those of [`LogWriter::append`]; what was written before the error is shown.
    pub fn push(&self, payloads: &[&[u8]]) -> Result<LogPosition> {
        let mut writer = self.writer();
        let done = writer.append(payloads);
        self.show(&writer);
        done
    }

    /// Completes the growing segment, as [`LogWriter::freeze`] does.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn freeze(&self) -> Result<()> {
        let mut writer = self.writer();
        let done = writer.freeze();
        self.show(&writer);
        done
    }

    fn show(&self, writer: &LogWriter) {
        let mut end = self
            .shared
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *end = writer.end();
        self.shared.moved.notify_all();
    }

    /// A writer that panicked has undone or poisoned what it was doing.
    fn writer(&self) -> MutexGuard<'_, LogWriter> {
        self.shared
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl MutationSink for LiveLog {
    fn append(&mut self, payloads: &[&[u8]]) -> Result<LogPosition> {
        self.push(payloads)
    }
}

impl MutationSource for LiveLog {
    fn segments(&self) -> Result<Vec<Segment>> {
        // Not while a segment is renamed.
        let _writer = self.writer();
        self.shared.disk.segments()
    }

    fn wait(&self, known: LogPosition, patience: Duration) -> Result<LogPosition> {
        let end = self
            .shared
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (end, _timeout) = self
            .shared
            .moved
            .wait_timeout_while(end, patience, |end| *end == known)
            .unwrap_or_else(PoisonError::into_inner);
        Ok(*end)
    }
}
