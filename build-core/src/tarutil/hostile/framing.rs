//! Damaged and misleading headers, gzip streams and entry types.

use flate2::{Compression, GzBuilder};
use std::io::{Read as _, Write as _};

use super::build::{Tar, all, at, bytes, compressed};
use super::{Hostile, Stream, harmless, refused};
use crate::tarutil::header::{EntryHeader, EntryKind};

const BAD_HEADER: &str = "tar error: invalid tar header";
const PAX: &str = "tar error: invalid pax record";
const UNSUPPORTED: &str = "contained unsupported file type";
const TRUNCATED: &str = "unexpected EOF";

fn tar() -> Tar {
    Tar::default().file("first", b"whole")
}

/// A valid archive's compressed bytes, changed.
fn damaged(change: impl FnOnce(&mut Vec<u8>)) -> Stream {
    let mut archive = tar().file("second", &[7; 5000]).gz_bytes();
    change(&mut archive);
    bytes(archive)
}

fn kind(kind: EntryKind) -> Stream {
    tar().entry(EntryHeader::new("odd", kind), b"").gz()
}

fn sized(field: &[u8]) -> Stream {
    tar().patched("sized", b"x", at(124, field)).gz()
}

fn one_member_per(size: usize) -> Stream {
    let plain = all(Box::new(std::io::Cursor::new(
        tar().file("second", &[7; 500]).raw(&[0; 1024]).0,
    )));
    let members = plain
        .chunks(size)
        .map(|piece| all(compressed(std::io::Cursor::new(piece.to_vec()))));
    bytes(members.collect::<Vec<_>>().concat())
}

fn with_gzip_header(builder: GzBuilder) -> Stream {
    let mut gzip = builder.write(Vec::new(), Compression::fast());
    gzip.write_all(&tar().raw(&[0; 1024]).0)
        .expect("writing to memory does not fail");
    bytes(gzip.finish().expect("writing to memory does not fail"))
}

pub(super) const CASES: &[Hostile] = &[
    refused("character device", UNSUPPORTED, || {
        kind(EntryKind::CharDevice(1, 3))
    }),
    refused("block device", UNSUPPORTED, || {
        kind(EntryKind::BlockDevice(8, 0))
    }),
    refused(
        "named pipe",
        "tar file entry odd contained unsupported file type prw-r--r--",
        || kind(EntryKind::Fifo),
    ),
    refused("GNU sparse file of 10 GB", UNSUPPORTED, || {
        tar()
            .patched("s", b"", |block| {
                block[156] = b'S';
                block[257..265].copy_from_slice(b"ustar  \0");
                block[483..495].copy_from_slice(b"\x80\0\0\0\0\0\0\x02\x54\x0b\xe4\0");
            })
            .gz()
    }),
    refused("pax sparse file of 10 GB", UNSUPPORTED, || {
        let sparse = [
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.realsize", "10000000000"),
        ];
        tar()
            .pax(&sparse)
            .file("GNUSparseFile.0/s", b"1\n0\n0\n")
            .gz()
    }),
    refused("GNU multi-volume piece", UNSUPPORTED, || {
        kind(EntryKind::Other(b'M'))
    }),
    refused("GNU volume label", UNSUPPORTED, || {
        kind(EntryKind::Other(b'V'))
    }),
    refused("type flag of no meaning", UNSUPPORTED, || {
        kind(EntryKind::Other(0xfe))
    }),
    refused("checksum wrong", BAD_HEADER, || {
        tar().unsummed("x", b"x", |block| block[0] ^= 1).gz()
    }),
    refused("checksum blank", BAD_HEADER, || {
        tar()
            .unsummed("x", b"x", |block| block[148..156].fill(0))
            .gz()
    }),
    refused("noise", BAD_HEADER, || tar().raw(&[0xa5; 1024]).gz()),
    refused("size negative", BAD_HEADER, || sized(&[0xff; 12])),
    refused("size beyond all disks", "tar file exceeds", || {
        sized(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")
    }),
    refused("size no number", BAD_HEADER, || sized(b"9x9")),
    refused("size hides the next entry", BAD_HEADER, || {
        tar()
            .patched("x", &[0x11; 600], at(124, b"00000000001\0"))
            .gz()
    }),
    refused("mode no number", BAD_HEADER, || {
        tar().patched("x", b"x", at(100, b"rwxrwxr")).gz()
    }),
    refused("one zero block, then more", BAD_HEADER, || {
        tar().raw(&[0; 512]).file("late", b"x").gz()
    }),
    refused("pax size negative", PAX, || {
        tar().pax(&[("size", "-1")]).file("x", b"x").gz()
    }),
    refused("pax size beyond all numbers", PAX, || {
        tar()
            .pax(&[("size", "99999999999999999999")])
            .file("x", b"x")
            .gz()
    }),
    refused("pax size beyond all disks", "tar file exceeds", || {
        tar()
            .pax(&[("size", "9223372036854775807")])
            .file("x", b"x")
            .gz()
    }),
    refused("pax size hides the next entry", BAD_HEADER, || {
        tar().pax(&[("size", "1")]).file("x", &[0x11; 600]).gz()
    }),
    refused("pax time no number", PAX, || {
        tar().pax(&[("mtime", "soon")]).file("x", b"x").gz()
    }),
    refused("pax record length wrong", PAX, || {
        tar().record(b'x', b"99 path=evil\n").file("x", b"x").gz()
    }),
    refused("pax record length huge", PAX, || {
        tar()
            .record(b'x', b"18446744073709551615 path=evil\n")
            .file("x", b"x")
            .gz()
    }),
    refused("pax record length 0", PAX, || {
        tar().record(b'x', b"0 path=evil\n").file("x", b"x").gz()
    }),
    refused("pax record without a newline", PAX, || {
        tar().record(b'x', b"12 path=evilx").file("x", b"x").gz()
    }),
    refused("pax record without an equals sign", PAX, || {
        tar().record(b'x', b"10 pathxx\n").file("x", b"x").gz()
    }),
    refused("pax header for nothing", TRUNCATED, || {
        tar().pax(&[("path", "x")]).gz()
    }),
    refused("seventeen long names", "too large", || {
        (0..17)
            .fold(tar(), |tar, _| tar.record(b'L', b"x\0"))
            .file("x", b"x")
            .gz()
    }),
    refused("cut within a header", TRUNCATED, || {
        tar().raw(&[b'x'; 100]).cut()
    }),
    refused("cut within content", TRUNCATED, || {
        tar().patched("x", b"", at(124, b"00000001000\0")).cut()
    }),
    refused("cut within a pax header", TRUNCATED, || {
        tar()
            .patched("x", b"", |block| {
                block[156] = b'x';
                block[124..136].copy_from_slice(b"00000001000\0");
            })
            .cut()
    }),
    refused("gzip cut in the middle", TRUNCATED, || {
        damaged(|archive| archive.truncate(archive.len() / 2))
    }),
    refused("gzip cut before the checksum", TRUNCATED, || {
        damaged(|archive| archive.truncate(archive.len() - 8))
    }),
    refused("gzip checksum wrong", "tar error", || {
        damaged(|archive| {
            let at = archive.len() - 8;
            archive[at] ^= 1;
        })
    }),
    refused("gzip length wrong", "tar error", || {
        damaged(|archive| {
            let at = archive.len() - 1;
            archive[at] ^= 1;
        })
    }),
    refused("second gzip member damaged", "tar error", || {
        damaged(|archive| {
            let (mut first, second) = (all(tar().cut()), std::mem::take(archive));
            first.extend(second);
            let at = first.len() - 30;
            first[at] ^= 0xff;
            *archive = first;
        })
    }),
    refused("not compressed", "requires gzip-compressed body", || {
        bytes(tar().raw(&[0; 1024]).0)
    }),
    refused("nothing at all", "requires gzip-compressed body", || {
        bytes(Vec::new())
    }),
    refused("text", "requires gzip-compressed body", || {
        bytes(b"<html>404</html>".to_vec())
    }),
    refused("gzip magic alone", "requires gzip-compressed body", || {
        bytes(vec![0x1f, 0x8b])
    }),
    refused(
        "gzip method unknown",
        "requires gzip-compressed body",
        || damaged(|archive| archive[2] = 7),
    ),
    refused(
        "gzip name without an end",
        "requires gzip-compressed body",
        || {
            let endless = std::io::repeat(b'n').take(1 << 20);
            Box::new(
                std::io::Cursor::new(b"\x1f\x8b\x08\x08\0\0\0\0\0\xff".to_vec()).chain(endless),
            )
        },
    ),
    harmless("gzip header with everything", || {
        with_gzip_header(
            GzBuilder::new()
                .filename("../../evil")
                .comment("c")
                .extra(vec![0; 60_000]),
        )
    }),
    harmless("noise after the gzip stream", || {
        damaged(|archive| archive.extend([0xa5; 1000]))
    }),
    harmless("zeros after the gzip stream", || {
        damaged(|archive| archive.extend([0; 1000]))
    }),
    harmless("noise after the end mark", || {
        tar().raw(&[0; 1024]).raw(&[0xa5; 4096]).cut()
    }),
    harmless("no end mark", || tar().cut()),
    harmless("a member for every byte", || one_member_per(1)),
    harmless("members that split headers", || one_member_per(511)),
    harmless("ten thousand empty members", || {
        let empty = all(compressed(std::io::empty()));
        let mut archive = empty.repeat(10_000);
        archive.extend(tar().gz_bytes());
        bytes(archive)
    }),
    harmless("global header", || {
        tar()
            .record(b'g', b"19 path=../../evil\n")
            .file("x", b"x")
            .gz()
    }),
    harmless("time before all times", || {
        tar()
            .patched("x", b"x", at(136, b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0"))
            .gz()
    }),
    harmless("time after all times", || {
        tar()
            .patched(
                "x",
                b"x",
                at(136, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
            )
            .gz()
    }),
    harmless("numbers left empty", || {
        tar()
            .patched("x", b"", |block| {
                block[100..148].fill(0);
            })
            .gz()
    }),
];
