//! Where mutations come from and where they go.
//!
//! Both traits deal in serialised mutations: bytes are handed on as they are,
//! so that fields this version does not know survive every relay.

mod live;

pub use live::LiveLog;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use prost::Message as _;

use crate::Result;
use crate::log::{
    LogFolder, LogPosition, LogWriter, Segment, SegmentData, SegmentName, Sha224Hex, encode_record,
};
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

    /// How often the log was rolled back so far, and what that left of the log as it was when
    /// that number was `since`. Logs that are only ever appended to keep the default: never.
    fn rewrites(&self, since: u64) -> Rewrites {
        let _ = since;
        Rewrites::default()
    }
}

/// How much of a log is as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewrites {
    /// How often the log was rolled back so far.
    pub epoch: u64,
    /// How much of it survived since the epoch asked about; nothing, when all did.
    pub survived: Option<LogPosition>,
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

impl<S: MutationSink + ?Sized> MutationSink for Box<S> {
    fn append(&mut self, payloads: &[&[u8]]) -> Result<LogPosition> {
        (**self).append(payloads)
    }
}

impl MutationSink for LogWriter {
    fn append(&mut self, payloads: &[&[u8]]) -> Result<LogPosition> {
        Self::append(self, payloads)
    }
}

/// A folder that was changed less than this ago may change again without a new time of change:
/// some file systems count in seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// A log folder on disk that somebody else may be writing. Clones share what they know of it.
#[derive(Debug, Clone)]
pub struct DiskSource {
    folder: PathBuf,
    listed: Arc<Mutex<Option<Listed>>>,
}

/// The segments, of which only the last may grow as long as the folder is not changed: looking
/// at a hundred complete ones takes longer than a small update.
#[derive(Debug)]
struct Listed {
    changed: SystemTime,
    segments: Vec<Segment>,
}

impl Listed {
    fn new(changed: SystemTime, segments: &[Segment]) -> Option<Self> {
        let (_, before) = segments.split_last()?;
        let complete = |segment: &Segment| segment.name().sha224().is_some();
        before.iter().all(complete).then(|| Self {
            changed,
            segments: segments.to_vec(),
        })
    }

    /// The segments as they are now; `None` when the folder is to be listed again.
    fn look(&self, folder: &Path) -> Option<Vec<Segment>> {
        if fs::metadata(folder).ok()?.modified().ok()? != self.changed {
            return None;
        }
        let mut segments = self.segments.clone();
        let last = segments.pop()?;
        let len = fs::metadata(last.path()).ok()?.len();
        let now = Segment::file(last.name().clone(), last.base(), len, last.path());
        segments.push(now);
        Some(segments)
    }
}

/// When the folder was changed, if that is long enough ago to show every later change.
fn settled(folder: &Path) -> Option<SystemTime> {
    let changed = fs::metadata(folder).ok()?.modified().ok()?;
    (changed.elapsed().ok()? > SETTLED).then_some(changed)
}

impl DiskSource {
    /// The log in `folder`.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self {
            folder: folder.as_ref().to_owned(),
            listed: Arc::default(),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl MutationSource for DiskSource {
    fn segments(&self) -> Result<Vec<Segment>> {
        // Replaced as a whole, so a panic elsewhere leaves a whole one.
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = listed.as_ref().and_then(|known| known.look(&self.folder));
        if let Some(segments) = known {
            return Ok(segments);
        }
        // Asked before listing: what changes meanwhile is seen the next time.
        let changed = settled(&self.folder);
        let segments = LogFolder::open(&self.folder)?.segments().to_vec();
        *listed = changed.and_then(|changed| Listed::new(changed, &segments));
        Ok(segments)
    }

    fn wait(&self, known: LogPosition, patience: Duration) -> Result<LogPosition> {
        let deadline = Instant::now() + patience;
        loop {
            let end = self
                .segments()?
                .last()
                .map_or(LogPosition::START, Segment::end);
            let left = deadline.saturating_duration_since(Instant::now());
            if end != known || left.is_zero() {
                return Ok(end);
            }
            std::thread::sleep(POLL.min(left));
        }
    }
}

/// A segment in memory is complete when it has this size.
const SEGMENT: usize = 1 << 20;

/// A log in memory, in segments of 1 MiB. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

/// The segments; readers share all of them but the new part of the last.
#[derive(Debug, Default)]
struct Grown {
    complete: Vec<Segment>,
    base: LogPosition,
    growing: Vec<u8>,
    /// `growing` as it was when it was last asked for.
    shown: Bytes,
}

impl Grown {
    fn end(&self) -> LogPosition {
        self.base.after(self.growing.len() as u64)
    }

    fn push(&mut self, payload: &[u8]) {
        let offset = self.growing.len() as u64;
        encode_record(&mut self.growing, offset, payload);
        if self.growing.len() >= SEGMENT {
            let bytes = Bytes::from(std::mem::take(&mut self.growing));
            let name = SegmentName::Frozen {
                number: self.number(),
                sha224: Sha224Hex::of(&bytes),
            };
            let segment = Segment::memory(name, self.base, bytes);
            self.base = segment.end();
            self.complete.push(segment);
            self.shown = Bytes::new();
        }
    }

    fn number(&self) -> u32 {
        u32::try_from(self.complete.len()).expect("4 G segments of 1 MiB are no memory")
    }

    fn growing(&mut self) -> Bytes {
        if self.shown.len() != self.growing.len() {
            self.shown = Bytes::copy_from_slice(&self.growing);
        }
        self.shown.clone()
    }
}

#[derive(Debug, Default)]
struct Shared {
    log: Mutex<Grown>,
    grown: Condvar,
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

    /// A copy of the content, segment after segment; the first has 1 MiB and more.
    pub fn bytes(&self) -> Bytes {
        let log = self.lock();
        let mut all = Vec::new();
        for segment in &log.complete {
            if let SegmentData::Memory(bytes) = segment.data() {
                all.extend_from_slice(bytes);
            }
        }
        all.extend_from_slice(&log.growing);
        all.into()
    }

    fn push<'a>(&self, payloads: impl IntoIterator<Item = &'a [u8]>) -> LogPosition {
        let mut log = self.lock();
        payloads.into_iter().for_each(|payload| log.push(payload));
        self.shared.grown.notify_all();
        log.end()
    }

    /// Records are appended whole, so a panic elsewhere leaves a whole log.
    fn lock(&self) -> MutexGuard<'_, Grown> {
        self.shared
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl MutationSource for MemoryLog {
    fn segments(&self) -> Result<Vec<Segment>> {
        let mut log = self.lock();
        let number = log.number();
        let growing = log.growing();
        let last = Segment::memory(SegmentName::Growing { number }, log.base, growing);
        Ok(log.complete.iter().cloned().chain([last]).collect())
    }

    fn wait(&self, known: LogPosition, patience: Duration) -> Result<LogPosition> {
        let unchanged = |log: &mut Grown| log.end() == known;
        let (log, _timeout) = self
            .shared
            .grown
            .wait_timeout_while(self.lock(), patience, unchanged)
            .unwrap_or_else(PoisonError::into_inner);
        Ok(log.end())
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
    fn a_long_log_in_memory_is_shared_and_read_like_any_other() {
        let mut log = MemoryLog::new();
        let title = |n: usize| Mutation {
            github_issue: Some(crate::pb::GithubIssueMutation {
                owner: "o".into(),
                repo: "r".into(),
                number: n as i32,
                created: Some(crate::pb::Timestamp {
                    seconds: 1,
                    nanos: 0,
                }),
                title: format!("{}{n}", " ".repeat(300_000)),
                ..Default::default()
            }),
            ..Default::default()
        };
        let corpus = crate::Corpus::load(log.clone(), crate::Options::default()).unwrap();
        for n in 1..=10 {
            log.append_mutations(&[title(n)]).unwrap();
            corpus.update().unwrap().unwrap();
            let view = corpus.view();
            let repo = view.github().repo("o/r").unwrap();
            assert!(
                repo.issue(n as i32)
                    .unwrap()
                    .title()
                    .ends_with(&n.to_string())
            );
        }
        let (one, other) = (log.segments().unwrap(), log.segments().unwrap());
        assert_eq!((one.len(), count(&log)), (3, 10));
        for (one, other) in one.iter().zip(&other) {
            one.verify().unwrap();
            let (one, other) = (one.load().unwrap(), other.load().unwrap());
            assert_eq!(one.as_ptr(), other.as_ptr(), "no copy");
        }
        let fresh = crate::Corpus::load(log, crate::Options::default()).unwrap();
        let dump = |corpus: &crate::Corpus| corpus.view().canonical_dump().fingerprint();
        assert_eq!(dump(&fresh), dump(&corpus));
    }

    #[test]
    fn a_settled_folder_is_listed_once_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::open(dir.path()).unwrap();
        writer.append(&[b"one"]).unwrap();
        let source = DiskSource::new(dir.path());
        let past = SystemTime::now() - Duration::from_secs(60);
        let age = |time| {
            fs::File::open(dir.path())
                .unwrap()
                .set_modified(time)
                .unwrap();
        };
        assert_eq!(count(&source), 1);
        assert!(source.listed.lock().unwrap().is_none(), "it was just made");
        age(past);
        assert_eq!(count(&source), 1);
        assert!(source.listed.lock().unwrap().is_some());
        writer.append(&[b"two"]).unwrap();
        assert_eq!(count(&source), 2, "the last one grows");
        let path = source.segments().unwrap()[0].path();
        let whole = fs::read(&path).unwrap();
        let name = SegmentName::Frozen {
            number: 0,
            sha224: Sha224Hex::of(&whole),
        };
        fs::rename(path, dir.path().join(name.to_string())).unwrap();
        assert_eq!(source.segments().unwrap()[0].name(), &name);
        age(past);
        fs::write(dir.path().join("0001.growing.mutlog"), b"REC@0+0=").unwrap();
        assert_eq!(count(&source), 3);
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
