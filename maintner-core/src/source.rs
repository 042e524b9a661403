//! Where mutations come from and where they go.
//!
//! Both traits deal in serialised mutations: bytes are handed on as they are,
//! so that fields this version does not know survive every relay.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;

use crate::Result;
use crate::log::{LogFolder, LogPosition, LogWriter, Segment, SegmentName, encode_record};
use crate::pb::Mutation;

/// How often a folder is looked at while waiting for it to grow.
const POLL: Duration = Duration::from_millis(20);

/// A log that can be read, and read again when it has grown.
pub trait MutationSource: Send + Sync {
    /// The segments as they are now, in log order. Cheap: no content is read.
    ///
    /// # Errors
    /// When the log cannot be listed.
    fn segments(&self) -> Result<Vec<Segment>>;

    /// Blocks until the end of the log is not `known` any more, or until
    /// `patience` has passed, and returns the end of the log.
    ///
    /// # Errors
    /// When the log cannot be listed.
    fn wait(&self, known: LogPosition, patience: Duration) -> Result<LogPosition>;
}

/// A log that can be appended to.
pub trait MutationSink: Send {
    /// Appends serialised mutations and returns the end of the log once they
    /// are as durable as the sink promises.
    ///
    /// # Errors
    /// When the log cannot be written.
    fn append(&mut self, payloads: &[&[u8]]) -> Result<LogPosition>;

    /// Serialises and appends mutations.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    fn append_mutations(&mut self, mutations: &[Mutation]) -> Result<LogPosition> {
        let encoded: Vec<Vec<u8>> = mutations.iter().map(Mutation::encode_to_vec).collect();
        let payloads: Vec<&[u8]> = encoded.iter().map(Vec::as_slice).collect();
        self.append(&payloads)
    }
}

impl MutationSink for LogWriter {
    fn append(&mut self, payloads: &[&[u8]]) -> Result<LogPosition> {
        Self::append(self, payloads)
    }
}

/// A log folder on disk that somebody else may be writing.
#[derive(Debug, Clone)]
pub struct DiskSource {
    folder: PathBuf,
}

impl DiskSource {
    /// The log in `folder`.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self {
            folder: folder.as_ref().to_owned(),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl MutationSource for DiskSource {
    fn segments(&self) -> Result<Vec<Segment>> {
        LogFolder::open(&self.folder).map(|folder| folder.segments().to_vec())
    }

    fn wait(&self, known: LogPosition, patience: Duration) -> Result<LogPosition> {
        let deadline = Instant::now() + patience;
        loop {
            let end = LogFolder::open(&self.folder)?.end();
            let left = deadline.saturating_duration_since(Instant::now());
            if end != known || left.is_zero() {
                return Ok(end);
            }
            std::thread::sleep(POLL.min(left));
        }
    }
}

/// A log in memory, in one segment. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    bytes: std::sync::Mutex<Vec<u8>>,
    grown: std::sync::Condvar,
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// A log that holds `mutations`.
    pub fn of(mutations: &[Mutation]) -> Self {
        let log = Self::new();
        let encoded: Vec<Vec<u8>> = mutations.iter().map(Mutation::encode_to_vec).collect();
        log.push(encoded.iter().map(Vec::as_slice));
        log
    }

    /// The content: one segment file.
    pub fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.lock())
    }

    fn push<'a>(&self, payloads: impl IntoIterator<Item = &'a [u8]>) -> LogPosition {
        let mut bytes = self.lock();
        for payload in payloads {
            let offset = bytes.len() as u64;
            encode_record(&mut bytes, offset, payload);
        }
        self.shared.grown.notify_all();
        LogPosition::new(bytes.len() as u64)
    }

    /// Records are appended whole, so a panic elsewhere leaves a whole log.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.shared
            .bytes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl MutationSource for MemoryLog {
    fn segments(&self) -> Result<Vec<Segment>> {
        let name = SegmentName::Growing { number: 0 };
        Ok(vec![Segment::memory(
            name,
            LogPosition::START,
            self.bytes(),
        )])
    }

    fn wait(&self, known: LogPosition, patience: Duration) -> Result<LogPosition> {
        let unchanged = |bytes: &mut Vec<u8>| bytes.len() as u64 == known.bytes();
        let (bytes, _timeout) = self
            .shared
            .grown
            .wait_timeout_while(self.lock(), patience, unchanged)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(LogPosition::new(bytes.len() as u64))
    }
}

impl MutationSink for MemoryLog {
    fn append(&mut self, payloads: &[&[u8]]) -> Result<LogPosition> {
        Ok(self.push(payloads.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogReader;

    fn count(source: &dyn MutationSource) -> usize {
        let mut reader = LogReader::new(source.segments().unwrap(), LogPosition::START).unwrap();
        std::iter::from_fn(|| reader.next_record().unwrap().map(|_| ())).count()
    }

    #[test]
    fn memory_and_disk_hold_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(dir.path()).unwrap();
        let mut memory = MemoryLog::new();
        let sinks: [&mut dyn MutationSink; 2] = [&mut writer, &mut memory];
        for sink in sinks {
            let end = sink
                .append_mutations(&[Mutation::default(), Mutation::default()])
                .unwrap();
            assert_eq!(end.bytes(), 16);
        }
        let disk = DiskSource::new(dir.path());
        assert_eq!((count(&disk), count(&memory)), (2, 2));
        assert_eq!(disk.segments().unwrap()[0].load().unwrap(), memory.bytes());
    }

    #[test]
    fn waiting_ends_with_the_append() {
        let log = MemoryLog::new();
        let mut sink = log.clone();
        let waiter =
            std::thread::spawn(move || log.wait(LogPosition::START, Duration::from_secs(60)));
        sink.append(&[b""]).unwrap();
        assert_eq!(waiter.join().unwrap().unwrap().bytes(), 8);
    }

    #[test]
    fn waiting_for_nothing_gives_up() {
        let dir = tempfile::tempdir().unwrap();
        let disk = DiskSource::new(dir.path());
        assert_eq!(
            disk.wait(LogPosition::START, Duration::ZERO).unwrap(),
            LogPosition::START
        );
        let memory = MemoryLog::new();
        assert_eq!(
            memory.wait(LogPosition::START, Duration::ZERO).unwrap(),
            LogPosition::START
        );
    }
}
