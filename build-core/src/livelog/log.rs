//! The log as its readers know it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::index::{BLOCK, Slots};
use super::last_piece::LastPiece;
use super::reader::LogReader;
use super::text::Text;
use super::waiters::Waiters;

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Position {
    /// At the first byte.
    Start,
    /// At this byte; beyond the end means at the end.
    Offset(u64),
    /// At the first byte of this line, counted from 0; beyond the last line means at the end.
    Line(u64),
    /// This many lines before the end; more than there are means at the start.
    Last(u64),
    /// At the end: only what comes from now on.
    End,
}

/// So many readers share a copy of what they wait for; for fewer, the copy would cost more than it
/// saves.
const CROWD: usize = 8;

/// A log: its length, its lines, its readers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LiveLog {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) text: Text,
    pub(super) index: RwLock<Slots>,
    /// Published after text and index are written: readers go by it.
    pub(super) length: AtomicU64,
    pub(super) newlines: AtomicU64,
    pub(super) finished: AtomicBool,
    pub(super) waiters: Waiters,
    /// What a crowd of readers waits for, while there is one.
    pub(super) last_piece: LastPiece,
    pub(super) next_reader: AtomicU64,
}

impl Shared {
    pub(super) fn new(text: Text, index: Slots) -> Self {
        Self {
            text,
            index: RwLock::new(index),
            length: AtomicU64::new(0),
            newlines: AtomicU64::new(0),
            finished: AtomicBool::new(false),
            waiters: Waiters::default(),
            last_piece: LastPiece::default(),
            next_reader: AtomicU64::new(0),
        }
    }

    /// Has what was just written in memory for those who wait for it, if they are many: they are
    /// woken together, and each would ask the system for the same bytes.
    pub(super) fn share(&self, offset: u64, bytes: &[u8]) {
        let crowd = self.waiters.count() >= CROWD;
        self.last_piece.set(crowd.then_some((offset, bytes)));
    }

    pub(super) fn publish(&self, length: u64, newlines: u64) {
        self.newlines.store(newlines, Ordering::Release);
        self.length.store(length, Ordering::Release);
        self.waiters.wake_all();
    }

    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
        self.last_piece.set(None);
        self.waiters.wake_all();
    }
}

impl LiveLog {
    /// Opens the log at `path` for reading, as long as it is now: what a writer adds later is not seen
    /// through this handle. Nothing is written; an index that a crash damaged is counted again in
    /// memory.
    ///
    /// # Errors
    /// When the text cannot be read.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let text = Text::file(file);
        let index = File::open(index_path(path)).ok();
        let (index, newlines) = Slots::for_reading(index, &text, length)?;
        let shared = Shared::new(text, index);
        shared.publish(length, newlines);
        shared.finish();
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Bytes written so far.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a log is asked how long it is, not whether it is a container"
    )]
    pub fn len(&self) -> u64 {
        self.shared.length.load(Ordering::Acquire)
    }

    /// Newlines written so far: the number of complete lines.
    pub fn lines(&self) -> u64 {
        self.shared.newlines.load(Ordering::Acquire)
    }

    /// Whether nothing will be added any more.
    pub fn is_finished(&self) -> bool {
        self.shared.finished.load(Ordering::Acquire)
    }

    /// Forces what was written so far to the disk; nothing to do while it is in memory.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn sync(&self) -> io::Result<()> {
        self.shared.text.sync()
    }

    /// A new reader that begins at `position` and follows the log until it is finished.
    ///
    /// # Errors
    /// Those of the storage, when a line must be found.
    pub fn reader(&self, position: Position) -> io::Result<LogReader> {
        let length = self.len();
        let offset = match position {
            Position::Start => 0,
            Position::End => length,
            Position::Offset(offset) => offset.min(length),
            Position::Line(line) => self.offset_of_line(line)?.unwrap_or(length),
            Position::Last(lines) => self.offset_of_last(lines)?,
        };
        Ok(LogReader::new(self.clone(), offset))
    }

    /// The first byte of line `line`, counted from 0, or `None` when the text has no such line yet.
    /// The place after a final newline is a line, still empty.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn offset_of_line(&self, line: u64) -> io::Result<Option<u64>> {
        if line == 0 {
            return Ok(Some(0));
        }
        let length = self.len();
        if line > self.lines() {
            return Ok(None);
        }
        let block = self.last_block_before(line, length / BLOCK)?;
        let missing = line - self.newlines_before(block)?;
        let Some(at) = self.nth_newline(block, missing)? else {
            return Ok(None);
        };
        Ok(Some(at + 1).filter(|&start| start <= length))
    }

    /// The line that holds the byte at `offset`, counted from 0.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn line_of_offset(&self, offset: u64) -> io::Result<u64> {
        let offset = offset.min(self.len());
        let block = offset / BLOCK;
        let mut buffer = vec![0; (offset % BLOCK) as usize];
        self.shared.text.read_full_at(&mut buffer, block * BLOCK)?;
        Ok(self.newlines_before(block)? + super::index::newlines(&buffer))
    }

    fn offset_of_last(&self, lines: u64) -> io::Result<u64> {
        let length = self.len();
        let mut last = [0];
        let complete = length == 0
            || self.shared.text.read_full_at(&mut last, length - 1)? == 1 && last[0] == b'\n';
        let all = self.line_of_offset(length)? + u64::from(!complete);
        Ok(self
            .offset_of_line(all.saturating_sub(lines))?
            .unwrap_or(length))
    }

    /// The last of the blocks `0..=last` that has fewer than `line` newlines before it.
    fn last_block_before(&self, line: u64, last: u64) -> io::Result<u64> {
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.newlines_before(middle)? < line {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }

    fn nth_newline(&self, block: u64, n: u64) -> io::Result<Option<u64>> {
        let mut buffer = vec![0; BLOCK as usize];
        let filled = self.shared.text.read_full_at(&mut buffer, block * BLOCK)?;
        let mut newlines = memchr::memchr_iter(b'\n', &buffer[..filled]);
        let nth = usize::try_from(n - 1).ok().and_then(|n| newlines.nth(n));
        Ok(nth.map(|at| block * BLOCK + at as u64))
    }

    fn newlines_before(&self, block: u64) -> io::Result<u64> {
        self.shared
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .before(block)
    }
}

/// The index lies beside the text.
pub(super) fn index_path(text: &Path) -> PathBuf {
    let mut name = text.as_os_str().to_owned();
    name.push(".idx");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::super::{LogWriter, Options};
    use super::*;

    /// A text of lines from empty to several blocks long.
    fn uneven_text() -> Vec<u8> {
        let mut text = Vec::new();
        for i in 0..3000_usize {
            let length = if i % 500 == 0 {
                3 * BLOCK as usize
            } else {
                i * 7 % 90
            };
            text.resize(text.len() + length, b'x');
            text.push(b'\n');
        }
        text.extend_from_slice(b"no newline at the end");
        text
    }

    fn starts(text: &[u8]) -> Vec<u64> {
        let newlines = text.iter().enumerate().filter(|(_, b)| **b == b'\n');
        std::iter::once(0)
            .chain(newlines.map(|(at, _)| at as u64 + 1))
            .collect()
    }

    fn check_lines(log: &LiveLog, text: &[u8]) {
        let starts = starts(text);
        assert_eq!(log.lines(), starts.len() as u64 - 1);
        assert_eq!(
            log.offset_of_line(log.lines()).unwrap(),
            starts.last().copied()
        );
        for (line, start) in starts.iter().enumerate().step_by(41) {
            assert_eq!(
                log.offset_of_line(line as u64).unwrap(),
                Some(*start),
                "line {line}"
            );
            assert_eq!(log.line_of_offset(*start).unwrap(), line as u64);
        }
        assert_eq!(log.offset_of_line(starts.len() as u64).unwrap(), None);
        assert_eq!(log.offset_of_last(2).unwrap(), starts[starts.len() - 2]);
        assert_eq!(log.offset_of_last(u64::MAX).unwrap(), 0);
    }

    #[test]
    fn every_line_is_found_in_memory_and_in_files() {
        let text = uneven_text();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let memory = LogWriter::in_memory(Options::default().spill_to(dir.path()));
        let file = LogWriter::create(&path, &Options::default()).unwrap();
        for mut writer in [memory, file] {
            for piece in text.chunks(10_007) {
                writer.append(piece).unwrap();
            }
            check_lines(&writer.finish().unwrap(), &text);
        }
        check_lines(&LiveLog::open(&path).unwrap(), &text);
    }

    #[test]
    fn an_index_is_repaired_whatever_a_crash_left_of_it() {
        let text = uneven_text();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let idx = index_path(&path);
        let mut writer = LogWriter::create(&path, &Options::default()).unwrap();
        writer.append(&text).unwrap();
        drop(writer);
        let whole = std::fs::read(&idx).unwrap();
        let torn = whole[..whole.len() - 3].to_vec();
        let mut zeroed = whole.clone();
        zeroed[40..72].fill(0);
        let mut wrong = whole.clone();
        let last = wrong.len() - 8;
        wrong[last] ^= 1;
        let longer = [whole.as_slice(), &[0xff; 24]].concat();
        for broken in [torn, zeroed, wrong, longer, Vec::new(), b"garbage".to_vec()] {
            std::fs::write(&idx, &broken).unwrap();
            check_lines(&LiveLog::open(&path).unwrap(), &text);
            assert_eq!(
                std::fs::read(&idx).unwrap(),
                broken,
                "a reader does not write"
            );
            drop(LogWriter::reopen(&path, &Options::default()).unwrap());
            assert_eq!(std::fs::read(&idx).unwrap(), whole);
        }
    }

    #[test]
    fn a_reopened_log_goes_on() {
        let text = uneven_text();
        let (before, after) = text.split_at(200_001);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, before).unwrap();
        let mut writer = LogWriter::reopen(&path, &Options::default()).unwrap();
        writer.append(after).unwrap();
        check_lines(&writer.finish().unwrap(), &text);
        assert_eq!(std::fs::read(&path).unwrap(), text);
    }
}
