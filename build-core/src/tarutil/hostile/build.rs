//! Pieces that archives are put together from, down to single wrong bytes.

use std::io::{self, Cursor, Read};

use flate2::Compression;
use flate2::read::GzEncoder;

use super::super::header::{BLOCK, EntryHeader, EntryKind};
use super::super::ustar::padding;
use super::Stream;

/// An archive under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Tar(pub(super) Vec<u8>);

impl Tar {
    pub(super) fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(EntryHeader::file(path, 0), content)
    }

    pub(super) fn dir(self, path: &str) -> Self {
        self.entry(EntryHeader::dir(path), b"")
    }

    pub(super) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryHeader::symlink(path, target), b"")
    }

    pub(super) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(
            EntryHeader::new(path, EntryKind::HardLink(target.into())),
            b"",
        )
    }

    pub(super) fn entry(mut self, header: EntryHeader, content: &[u8]) -> Self {
        self.0.extend(
            EntryHeader {
                size: content.len() as u64,
                ..header
            }
            .head_blocks(),
        );
        self.content(content)
    }

    /// An entry of any type flag, as `L`, `K`, `x` and `g` records are.
    pub(super) fn record(self, flag: u8, content: &[u8]) -> Self {
        self.entry(EntryHeader::new("record", EntryKind::Other(flag)), content)
    }

    /// A pax header with these records, their lengths right.
    pub(super) fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            super::super::pax::record(&mut data, key, value.as_bytes());
        }
        self.record(b'x', &data)
    }

    /// An entry whose header block is changed before its checksum is made right again.
    pub(super) fn patched(self, path: &str, content: &[u8], patch: impl FnOnce(&mut [u8])) -> Self {
        self.unsummed(path, content, |block| {
            patch(block);
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        })
    }

    /// An entry whose header block is changed, whatever its checksum says.
    pub(super) fn unsummed(
        mut self,
        path: &str,
        content: &[u8],
        patch: impl FnOnce(&mut [u8]),
    ) -> Self {
        let mut block = EntryHeader::file(path, content.len() as u64).head_blocks();
        patch(&mut block);
        self.0.extend(block);
        self.content(content)
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn content(self, content: &[u8]) -> Self {
        let pad = padding(content.len() as u64);
        self.raw(content).raw(&[0; BLOCK][..pad])
    }

    /// With the end mark, compressed.
    pub(super) fn gz(self) -> Stream {
        self.raw(&[0; 2 * BLOCK]).cut()
    }

    /// Compressed as it is, without an end mark.
    pub(super) fn cut(self) -> Stream {
        compressed(Cursor::new(self.0))
    }

    /// Compressed into bytes.
    pub(super) fn gz_bytes(self) -> Vec<u8> {
        all(self.gz())
    }
}

/// A patch: these bytes at this place of the header block.
pub(super) fn at(place: usize, bytes: &[u8]) -> impl FnOnce(&mut [u8]) {
    move |block| block[place..place + bytes.len()].copy_from_slice(bytes)
}

/// Compresses while it is read.
pub(super) fn compressed(tar: impl Read + Send + 'static) -> Stream {
    Box::new(GzEncoder::new(tar, Compression::new(6)))
}

pub(super) fn bytes(bytes: Vec<u8>) -> Stream {
    Box::new(Cursor::new(bytes))
}

pub(super) fn all(mut stream: Stream) -> Vec<u8> {
    let mut out = Vec::new();
    stream
        .read_to_end(&mut out)
        .expect("reading memory does not fail");
    out
}

/// Many entries, made one by one while they are read.
pub(super) struct Each<F> {
    next: u64,
    end: u64,
    make: F,
    current: Cursor<Vec<u8>>,
}

/// `count` pieces of archive, from number 0 on, then the end mark.
pub(super) fn each<F: FnMut(u64) -> Tar>(count: u64, make: F) -> Each<F> {
    Each {
        next: 0,
        end: count,
        make,
        current: Cursor::default(),
    }
}

impl<F: FnMut(u64) -> Tar> Read for Each<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.current.read(buf)?;
            if n > 0 || self.next > self.end {
                return Ok(n);
            }
            let last = self.next == self.end;
            self.current = Cursor::new(if last {
                vec![0; 2 * BLOCK]
            } else {
                (self.make)(self.next).0
            });
            self.next += 1;
        }
    }
}
