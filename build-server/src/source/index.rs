//! Indexes: written for files that git did not write, and their times set without asking git to
//! look at every file again.
//!
//! Facts of the format: `gitformat-index` of git's documentation, versions 2 and 3.

use std::path::Path;

use build_core::clock::Timestamp;
use build_core::ids::CommitHash;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Signature, version and number of entries.
const HEAD: usize = 12;
/// Where the time of the last change stands in an entry.
const MODIFIED: usize = 8;
/// Numbers before the object id.
const STAT: usize = 40;
/// Flag of an entry that has two more bytes of flags.
const EXTENDED: u8 = 0x40;
/// The length of a name that tells that it is as long or longer.
const LONG: u16 = 0xfff;

/// Lets every entry of the index at `path` say that its file was last changed at `time`.
/// `false`, and nothing is changed, for a format that is not known here. Blocking.
pub(super) fn set_times(path: &Path, time: Timestamp) -> std::io::Result<bool> {
    let mut index = std::fs::read(path)?;
    let seconds = u32::try_from(time.as_seconds()).unwrap_or(0);
    // Which of both hashes it is, the last bytes tell.
    let known = patch::<Sha1>(&mut index, seconds).or_else(|| patch::<Sha256>(&mut index, seconds));
    if known.is_some() {
        std::fs::write(path, index)?;
    }
    Ok(known.is_some())
}

fn patch<D: Digest>(index: &mut [u8], seconds: u32) -> Option<()> {
    let hash_bytes = <D as Digest>::output_size();
    let end = index.len().checked_sub(hash_bytes)?;
    let count = entries(index, D::digest(&index[..end]).as_slice() == &index[end..])?;
    let places = places(&index[..end], count, hash_bytes)?;
    for at in places {
        let modified = index.get_mut(at + MODIFIED..at + MODIFIED + 8)?;
        modified[..4].copy_from_slice(&seconds.to_be_bytes());
        modified[4..].fill(0);
    }
    let digest = D::digest(&index[..end]);
    index[end..].copy_from_slice(digest.as_slice());
    Some(())
}

/// How many entries there are, when the head is one that is known.
fn entries(index: &[u8], is_whole: bool) -> Option<u32> {
    let head = index.first_chunk::<HEAD>()?;
    let is_known = head.starts_with(b"DIRC") && matches!(head[4..8], [0, 0, 0, 2 | 3]);
    let count = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    (is_known && is_whole).then_some(count)
}

/// Where each entry begins.
fn places(index: &[u8], count: u32, hash_bytes: usize) -> Option<Vec<usize>> {
    let (mut places, mut at) = (Vec::new(), HEAD);
    for _ in 0..count {
        places.push(at);
        let flags = at + STAT + hash_bytes;
        let more = index.get(flags)? & EXTENDED != 0;
        let name = flags + 2 + if more { 2 } else { 0 };
        let length = index.get(name..)?.iter().position(|byte| *byte == 0)?;
        // One to eight zero bytes end a name, so that entries are multiples of eight long.
        at += (name + length - at) / 8 * 8 + 8;
    }
    Some(places)
}

/// What git knows of a file's kind and permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileMode {
    Plain,
    Executable,
    Link,
}

impl FileMode {
    /// From the mode in a tree; `None` for what is no file.
    pub(super) fn of(mode: u32) -> Option<Self> {
        match (mode >> 12, mode & 0o100) {
            (0o10, 0) => Some(Self::Plain),
            (0o10, _) => Some(Self::Executable),
            (0o12, _) => Some(Self::Link),
            _ => None,
        }
    }

    /// As git writes files, before the umask.
    pub(super) fn permissions(self) -> u32 {
        match self {
            Self::Plain => 0o644,
            Self::Executable => 0o755,
            Self::Link => 0,
        }
    }

    fn in_index(self) -> u32 {
        match self {
            Self::Link => 0o120_000,
            file => 0o100_000 | file.permissions(),
        }
    }
}

/// An index that is being made, of files with the same time.
pub(super) struct NewIndex {
    bytes: Vec<u8>,
    count: u32,
    seconds: u32,
    is_sha256: bool,
}

impl NewIndex {
    /// For a checkout of `head`.
    pub(super) fn new(head: &CommitHash, time: Timestamp) -> Self {
        Self {
            bytes: b"DIRC\0\0\0\x02\0\0\0\0".to_vec(),
            count: 0,
            seconds: u32::try_from(time.as_seconds()).unwrap_or(0),
            is_sha256: head.as_str().len() == 2 * <Sha256 as Digest>::output_size(),
        }
    }

    /// Adds a file, `object` its contents; paths come sorted.
    ///
    /// # Errors
    /// `object` is not hexadecimal.
    pub(super) fn add(
        &mut self,
        path: &[u8],
        mode: FileMode,
        object: &str,
        size: u64,
    ) -> std::io::Result<()> {
        let object = hex::decode(object).map_err(std::io::Error::other)?;
        // As git counts sizes: without what is beyond 32 bits.
        let size = (size & u64::from(u32::MAX)) as u32;
        let stat = [0, 0, self.seconds, 0, 0, 0, mode.in_index(), 0, 0, size];
        let begin = self.bytes.len();
        for number in stat {
            self.bytes.extend_from_slice(&number.to_be_bytes());
        }
        self.bytes.extend_from_slice(&object);
        let length = u16::try_from(path.len()).map_or(LONG, |length| length.min(LONG));
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(path);
        let entry = self.bytes.len() - begin;
        self.bytes.resize(begin + entry / 8 * 8 + 8, 0);
        self.count += 1;
        Ok(())
    }

    /// Its contents.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes[8..HEAD].copy_from_slice(&self.count.to_be_bytes());
        match self.is_sha256 {
            true => self.bytes.extend_from_slice(&Sha256::digest(&self.bytes)),
            false => self.bytes.extend_from_slice(&Sha1::digest(&self.bytes)),
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index of one entry, as git writes it.
    fn index<D: Digest>(name: &[u8]) -> Vec<u8> {
        let mut index = b"DIRC\0\0\0\x02\0\0\0\x01".to_vec();
        index.extend([7; STAT]);
        index.extend(vec![9; <D as Digest>::output_size()]);
        index.extend([0, name.len() as u8]);
        index.extend(name);
        let entry = index.len() - HEAD;
        index.resize(HEAD + entry / 8 * 8 + 8, 0);
        let digest = D::digest(&index);
        index.extend(digest.as_slice());
        index
    }

    #[test]
    fn times_are_set_and_the_hash_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        for (length, index) in [index::<Sha1>(b"a/b"), index::<Sha256>(b"abcdefgh")]
            .into_iter()
            .map(|index| (index.len(), index))
        {
            std::fs::write(&path, index).unwrap();
            assert!(set_times(&path, Timestamp::from_seconds(0x0102_0304)).unwrap());
            let set = std::fs::read(&path).unwrap();
            assert_eq!(set.len(), length);
            assert_eq!(
                set[HEAD..][..16],
                [7, 7, 7, 7, 7, 7, 7, 7, 1, 2, 3, 4, 0, 0, 0, 0]
            );
            assert!(set_times(&path, Timestamp::from_seconds(1)).unwrap());
        }
    }

    #[test]
    fn what_is_not_known_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let mut other_version = index::<Sha1>(b"a");
        other_version[7] = 4;
        let mut torn = index::<Sha1>(b"a");
        torn.truncate(40);
        for odd in [other_version, torn, Vec::new()] {
            std::fs::write(&path, &odd).unwrap();
            assert!(!set_times(&path, Timestamp::from_seconds(1)).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), odd);
        }
    }
}
