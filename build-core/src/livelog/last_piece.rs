//! The piece that was appended last, kept in memory while a crowd of readers waits for it.

use std::sync::{Arc, PoisonError, RwLock};

/// Larger pieces are not kept: reading them costs more than asking for them.
const MOST: usize = 256 << 10;

#[derive(Debug, Default)]
pub(super) struct LastPiece {
    piece: RwLock<Option<Arc<Piece>>>,
}

#[derive(Debug)]
struct Piece {
    offset: u64,
    bytes: Vec<u8>,
}

impl LastPiece {
    /// Keeps a copy of the bytes at an offset, in place of what was kept; or nothing.
    pub(super) fn set(&self, piece: Option<(u64, &[u8])>) {
        let piece = piece.filter(|(_, bytes)| bytes.len() <= MOST);
        let none = piece.is_none();
        if none && self.get().is_none() {
            return;
        }
        let piece = piece.map(|(offset, bytes)| {
            let bytes = bytes.to_vec();
            Arc::new(Piece { offset, bytes })
        });
        *self.piece.write().unwrap_or_else(PoisonError::into_inner) = piece;
    }

    /// Copies what is kept of the text from `offset` on; 0 bytes when that is nothing.
    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        let Some(piece) = self.get() else { return 0 };
        let at = offset.checked_sub(piece.offset);
        let at = at.and_then(|at| usize::try_from(at).ok());
        let held = at.and_then(|at| piece.bytes.get(at..)).unwrap_or_default();
        let n = held.len().min(buf.len());
        buf[..n].copy_from_slice(&held[..n]);
        n
    }

    /// The lock is not held while anybody copies.
    fn get(&self) -> Option<Arc<Piece>> {
        let piece = self.piece.read().unwrap_or_else(PoisonError::into_inner);
        piece.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_kept_is_read() {
        let last = LastPiece::default();
        let mut buf = [0; 4];
        let mut read = |last: &LastPiece, offset| {
            let n = last.read_at(&mut buf, offset);
            buf[..n].to_vec()
        };
        assert_eq!(read(&last, 0), b"");
        last.set(Some((100, b"abcdef")));
        for (offset, expected) in [
            (99, &b""[..]),
            (100, b"abcd"),
            (103, b"def"),
            (106, b""),
            (107, b""),
            (u64::MAX, b""),
        ] {
            assert_eq!(read(&last, offset), expected, "{offset}");
        }
        last.set(Some((106, &vec![b'x'; MOST + 1])));
        assert_eq!((read(&last, 100), read(&last, 106)), (vec![], vec![]));
        last.set(Some((7, b"g")));
        last.set(None);
        assert_eq!(read(&last, 7), b"");
    }
}
