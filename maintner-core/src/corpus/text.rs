//! Texts stay where they are: in the log.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::map::Map;

/// Where in the log a text is: 40 bits of position, 24 bits of length.
///
/// Position 0 is the `R` of the first record, so zero can mean "no text". A length of all ones
/// says that the text is longer than that and that the position is the one of its length prefix.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub(crate) struct TextRef(u64);

const LEN_BITS: u32 = 24;
const LONG: u64 = (1 << LEN_BITS) - 1;
/// The longest log that texts can be addressed in: 1 TiB.
pub(crate) const MAX_LOG: u64 = 1 << (64 - LEN_BITS);

impl TextRef {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn position(self) -> u64 {
        self.0 >> LEN_BITS
    }

    fn short(position: u64, len: u64) -> Self {
        Self(position << LEN_BITS | len)
    }
}

/// Turns slices of one loaded piece of the log into references.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Locator<'a> {
    piece: &'a [u8],
    position: u64,
}

impl<'a> Locator<'a> {
    pub(crate) fn new(piece: &'a [u8], position: u64) -> Self {
        Self { piece, position }
    }

    /// The reference of `text`, which must be a part of the piece; otherwise, and for empty
    /// texts, none.
    pub(crate) fn locate(&self, text: &[u8]) -> TextRef {
        let offset = (text.as_ptr() as usize).wrapping_sub(self.piece.as_ptr() as usize);
        if text.is_empty() || offset.saturating_add(text.len()) > self.piece.len() {
            return TextRef::NONE;
        }
        let len = text.len() as u64;
        if len < LONG {
            return TextRef::short(self.position + offset as u64, len);
        }
        let prefix = offset.checked_sub(varint_len(len)).unwrap_or(offset);
        match long_range(self.piece, prefix) {
            Some(range) if range == (offset..offset + text.len()) => {
                TextRef::short(self.position + prefix as u64, LONG)
            }
            _ => TextRef::NONE,
        }
    }
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// The range of the length-prefixed text whose prefix starts at `at`.
fn long_range(piece: &[u8], at: usize) -> Option<Range<usize>> {
    let mut len = 0usize;
    for (index, &byte) in piece.get(at..)?.iter().take(9).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            let start = at + index + 1;
            return Some(start..start.checked_add(len)?);
        }
    }
    None
}

/// Where the bytes of a piece are.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// A file that does not change any more, or not before it is renamed.
    Mapped(Arc<Map>, Range<usize>),
    /// Memory: logs that have no file, and the growing end of files.
    Held(Bytes),
}

impl Piece {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map, range) => map.bytes().get(range.clone()).unwrap_or_default(),
            Self::Held(bytes) => bytes,
        }
    }
}

/// Held pieces are merged with the one before up to this size, which an update may have to copy.
const MERGE: usize = 64 << 10;

/// All bytes of the log, in pieces; cloning shares them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    /// Start position and bytes, ascending and without gaps.
    pieces: Arc<Vec<(u64, Piece)>>,
}

impl Texts {
    /// Position after the last piece.
    pub(crate) fn end(&self) -> u64 {
        self.pieces
            .last()
            .map_or(0, |(start, piece)| start + piece.bytes().len() as u64)
    }

    /// Appends a piece and returns where it starts.
    pub(crate) fn push(&mut self, piece: Piece) -> u64 {
        let start = self.end();
        let pieces = Arc::make_mut(&mut self.pieces);
        if let (Piece::Held(new), Some((_, Piece::Held(last)))) = (&piece, pieces.last_mut())
            && last.len() + new.len() <= MERGE
        {
            *last = [last.as_ref(), new.as_ref()].concat().into();
        } else {
            pieces.push((start, piece));
        }
        start
    }

    /// Appends a piece that is not merged with others.
    pub(crate) fn push_whole(&mut self, piece: Piece) {
        let start = self.end();
        Arc::make_mut(&mut self.pieces).push((start, piece));
    }

    /// Drops what is after `position`: the beginning of a record that is not complete yet.
    pub(crate) fn truncate(&mut self, position: u64) {
        if position >= self.end() {
            return;
        }
        let pieces = Arc::make_mut(&mut self.pieces);
        pieces.retain(|(start, _)| *start < position);
        if let Some((start, piece)) = pieces.last_mut() {
            let len = usize::try_from(position - *start).expect("within a piece");
            match piece {
                Piece::Mapped(_, range) => range.end = range.start + len,
                Piece::Held(bytes) => bytes.truncate(len),
            }
        }
    }

    /// Start and end of each piece.
    pub(crate) fn ranges(&self) -> Vec<(u64, u64)> {
        let end = |start: u64, piece: &Piece| start + piece.bytes().len() as u64;
        self.pieces
            .iter()
            .map(|(start, piece)| (*start, end(*start, piece)))
            .collect()
    }

    /// Has mapped bytes read from the disk ahead of their use.
    pub(crate) fn prefetch(&self, position: u64, len: usize) {
        if let Some((map, range)) = self.mapped(position, len) {
            map.prefetch(range);
        }
    }

    /// As [`Map::expect_order`], for all pieces.
    pub(crate) fn expect_order(&self, ordered: bool) {
        for (_, piece) in self.pieces.iter() {
            if let Piece::Mapped(map, _) = piece {
                map.expect_order(ordered);
            }
        }
    }

    fn mapped(&self, position: u64, len: usize) -> Option<(&Map, Range<usize>)> {
        let (start, Piece::Mapped(map, range)) = self.piece_at(position)? else {
            return None;
        };
        let from = range.start + usize::try_from(position - start).ok()?;
        Some((map, from..from + len))
    }

    /// Gives back the memory of mapped bytes that are not needed for now.
    pub(crate) fn forget(&self, position: u64, len: usize) {
        if let Some((map, range)) = self.mapped(position, len) {
            map.forget(range);
        }
    }

    /// The piece that holds `position`, with its start.
    pub(crate) fn piece_at(&self, position: u64) -> Option<(u64, &Piece)> {
        let after = self.pieces.partition_point(|(start, _)| *start <= position);
        let (start, piece) = self.pieces.get(after.checked_sub(1)?)?;
        Some((*start, piece))
    }

    /// Bytes from `position` to the end of its piece, with a locator for parts of them.
    pub(crate) fn from(&self, position: u64) -> (&[u8], Locator<'_>) {
        let Some((start, piece)) = self.piece_at(position) else {
            return (&[], Locator::new(&[], 0));
        };
        let bytes = piece.bytes();
        let rest = usize::try_from(position - start)
            .ok()
            .and_then(|at| bytes.get(at..));
        (rest.unwrap_or_default(), Locator::new(bytes, start))
    }

    /// The bytes of a text; empty for none.
    pub(crate) fn bytes(&self, text: TextRef) -> &[u8] {
        if text.is_none() {
            return &[];
        }
        let (bytes, _) = self.from(text.position());
        let range = match text.0 & LONG {
            LONG => long_range(bytes, 0).unwrap_or(0..0),
            len => 0..len as usize,
        };
        bytes.get(range).unwrap_or_default()
    }

    /// The text as UTF-8. It was checked when it was read; should the file have been changed
    /// since, the valid beginning.
    pub(crate) fn str(&self, text: TextRef) -> &str {
        let bytes = self.bytes(text);
        simdutf8::basic::from_utf8(bytes).unwrap_or_else(|_| valid_prefix(bytes))
    }
}

/// The longest beginning of `bytes` that is UTF-8.
pub(crate) fn valid_prefix(bytes: &[u8]) -> &str {
    bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pieces: &[&'static [u8]]) -> Texts {
        let mut texts = Texts::default();
        for piece in pieces {
            texts.push(Piece::Held(Bytes::from_static(piece)));
        }
        texts
    }

    #[test]
    fn located_texts_are_found_again() {
        let mut texts = texts(&[b"some words"]);
        let more = texts.push(Piece::Held(Bytes::from_static(b" and more")));
        let (bytes, locator) = texts.from(more);
        let text = locator.locate(&bytes[5..9]);
        assert_eq!(texts.str(text), "more");
        assert_eq!(locator.locate(b""), TextRef::NONE);
        assert_eq!(locator.locate(b"from elsewhere"), TextRef::NONE);
        assert_eq!(texts.str(TextRef::NONE), "");
    }

    #[test]
    fn texts_beyond_24_bits_use_their_length_prefix() {
        let len = 20 << 20;
        let mut record = b"REC@0+0=\x0a".to_vec();
        let mut rest = len as u64;
        while rest >= 0x80 {
            record.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        record.push(rest as u8);
        let start = record.len();
        record.resize(start + len, b'x');
        let mut texts = Texts::default();
        texts.push(Piece::Held(record.into()));
        let (bytes, locator) = texts.from(0);
        let text = locator.locate(&bytes[start..]);
        assert_eq!(texts.bytes(text).len(), len);
    }
}
