//! Tar framing: headers, extension records and content out of a byte stream, with bounded memory.
//!
//! Field codecs are the `tar` crate's; the walk is our own because that crate gathers names and
//! records of any size in memory and hides a truncated stream behind the same error as a bad one.

use std::io::{self, BufRead};

use tar::{EntryType, Header};
use thiserror::Error;

use super::header::{BLOCK, EntryHeader, EntryKind, Modified};
use super::pax::Overrides;
use super::ustar::padding;

/// Most bytes of one extension record (long name, pax header); as in the Go implementation.
const EXTENSION_MAX: u64 = 1 << 20;
/// Most extension records in front of one entry.
const EXTENSIONS_MAX: u32 = 16;

/// Why a byte stream is not a tar archive.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The stream could not be read (or decompressed).
    #[error("reading the archive")]
    Read(#[source] io::Error),
    /// The stream ended inside a header or inside content.
    #[error("unexpected EOF")]
    Truncated,
    /// A header is not one: wrong checksum or no number where one belongs.
    #[error("invalid tar header at byte {offset}: {what}")]
    Header {
        /// Where the header starts in the uncompressed archive.
        offset: u64,
        /// Which part of it is wrong.
        what: &'static str,
    },
    /// A long name or pax record is larger than 1 MiB, or there are too many of them.
    #[error("extension header at byte {offset} is too large")]
    Extension {
        /// Where the header starts in the uncompressed archive.
        offset: u64,
    },
    /// A pax record is malformed.
    #[error("invalid pax record at byte {offset}")]
    Pax {
        /// Where the header starts in the uncompressed archive.
        offset: u64,
    },
}

/// Reads an archive entry by entry; content is lent from the input's own buffer.
#[derive(Debug)]
pub(crate) struct Entries<R> {
    input: R,
    /// Bytes of the archive taken so far.
    offset: u64,
    /// Content bytes of the current entry not yet taken, and the padding after them.
    left: u64,
    pad: u64,
    ended: bool,
}

impl<R: BufRead> Entries<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            offset: 0,
            left: 0,
            pad: 0,
            ended: false,
        }
    }

    /// Bytes of the archive taken so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Content bytes of the current entry not yet taken.
    #[cfg(unix)]
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The input, positioned after what was taken.
    pub(crate) fn input_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// A slice of the current entry's content that is not yet taken; empty at its end.
    pub(crate) fn content(&mut self) -> Result<&[u8], FrameError> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let available = fill(&mut self.input)?;
        if available.is_empty() {
            return Err(FrameError::Truncated);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        Ok(&available[..available.len().min(most)])
    }

    /// Takes `n` bytes of what [`Entries::content`] lent.
    pub(crate) fn consume(&mut self, n: usize) {
        self.input.consume(n);
        self.offset += n as u64;
        self.left -= n as u64;
    }

    /// The next entry, or `None` at the end of the archive. Content left over is skipped.
    pub(crate) fn next_entry(&mut self) -> Result<Option<EntryHeader>, FrameError> {
        let mut overrides = Overrides::default();
        for _ in 0..=EXTENSIONS_MAX {
            self.skip_content()?;
            let at = self.offset;
            let Some(block) = self.header_block()? else {
                return if overrides.is_empty() {
                    Ok(None)
                } else {
                    Err(FrameError::Truncated)
                };
            };
            let header = Header::from_byte_slice(&block);
            check(header, at)?;
            let kind = header.entry_type();
            self.left = size_of(header, at)?;
            self.pad = padding(self.left) as u64;
            if !is_extension(kind) {
                return self.entry(header, overrides, at).map(Some);
            }
            let data = self.extension(at)?;
            overrides
                .add(kind, &data)
                .ok_or(FrameError::Pax { offset: at })?;
        }
        Err(FrameError::Extension {
            offset: self.offset,
        })
    }

    fn entry(
        &mut self,
        header: &Header,
        overrides: Overrides,
        at: u64,
    ) -> Result<EntryHeader, FrameError> {
        let size = overrides.size.unwrap_or(self.left);
        let entry = describe(header, overrides, size, at)?;
        // Links, directories and devices have no content, whatever their size field says.
        self.left = match entry.kind {
            EntryKind::File | EntryKind::Sparse | EntryKind::Global | EntryKind::Other(_) => size,
            _ => 0,
        };
        self.pad = padding(self.left) as u64;
        Ok(EntryHeader {
            size: self.left,
            ..entry
        })
    }

    fn extension(&mut self, at: u64) -> Result<Vec<u8>, FrameError> {
        if self.left > EXTENSION_MAX {
            return Err(FrameError::Extension { offset: at });
        }
        let mut data = Vec::new();
        while self.left > 0 {
            let slice = self.content()?;
            let n = slice.len();
            data.extend_from_slice(slice);
            self.consume(n);
        }
        Ok(data)
    }

    fn skip_content(&mut self) -> Result<(), FrameError> {
        self.left += std::mem::take(&mut self.pad);
        while self.left > 0 {
            let n = self.content()?.len();
            self.consume(n);
        }
        Ok(())
    }

    /// One header block; `None` after the end mark (two zero blocks) or at a clean end of input.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, FrameError> {
        if self.ended {
            return Ok(None);
        }
        let block = self.block()?.filter(|block| block.iter().any(|&b| b != 0));
        if block.is_some() {
            return Ok(block);
        }
        self.ended = true;
        let at = self.offset;
        match self.block()? {
            Some(second) if second.iter().any(|&b| b != 0) => Err(FrameError::Header {
                offset: at,
                what: "data after a single zero block",
            }),
            _ => Ok(None),
        }
    }

    /// 512 bytes, or `None` when the input ends before the first of them.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, FrameError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let available = fill(&mut self.input)?;
            if available.is_empty() {
                return if filled == 0 {
                    Ok(None)
                } else {
                    Err(FrameError::Truncated)
                };
            }
            let n = available.len().min(BLOCK - filled);
            block[filled..filled + n].copy_from_slice(&available[..n]);
            self.input.consume(n);
            self.offset += n as u64;
            filled += n;
        }
        Ok(Some(block))
    }
}

fn fill<R: BufRead>(input: &mut R) -> Result<&[u8], FrameError> {
    // Asked twice because a borrow cannot be returned from inside a retry loop.
    loop {
        match input.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(FrameError::Truncated);
            }
            Err(error) => return Err(FrameError::Read(error)),
        }
    }
    input.fill_buf().map_err(FrameError::Read)
}

fn is_extension(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink
    )
}

/// The checksum, counted over unsigned or (old writers) signed bytes.
fn check(header: &Header, offset: u64) -> Result<(), FrameError> {
    let wrong = FrameError::Header {
        offset,
        what: "checksum",
    };
    let Ok(wanted) = header.cksum() else {
        return Err(wrong);
    };
    let bytes = header.as_bytes();
    let (mut unsigned, mut signed) = (8 * 32_i64, 8 * 32_i64);
    for &byte in bytes[..148].iter().chain(&bytes[156..]) {
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    if i64::from(wanted) == unsigned || i64::from(wanted) == signed {
        Ok(())
    } else {
        Err(wrong)
    }
}

fn size_of(header: &Header, offset: u64) -> Result<u64, FrameError> {
    number(&header.as_old().size, header.entry_size())
        .filter(|&size| i64::try_from(size).is_ok())
        .ok_or(FrameError::Header {
            offset,
            what: "size",
        })
}

/// A parsed number field; an empty field is 0.
fn number<T: Default>(field: &[u8], parsed: io::Result<T>) -> Option<T> {
    let empty = field.iter().all(|&b| b == 0 || b == b' ');
    if empty {
        Some(T::default())
    } else {
        parsed.ok()
    }
}

fn describe(
    header: &Header,
    overrides: Overrides,
    size: u64,
    offset: u64,
) -> Result<EntryHeader, FrameError> {
    let wrong = |what| FrameError::Header { offset, what };
    let old = header.as_old();
    let path = overrides
        .path
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let link = overrides
        .link
        .unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
    // Negative times are two's complement in the binary form of the field.
    let seconds = number(&old.mtime, header.mtime())
        .ok_or(wrong("mtime"))?
        .cast_signed();
    let mode = number(&old.mode, header.mode()).ok_or(wrong("mode"))?;
    let kind = if overrides.sparse {
        EntryKind::Sparse
    } else {
        kind_of(header, &path, link)
    };
    Ok(EntryHeader {
        path,
        kind,
        mode: mode & 0o7777,
        size,
        modified: overrides.modified.unwrap_or(Modified { seconds, nanos: 0 }),
        uid: number(&old.uid, header.uid()).unwrap_or_default(),
        gid: number(&old.gid, header.gid()).unwrap_or_default(),
        user: header.username_bytes().unwrap_or_default().to_vec(),
        group: header.groupname_bytes().unwrap_or_default().to_vec(),
    })
}

fn kind_of(header: &Header, path: &[u8], link: Vec<u8>) -> EntryKind {
    let device = || {
        let major = header.device_major().ok().flatten().unwrap_or_default();
        (
            major,
            header.device_minor().ok().flatten().unwrap_or_default(),
        )
    };
    match header.entry_type() {
        // Before ustar a directory was a file whose name ends in a slash.
        EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => EntryKind::Dir,
        EntryType::Regular | EntryType::Continuous => EntryKind::File,
        EntryType::Directory => EntryKind::Dir,
        EntryType::Symlink => EntryKind::Symlink(link),
        EntryType::Link => EntryKind::HardLink(link),
        EntryType::Fifo => EntryKind::Fifo,
        EntryType::Char => EntryKind::CharDevice(device().0, device().1),
        EntryType::Block => EntryKind::BlockDevice(device().0, device().1),
        EntryType::XGlobalHeader => EntryKind::Global,
        EntryType::GNUSparse => EntryKind::Sparse,
        other => EntryKind::Other(other.as_byte()),
    }
}

/// Fuzz target: walks `data` as an uncompressed archive; must neither panic nor grow.
pub fn fuzz_tar(data: &[u8]) {
    let mut entries = Entries::new(data);
    while let Ok(Some(entry)) = entries.next_entry() {
        assert!(entry.path.len() <= data.len(), "a name came from nowhere");
    }
    assert!(
        entries.offset() <= data.len() as u64,
        "took more than there is"
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn first(archive: &[u8]) -> Result<Option<EntryHeader>, FrameError> {
        Entries::new(archive).next_entry()
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        let component = prop_oneof![
            "[a-z]{1,12}".prop_map(String::into_bytes),
            "[ -~ä€\n]{1,120}".prop_map(|text| text.replace('/', "_").into_bytes()),
            prop::collection::vec(1_u8..=255, 1..40),
        ];
        prop::collection::vec(component, 1..8).prop_map(|parts| parts.join(&b'/'))
    }

    fn kind() -> impl Strategy<Value = EntryKind> {
        prop_oneof![
            Just(EntryKind::File),
            Just(EntryKind::Fifo),
            name().prop_map(EntryKind::Symlink),
            name().prop_map(EntryKind::HardLink),
            (0_u32..0o7_777_777, 0_u32..0o7_777_777)
                .prop_map(|(major, minor)| EntryKind::CharDevice(major, minor)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            path in name(), kind in kind(), mode in 0_u32..0o10000, uid: u64, gid in 0_u64..70_000,
            seconds in -(1_i64 << 40)..1 << 40, size in 0..i64::MAX as u64, user in "[a-zé]{0,40}",
        ) {
            let path = if path.ends_with(b"/") { [path.as_slice(), b"x"].concat() } else { path };
            let size = if kind == EntryKind::File { size } else { 0 };
            let modified = Modified { seconds, nanos: 0 };
            let header = EntryHeader { path, kind, mode, size, modified, uid, gid, user: user.into(), group: Vec::new() };
            let decoded = first(&header.head_blocks()).unwrap().unwrap();
            // Owners beyond the ustar fields are written as pax records, which nothing here reads back.
            prop_assert_eq!(&decoded.path, &header.path);
            prop_assert_eq!(&decoded.kind, &header.kind);
            prop_assert_eq!((decoded.mode, decoded.size, decoded.modified), (mode, size, modified));
        }

        #[test]
        fn any_bytes_are_survived(data: Vec<u8>) {
            fuzz_tar(&data);
        }

        #[test]
        fn damaged_archives_are_survived(at in 0_usize..4096, byte: u8, cut in 0_usize..4096) {
            let mut archive = EntryHeader::file("d/".repeat(200), 700).head_blocks();
            archive.resize(archive.len() + 1024, b'x');
            archive.extend(EntryHeader::symlink("l", "t".repeat(300)).head_blocks());
            let place = at % archive.len();
            archive[place] = byte;
            archive.truncate(archive.len().min(cut));
            fuzz_tar(&archive);
        }
    }
}
