//! The latest modification time in an archive.

use std::io::{self, BufReader, Read};

use super::frame::{Entries, FrameError};
use super::gunzip::Gunzip;
use super::header::Modified;

/// Bytes of the archive that are looked through in one piece.
const BUFFER: usize = 128 << 10;

/// The latest modification time of anything in a gzip-compressed archive, as it stands there; `None`
/// when nothing is in it. The contents are passed over, whatever their size.
///
/// # Errors
/// When `archive` cannot be read or is none.
pub fn newest(archive: impl Read) -> io::Result<Option<Modified>> {
    let mut entries = Entries::new(BufReader::with_capacity(BUFFER, Gunzip::new(archive)));
    let mut newest = None;
    while let Some(header) = entries.next_entry().map_err(bad)? {
        newest = newest.max(Some(header.modified));
    }
    // To the very end: what comes last is the checksum of it all.
    io::copy(entries.input_mut(), &mut io::sink())?;
    Ok(newest)
}

/// What a damaged archive is to whoever reads a file.
pub(super) fn bad(error: FrameError) -> io::Error {
    match error {
        FrameError::Read(error) => error,
        FrameError::Truncated => io::ErrorKind::UnexpectedEof.into(),
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::file_list::FileList;
    use super::super::header::EntryHeader;
    use super::*;

    fn at(seconds: i64) -> Modified {
        Modified { seconds, nanos: 0 }
    }

    fn packed(list: &FileList) -> Vec<u8> {
        let mut packed = Vec::new();
        list.open_gz().read_to_end(&mut packed).unwrap();
        packed
    }

    #[test]
    fn directories_and_links_count_as_files_do() {
        let mut list = FileList::new();
        assert_eq!(newest(&packed(&list)[..]).unwrap(), None);
        list.add_bytes(EntryHeader::file("a", 0).modified(at(7)), "x".repeat(700));
        assert_eq!(newest(&packed(&list)[..]).unwrap(), Some(at(7)));
        list.add(EntryHeader::dir("d").modified(at(9)));
        assert_eq!(newest(&packed(&list)[..]).unwrap(), Some(at(9)));
        list.add(EntryHeader::symlink("l", "a").modified(at(11)));
        let whole = packed(&list);
        assert_eq!(newest(&whole[..]).unwrap(), Some(at(11)));
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            assert!(newest(&whole[..cut]).is_err(), "{cut}");
        }
    }
}
