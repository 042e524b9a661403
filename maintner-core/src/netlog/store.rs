//! What a follower has: a copy of the log in memory or in a folder, which may be rolled back.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest as _, Sha224};

use super::Entry;
use crate::Result;
use crate::log::{DEFAULT_MAX_PAYLOAD, HeaderParse, SegmentName};
use crate::log::{LogPosition, RecordHeader, Segment, Sha224Hex};

mod files;

use files::{Content, Folder};

/// Rollbacks remembered; a reader that missed more of them starts from the beginning.
const REMEMBERED: usize = 64;

/// How often a log was rolled back, and how far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    epoch: u64,
    /// What survived each of the last rollbacks.
    survived: Vec<u64>,
}

impl History {
    /// Number of rollbacks so far.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How much of the log as it was at `epoch` is still as it was then; `None` when nothing was
    /// rolled back since.
    pub fn survived(&self, epoch: u64) -> Option<LogPosition> {
        let missed = usize::try_from(self.epoch.saturating_sub(epoch)).unwrap_or(usize::MAX);
        if missed == 0 {
            return None;
        }
        if missed > self.survived.len() {
            return Some(LogPosition::START);
        }
        let since = &self.survived[self.survived.len() - missed..];
        since.iter().min().map(|&bytes| LogPosition::new(bytes))
    }

    fn rolled_back(&mut self, to: u64) {
        self.epoch += 1;
        self.survived.push(to);
        if self.survived.len() > REMEMBERED {
            self.survived.remove(0);
        }
    }
}

/// One segment of a [`LocalLog`].
#[derive(Debug)]
pub struct Piece {
    base: u64,
    len: u64,
    hash: Sha224,
    sha224: Sha224Hex,
    frozen: bool,
    content: Content,
}

impl Piece {
    fn new(base: u64, content: Content) -> Self {
        Self {
            base,
            len: 0,
            hash: Sha224::new(),
            sha224: Sha224Hex::of(b""),
            frozen: false,
            content,
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Hash of all of it.
    pub fn sha224(&self) -> Sha224Hex {
        self.sha224
    }

    /// Whether it is complete.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Whether a server's segment is the same.
    pub fn is(&self, entry: &Entry) -> bool {
        self.len == entry.size && self.sha224 == entry.sha224
    }

    /// The hash it would have with `more` at its end.
    pub(super) fn hash_with(&self, more: &[u8]) -> Sha224 {
        let mut hash = self.hash.clone();
        hash.update(more);
        hash
    }
}

/// A copy of a log, segment by segment as the server cuts it.
///
/// Bytes go in only after their hash was compared. What was shown is never changed in place:
/// a rollback makes new files, so that readers which mapped the old ones are safe.
#[derive(Debug)]
pub struct LocalLog {
    folder: Option<Folder>,
    pieces: Vec<Piece>,
    history: History,
}

impl LocalLog {
    /// An empty log in memory.
    pub fn memory() -> Self {
        Self {
            folder: None,
            pieces: Vec::new(),
            history: History::default(),
        }
    }

    /// The log in `folder`, which is made when it is not there. Names are those that the Go
    /// project's programs use, so the folder may be shared with them. What a crash or the disk
    /// damaged is put aside and will be asked for again. Complete segments are hashed once and
    /// remembered.
    ///
    /// When another process keeps this folder, its complete segments are used and the rest is
    /// held in memory.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let (folder, pieces) = Folder::open(folder.as_ref())?;
        Ok(Self {
            folder: Some(folder),
            pieces,
            history: History::default(),
        })
    }

    /// The folder, if there is one.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(Folder::path)
    }

    /// The segments.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The end of the log.
    pub fn end(&self) -> LogPosition {
        LogPosition::new(self.pieces.last().map_or(0, |last| last.base + last.len))
    }

    /// The rollbacks so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The segments as a corpus reads them.
    pub fn segments(&mut self) -> Vec<Segment> {
        (0u32..)
            .zip(&mut self.pieces)
            .map(|(number, piece)| {
                let name = if piece.frozen {
                    SegmentName::Frozen {
                        number,
                        sha224: piece.sha224,
                    }
                } else {
                    SegmentName::Growing { number }
                };
                piece.content.segment(name, piece.base, piece.len)
            })
            .collect()
    }

    /// The hash of the first `len` bytes of a segment.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn prefix_hash(&self, number: u32, len: u64) -> Result<Sha224Hex> {
        let piece = &self.pieces[number as usize];
        if len == piece.len {
            return Ok(piece.sha224);
        }
        Ok(Sha224Hex::of(&piece.content.load(len.min(piece.len))?))
    }

    /// Adds to the last segment, or begins the one after it (which completes the last).
    /// `hash` is that of the whole segment with `bytes`.
    pub(super) fn append(&mut self, number: u32, bytes: &[u8], hash: Sha224) -> Result<()> {
        if number as usize == self.pieces.len() {
            if let Some(last) = number.checked_sub(1) {
                self.freeze(last)?;
            }
            let base = self.end().bytes();
            let content = Folder::start(self.folder.as_mut(), number)?;
            self.pieces.push(Piece::new(base, content));
        }
        let piece = self
            .pieces
            .last_mut()
            .filter(|piece| !piece.frozen)
            .expect("only the last segment grows");
        piece.content.append(piece.len, bytes)?;
        piece.len += bytes.len() as u64;
        piece.sha224 = Sha224Hex::finish(hash.clone());
        piece.hash = hash;
        Ok(())
    }

    /// Takes a complete segment as known without having its bytes.
    pub(super) fn skip(&mut self, entry: &Entry) {
        let base = self.end().bytes();
        let mut piece = Piece::new(base, Content::memory());
        (piece.len, piece.sha224, piece.frozen) = (entry.size, entry.sha224, true);
        self.pieces.push(piece);
    }

    /// The records from `from` on, each with its position; `from` must be where one begins.
    ///
    /// # Errors
    /// When a file cannot be read, or holds no records there.
    pub fn records(&self, from: LogPosition) -> Result<Vec<(LogPosition, Bytes)>> {
        let mut all = Vec::new();
        for piece in &self.pieces {
            let end = piece.base + piece.len;
            if end <= from.bytes() {
                continue;
            }
            let skip = from.bytes().saturating_sub(piece.base);
            let bytes = piece.content.load(piece.len)?;
            let start = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            for record in crate::log::Records::at(&bytes[start..], skip) {
                let record = record.map_err(|source| crate::Error::Record {
                    path: "the local log".into(),
                    source,
                })?;
                let position = LogPosition::new(piece.base + record.offset());
                all.push((position, bytes.slice_ref(record.payload())));
            }
        }
        Ok(all)
    }

    /// Completes a segment; it will not change any more.
    pub(super) fn freeze(&mut self, number: u32) -> Result<()> {
        let piece = &mut self.pieces[number as usize];
        if piece.frozen {
            return Ok(());
        }
        let (len, sha224) = (piece.len, piece.sha224);
        if let Some(folder) = &mut self.folder {
            folder.freeze(&mut piece.content, number, len, sha224)?;
        }
        piece.frozen = true;
        Ok(())
    }

    /// Puts other bytes in the place of a segment and all that follow it. Returns how much of
    /// the log is as before: the end of the last record that both have.
    pub(super) fn replace(&mut self, number: u32, bytes: &[u8]) -> Result<LogPosition> {
        let at = number as usize;
        let (base, old) = match self.pieces.get(at) {
            Some(piece) => (piece.base, piece.content.load(piece.len)?),
            None => (self.end().bytes(), Bytes::new()),
        };
        let same = common_records(&old, bytes) as u64;
        let content = Folder::rewrite(self.folder.as_mut(), number, bytes)?;
        let replaced: Vec<Piece> = self.pieces.drain(at..).collect();
        let mut piece = Piece::new(base, content);
        piece.hash.update(bytes);
        piece.sha224 = Sha224Hex::finish(piece.hash.clone());
        piece.len = bytes.len() as u64;
        self.pieces.push(piece);
        // An empty segment had nothing that could have been rolled back.
        let lost = replaced.iter().map(|piece| piece.len).sum::<u64>();
        if let Some(folder) = &mut self.folder {
            folder.drop_replaced(replaced, number);
        }
        if same < lost {
            self.history.rolled_back(base + same);
        }
        Ok(LogPosition::new(base + same))
    }

    /// Drops everything after `len` bytes of segment `number`.
    pub(super) fn cut(&mut self, number: u32, len: u64) -> Result<LogPosition> {
        let bytes = self.pieces[number as usize].content.load(len)?;
        self.replace(number, &bytes)
    }

    /// Drops segment `number` and all after it.
    pub(super) fn drop_from(&mut self, number: u32) -> LogPosition {
        let dropped: Vec<Piece> = self.pieces.drain(number as usize..).collect();
        if let Some(folder) = &mut self.folder {
            folder.drop_all(dropped);
        }
        let end = self.end();
        self.history.rolled_back(end.bytes());
        end
    }
}

/// The length of the longest common prefix that ends with a whole record.
fn common_records(old: &[u8], new: &[u8]) -> usize {
    let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    whole_records(&old[..same], 0)
}

/// The length of the prefix of `bytes` that consists of whole records, the first of which
/// stands at `offset` of its segment.
pub(super) fn whole_records(bytes: &[u8], offset: u64) -> usize {
    let mut end = 0usize;
    loop {
        let parsed = RecordHeader::parse(&bytes[end..], offset + end as u64, DEFAULT_MAX_PAYLOAD);
        let Ok(HeaderParse::Complete(header)) = parsed else {
            return end;
        };
        let next = usize::try_from(header.end() - offset).unwrap_or(usize::MAX);
        if next > bytes.len() {
            return end;
        }
        end = next;
    }
}

/// Where a folder's file for a growing segment is.
fn growing_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(SegmentName::Growing { number }.to_string())
}
