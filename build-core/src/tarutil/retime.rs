//! An archive with other modification times.

use std::io::{self, BufReader, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::frame::Entries;
use super::gunzip::Gunzip;
use super::header::{EntryHeader, Modified};
use super::newest::bad;
use super::ustar::padding;

/// Fast rather than small: the archive goes to a machine nearby and is thrown away.
const LEVEL: u32 = 1;
/// Bytes of the archive that are handed on in one piece.
const BUFFER: usize = 128 << 10;

/// Copies a gzip-compressed archive; entries for which `time` gives one get that modification
/// time. Contents pass through unread, whatever their size.
///
/// # Errors
/// When `archive` cannot be read or is none, or `out` cannot be written; what was written is then
/// to be thrown away.
pub fn retime(
    archive: impl Read,
    out: impl Write,
    mut time: impl FnMut(&EntryHeader) -> Option<Modified>,
) -> io::Result<()> {
    let mut entries = Entries::new(BufReader::with_capacity(BUFFER, Gunzip::new(archive)));
    let mut out = GzEncoder::new(out, Compression::new(LEVEL));
    while let Some(header) = entries.next_entry().map_err(bad)? {
        let header = match time(&header) {
            Some(modified) => header.modified(modified),
            None => header,
        };
        out.write_all(&header.head_blocks())?;
        loop {
            let piece = entries.content().map_err(bad)?;
            if piece.is_empty() {
                break;
            }
            out.write_all(piece)?;
            let taken = piece.len();
            entries.consume(taken);
        }
        out.write_all(&vec![0; padding(header.size())])?;
    }
    // To the very end: what comes last is the checksum of it all.
    io::copy(entries.input_mut(), &mut io::sink())?;
    // Two blocks of zeros end an archive.
    out.write_all(&[0; 1024])?;
    out.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use super::super::file_list::FileList;
    use super::*;

    fn archive() -> Vec<u8> {
        let at = Modified {
            seconds: 1_600_000_000,
            nanos: 0,
        };
        let mut list = FileList::new();
        list.add(EntryHeader::dir("d").modified(at))
            .add_bytes(EntryHeader::file("d/old", 0).modified(at), "x".repeat(700))
            .add_bytes(EntryHeader::file("new", 0).modified(at).mode(0o755), "y")
            .add(EntryHeader::symlink("l", "t".repeat(300)).modified(at));
        let mut packed = Vec::new();
        list.open_gz().read_to_end(&mut packed).unwrap();
        packed
    }

    #[test]
    fn times_change_and_nothing_else() {
        let later = Modified {
            seconds: 1_700_000_000,
            nanos: 0,
        };
        let mut out = Vec::new();
        let change = |header: &EntryHeader| (header.path() == b"new").then_some(later);
        retime(&archive()[..], &mut out, change).unwrap();
        let read = |packed: &[u8]| {
            let mut entries = Entries::new(BufReader::new(Gunzip::new(packed)));
            let mut found = Vec::new();
            while let Some(entry) = entries.next_entry().unwrap() {
                let mut content = Vec::new();
                while let [first, ..] = entries.content().unwrap() {
                    content.push(*first);
                    entries.consume(1);
                }
                found.push((entry, content));
            }
            found
        };
        let (before, after) = (read(&archive()), read(&out));
        assert_eq!(before.len(), 4);
        for ((was, content), (is, same)) in before.into_iter().zip(after) {
            assert_eq!(content, same);
            let was = match was.path() {
                b"new" => was.modified(later),
                _ => was,
            };
            assert_eq!(was, is);
        }
    }

    #[test]
    fn what_is_cut_or_no_archive_is_an_error() {
        let whole = archive();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            assert!(
                retime(&whole[..cut], Vec::new(), |_| None).is_err(),
                "{cut}"
            );
        }
        assert!(retime(&b"nothing of the kind"[..], Vec::new(), |_| None).is_err());
    }
}
