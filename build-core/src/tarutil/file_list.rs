//! An ordered list of entries that is read as an archive, by any number of readers at once.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::GzEncoder;

use super::header::{BLOCK, EntryHeader, EntryKind};
use super::ustar::padding;
use crate::read_at::ReadAt;

/// Two zero blocks end an archive.
static END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

#[derive(Clone)]
struct Entry {
    header: EntryHeader,
    content: Option<Arc<dyn ReadAt>>,
}

/// Entries in order, each a header alone or a header with content that is read when it is needed.
///
/// Protocol facts: docs/protocol/buildlet.md, tarutil. A reader is a plain value: it has no thread,
/// so dropping it early leaves nothing behind.
#[derive(Clone, Default)]
pub struct FileList {
    entries: Vec<Entry>,
}

impl std::fmt::Debug for FileList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.entries.iter().map(|entry| &entry.header))
            .finish()
    }
}

impl FileList {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry without content: a directory, a link, an empty file.
    pub fn add(&mut self, header: EntryHeader) -> &mut Self {
        self.entries.push(Entry {
            header: EntryHeader { size: 0, ..header },
            content: None,
        });
        self
    }

    /// Adds a file of `size` bytes whose content is read from `content`, from offset 0, by each reader
    /// when it gets there. Content that turns out shorter is a read error, longer is cut.
    pub fn add_file(
        &mut self,
        header: EntryHeader,
        size: u64,
        content: Arc<dyn ReadAt>,
    ) -> &mut Self {
        let header = EntryHeader {
            size,
            kind: EntryKind::File,
            ..header
        };
        self.entries.push(Entry {
            header,
            content: Some(content),
        });
        self
    }

    /// Adds a file with this content.
    pub fn add_bytes(
        &mut self,
        header: EntryHeader,
        content: impl Into<bytes::Bytes>,
    ) -> &mut Self {
        let content = content.into();
        self.add_file(header, content.len() as u64, Arc::new(content))
    }

    /// The same entries in an order, with times and owners, that depend on nothing but names and
    /// content: sorted by name, time and owner 0; of two entries with one name the later stays.
    #[must_use]
    pub fn deterministic(self) -> Self {
        let by_name: BTreeMap<Vec<u8>, Entry> = (self.entries.into_iter())
            .map(|entry| {
                (
                    entry.header.path.clone(),
                    Entry {
                        header: entry.header.anonymous(),
                        ..entry
                    },
                )
            })
            .collect();
        Self {
            entries: by_name.into_values().collect(),
        }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A new reader of the archive, uncompressed.
    pub fn open(&self) -> FileListReader {
        FileListReader {
            entries: self.entries.clone().into(),
            next: 0,
            head: Vec::new(),
            at: 0,
            content: None,
            end: 0,
        }
    }

    /// A new reader of the archive, gzip-compressed (one member, level 6).
    pub fn open_gz(&self) -> GzEncoder<FileListReader> {
        GzEncoder::new(self.open(), Compression::new(6))
    }
}

struct Content {
    source: Arc<dyn ReadAt>,
    offset: u64,
    size: u64,
}

/// Reads a [`FileList`] as an uncompressed archive.
pub struct FileListReader {
    entries: Arc<[Entry]>,
    next: usize,
    /// Header blocks or padding that come before the content, and how much of them is read.
    head: Vec<u8>,
    at: usize,
    content: Option<Content>,
    /// Bytes of the end mark that are read.
    end: usize,
}

impl std::fmt::Debug for FileListReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileListReader")
            .field("entry", &self.next)
            .field("of", &self.entries.len())
            .finish()
    }
}

impl Read for FileListReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.at < self.head.len() {
                let n = copy(&self.head[self.at..], buf);
                self.at += n;
                return Ok(n);
            }
            if let Some(content) = &mut self.content {
                if content.offset < content.size {
                    return content.read(buf);
                }
                self.head = vec![0; padding(content.size)];
                self.at = 0;
                self.content = None;
                continue;
            }
            let Some(entry) = self.entries.get(self.next) else {
                let n = copy(&END[self.end..], buf);
                self.end += n;
                return Ok(n);
            };
            self.head = entry.header.head_blocks();
            self.at = 0;
            self.content = entry.content.clone().map(|source| Content {
                source,
                offset: 0,
                size: entry.header.size,
            });
            self.next += 1;
        }
    }
}

impl Content {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.offset).unwrap_or(usize::MAX);
        let most = buf.len().min(left);
        let n = self.source.read_at(&mut buf[..most], self.offset)?;
        if n == 0 && most > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "content is shorter than its entry says",
            ));
        }
        self.offset += n as u64;
        Ok(n)
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let n = from.len().min(to.len());
    to[..n].copy_from_slice(&from[..n]);
    n
}

#[cfg(test)]
mod tests {
    use super::super::frame::Entries;
    use super::super::header::Modified;
    use super::*;

    fn list() -> FileList {
        let mut list = FileList::new();
        let time = Modified {
            seconds: 1_600_000_000,
            nanos: 0,
        };
        list.add(EntryHeader::symlink("link", "regular.txt"))
            .add_bytes(
                EntryHeader::file("regular.txt", 0)
                    .modified(time)
                    .owner(5, 5),
                "foo bar",
            );
        list
    }

    fn read(mut reader: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn readers_of_one_list_are_independent() {
        let list = list();
        let (mut first, second) = (list.open(), list.open());
        let mut begin = [0; 700];
        first.read_exact(&mut begin).unwrap();
        let second = read(second);
        assert_eq!([begin.as_slice(), &read(first)].concat(), second);
        assert_eq!(read(list.open_gz()), read(list.open_gz()));
        assert_eq!(list.open_gz().read(&mut [0; 1]).unwrap(), 1);
        let mut entries = Entries::new(second.as_slice());
        let names = std::iter::from_fn(|| entries.next_entry().unwrap())
            .map(|entry| entry.path)
            .collect::<Vec<_>>();
        assert_eq!(names, [b"link".to_vec(), b"regular.txt".to_vec()]);
    }

    #[test]
    fn equal_entries_make_equal_archives_in_any_order() {
        let mut other = FileList::new();
        other.add_bytes(EntryHeader::file("regular.txt", 0), "old");
        other.add_bytes(EntryHeader::file("regular.txt", 0).owner(7, 7), "foo bar");
        other.add(EntryHeader::symlink("link", "regular.txt"));
        assert_eq!(
            read(list().deterministic().open()),
            read(other.deterministic().open())
        );
    }

    #[test]
    fn content_that_ends_early_is_an_error() {
        let mut list = FileList::new();
        list.add_file(EntryHeader::file("x", 0), 10, Arc::new(b"short".to_vec()));
        let error = list.open().read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
