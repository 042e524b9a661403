//! Small archives that become large.

use std::io::{Cursor, Read as _, repeat};

use super::build::{Tar, compressed, each};
use super::{Hostile, Stream, refused};
use crate::tarutil::header::{EntryHeader, EntryKind};

const GIB: u64 = 1 << 30;

fn tar() -> Tar {
    Tar::default()
}

/// A header that announces `size` bytes, followed by that many zeros.
fn zeros(header: EntryHeader, size: u64) -> Stream {
    let header = EntryHeader { size, ..header }.head_blocks();
    compressed(Cursor::new(header).chain(repeat(0).take(size)))
}

/// Zeros within the bound of one file, again and again.
fn many_files(content: &'static [u8]) -> Stream {
    compressed(each(1_000_000, move |i| {
        tar().file(&format!("f{i}"), content)
    }))
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

static MIB: [u8; 1 << 20] = [0; 1 << 20];

pub(super) const CASES: &[Hostile] = &[
    refused("10 GiB of zeros in one file", "bytes in one file", || {
        zeros(EntryHeader::file("zeros", 0), 10 * GIB)
    }),
    refused(
        "a thousand to one in many files",
        "uncompressed bytes per compressed byte",
        || many_files(&MIB),
    ),
    refused("10 GiB in a global header", "bytes in all", || {
        zeros(EntryHeader::new("g", EntryKind::Global), 10 * GIB)
    }),
    refused("a pax header of 1 GiB", "too large", || {
        zeros(EntryHeader::new("x", EntryKind::Other(b'x')), GIB)
    }),
    refused("a long name of 1 GiB", "too large", || {
        zeros(EntryHeader::new("L", EntryKind::Other(b'L')), GIB)
    }),
    refused("a long link of 1 GiB", "too large", || {
        zeros(EntryHeader::new("K", EntryKind::Other(b'K')), GIB)
    }),
    refused("a million empty files", "entries", || many_files(b"")),
    refused("a million directories", "entries", || {
        compressed(each(1_000_000, |i| tar().dir(&format!("d{i}"))))
    }),
    refused("a million symbolic links", "entries", || {
        compressed(each(1_000_000, |i| tar().symlink(&format!("l{i}"), "x")))
    }),
    refused("a million times the same name", "entries", || {
        compressed(each(1_000_000, |_| tar().file("x", b"")))
    }),
    refused("a million global headers", "entries", || {
        compressed(each(1_000_000, |_| {
            tar().entry(EntryHeader::new("g", EntryKind::Global), b"")
        }))
    }),
    refused("incompressible files without end", "bytes in all", || {
        let noise = noise(1 << 20);
        compressed(each(1_000_000, move |i| {
            tar().file(&format!("f{i}"), &noise)
        }))
    }),
];
