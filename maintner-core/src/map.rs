//! Files mapped into memory: the one module of the crate that may hold `unsafe`.
//!
//! What a mapping shows is never trusted: texts are checked as UTF-8 when they are read,
//! columns are plain integers, and every access is bounds-checked.
#![expect(unsafe_code, reason = "mapping a file cannot be expressed safely")]

use std::fs::File;
use std::ops::Range;
use std::path::Path;

#[cfg(unix)]
use memmap2::{Advice, UncheckedAdvice};
use memmap2::{Mmap, MmapOptions};
use zerocopy::IntoBytes as _;

use crate::{Error, Result};

/// A read-only mapping of the beginning of a file.
#[derive(Debug)]
pub(crate) struct Map(Bytes);

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    /// No file: aligned like a mapping, as far as columns need it.
    Held(Vec<u64>, usize),
}

impl Map {
    /// Maps the first `len` bytes of the file at `path`.
    ///
    /// The file must not be shortened while it is mapped; segments and snapshots are only ever
    /// replaced by renaming.
    pub(crate) fn open(path: &Path, len: u64) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let have = file.metadata().map_err(Error::io("stat", path))?.len();
        if have < len {
            let source = std::io::ErrorKind::UnexpectedEof.into();
            return Err(Error::io("map", path)(source));
        }
        if len == 0 {
            return Ok(Self::held(&[]));
        }
        let len = usize::try_from(len)
            .map_err(|_| Error::io("map", path)(std::io::ErrorKind::FileTooLarge.into()))?;
        // SAFETY: the mapping is private to this value and read-only. Another process may still
        // change the file; bytes are therefore only ever read as integers or checked as UTF-8
        // on each access, so a change yields wrong answers, not undefined values of a type.
        let map = unsafe { MmapOptions::new().len(len).map(&file) };
        let map = map.map_err(Error::io("map", path))?;
        Ok(Self(Bytes::Mapped(map)))
    }

    /// A copy of `bytes` that is used like a mapping.
    pub(crate) fn held(bytes: &[u8]) -> Self {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        Self(Bytes::Held(words, bytes.len()))
    }

    /// The mapped bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Held(words, len) => &words.as_bytes()[..*len],
        }
    }

    /// Tells the kernel that `range` is about to be read in order. Advice is a thing of Unix; other
    /// systems read as they like.
    pub(crate) fn prefetch(&self, range: Range<usize>) {
        #[cfg(not(unix))]
        let _ = range;
        #[cfg(unix)]
        if let Bytes::Mapped(map) = &self.0 {
            // Advice only: a kernel without it reads on demand.
            let _ = map.advise_range(Advice::WillNeed, range.start, range.len());
        }
    }

    /// Tells the kernel what to read on an access to a page that is not in memory: only that
    /// page, or, as it does when nothing is said, megabytes around it.
    pub(crate) fn expect_order(&self, ordered: bool) {
        #[cfg(not(unix))]
        let _ = ordered;
        #[cfg(unix)]
        if let Bytes::Mapped(map) = &self.0 {
            let advice = if ordered {
                Advice::Normal
            } else {
                Advice::Random
            };
            // As above.
            let _ = map.advise(advice);
        }
    }

    /// Gives the memory of `range` back; the next access reads the file again.
    pub(crate) fn forget(&self, range: Range<usize>) {
        #[cfg(not(unix))]
        let _ = range;
        #[cfg(unix)]
        if let Bytes::Mapped(map) = &self.0 {
            // SAFETY: the mapping is read-only and backed by a file, so dropped pages come back
            // with the file's content. Refusal only means that the memory stays in use.
            let _ = unsafe {
                map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgotten_pages_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let content: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let map = Map::open(&path, content.len() as u64).unwrap();
        map.prefetch(0..content.len());
        assert_eq!(map.bytes(), content);
        map.forget(0..content.len());
        assert_eq!(map.bytes(), content);
    }

    #[test]
    fn empty_and_short_files_are_handled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"abc").unwrap();
        assert_eq!(Map::open(&path, 0).unwrap().bytes(), b"");
        assert!(Map::open(&path, 4).is_err(), "longer than the file");
        assert_eq!(Map::held(b"0123456789").bytes(), b"0123456789");
    }
}
