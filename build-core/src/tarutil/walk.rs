//! The run of a packing: directories in order, entries as they are found.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::header::{BLOCK, EntryHeader, EntryKind, Modified};
use super::owners::Owners;
use super::pack::{Pack, PackError, Packed};
use super::ustar::padding;
use crate::tree::Descent;

/// Bytes of a file read at a time.
const BUFFER: usize = 128 << 10;

/// A packing under way.
pub(super) struct Walk<'a, W> {
    job: Pack<'a>,
    out: W,
    owners: Owners,
    packed: Packed,
    /// Directories entered but not yet written, because nothing in them was included so far.
    pending: Vec<EntryHeader>,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Walk<'a, W> {
    pub(super) fn new(job: Pack<'a>, out: W) -> Self {
        let owners = if job.deterministic {
            Owners::default()
        } else {
            Owners::of_this_machine()
        };
        let buffer = vec![0; BUFFER];
        Self {
            job,
            out,
            owners,
            packed: Packed::default(),
            pending: Vec::new(),
            buffer,
        }
    }

    /// Writes everything and the end mark.
    pub(super) fn run(mut self) -> Result<Packed, PackError> {
        let root = self
            .job
            .root
            .try_clone()
            .map_err(|error| unreadable(b"", error))?;
        match self.job.single.take() {
            None => self.tree(root)?,
            Some(name) => {
                let stat = rustix::fs::fstat(&root).map_err(|error| unreadable(&name, error))?;
                let header = self.header(name, &stat);
                self.file(header, root)?;
            }
        }
        self.out
            .write_all(&[0; 2 * BLOCK])
            .map_err(PackError::Write)?;
        Ok(self.packed)
    }

    /// Everything below `root`, without recursion: a tree may be deeper than the stack.
    fn tree(&mut self, root: OwnedFd) -> Result<(), PackError> {
        let mut descent = Descent::at(root).map_err(|error| unreadable(b"", error))?;
        let mut path = Vec::new();
        // For each directory entered: how long the path was, how many headers were pending.
        let mut above = Vec::new();
        loop {
            while let Some(name) = descent.next_name() {
                let (length, pending) = (path.len(), self.pending.len());
                append(&mut path, &name)?;
                let job = &mut self.job;
                let is_left_out = job.exclude.iter().any(|glob| glob.matches(&path));
                if is_left_out || !(job.filter)(&path) {
                    path.truncate(length);
                } else if self.entry(descent.dir(), &name, &path)? {
                    descent
                        .enter(&name)
                        .map_err(|error| unreadable(&path, error))?;
                    above.push((length, pending));
                } else {
                    path.truncate(length);
                }
            }
            if descent
                .leave()
                .map_err(|error| unreadable(&path, error))?
                .is_none()
            {
                return Ok(());
            }
            let (length, pending) = above.pop().unwrap_or_default();
            path.truncate(length);
            self.pending.truncate(pending);
        }
    }

    /// Writes what is called `name` in `dir`; whether it is a directory that is to be entered.
    fn entry(&mut self, dir: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<bool, PackError> {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|error| unreadable(path, error))?;
        let wanted =
            self.job.include.is_empty() || self.job.include.iter().any(|glob| glob.matches(path));
        match file_type(&stat) {
            FileType::Directory => {
                let header = self.header(path.to_vec(), &stat);
                if wanted {
                    self.write_header(&header)?;
                } else {
                    self.pending.push(header);
                }
                return Ok(true);
            }
            _ if !wanted => {}
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = rustix::fs::openat(dir, name, flags, Mode::empty())
                    .map_err(|error| unreadable(path, error))?;
                // What was opened counts, not what was there before.
                let stat = rustix::fs::fstat(&file).map_err(|error| unreadable(path, error))?;
                let header = self.header(path.to_vec(), &stat);
                self.file(header, file)?;
            }
            FileType::Socket => return Err(PackError::Socket { path: shown(path) }),
            _ => {
                let header = self.link_or_device(path.to_vec(), name, &stat, dir)?;
                self.write_header(&header)?;
            }
        }
        Ok(false)
    }

    fn file(&mut self, header: EntryHeader, file: OwnedFd) -> Result<(), PackError> {
        let mut content = File::from(file).take(header.size);
        self.write_header(&header)?;
        let mut left = header.size;
        while left > 0 {
            let n = content
                .read(&mut self.buffer)
                .map_err(|error| unreadable(&header.path, error))?;
            if n == 0 {
                return Err(PackError::Shrank {
                    path: shown(&header.path),
                });
            }
            self.out
                .write_all(&self.buffer[..n])
                .map_err(PackError::Write)?;
            left -= n as u64;
        }
        self.packed.bytes += header.size;
        self.out
            .write_all(&[0; BLOCK][..padding(header.size)])
            .map_err(PackError::Write)
    }

    fn write_header(&mut self, header: &EntryHeader) -> Result<(), PackError> {
        for dir in std::mem::take(&mut self.pending) {
            self.out
                .write_all(&dir.head_blocks())
                .map_err(PackError::Write)?;
            self.packed.entries += 1;
        }
        self.packed.entries += 1;
        self.out
            .write_all(&header.head_blocks())
            .map_err(PackError::Write)
    }

    fn link_or_device(
        &self,
        path: Vec<u8>,
        name: &[u8],
        stat: &Stat,
        dir: BorrowedFd<'_>,
    ) -> Result<EntryHeader, PackError> {
        let kind = match file_type(stat) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new())
                    .map_err(|error| unreadable(&path, error))?;
                EntryKind::Symlink(target.into_bytes())
            }
            FileType::CharacterDevice => EntryKind::CharDevice(
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            ),
            FileType::BlockDevice => EntryKind::BlockDevice(
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            ),
            _ => EntryKind::Fifo,
        };
        Ok(EntryHeader {
            kind,
            size: 0,
            ..self.header(path, stat)
        })
    }

    fn header(&self, path: Vec<u8>, stat: &Stat) -> EntryHeader {
        let is_dir = file_type(stat) == FileType::Directory;
        let header = if is_dir {
            EntryHeader::dir(path)
        } else {
            EntryHeader::file(path, stat.st_size.unsigned_abs())
        };
        let modified = Modified {
            seconds: stat.st_mtime,
            nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
        };
        let header = header
            .mode(mode_of(stat))
            .modified(modified)
            .owner(stat.st_uid.into(), stat.st_gid.into());
        let (user, group) = (
            self.owners.user(stat.st_uid),
            self.owners.group(stat.st_gid),
        );
        let header = EntryHeader {
            user: user.to_vec(),
            group: group.to_vec(),
            ..header
        };
        if self.job.deterministic {
            header.anonymous()
        } else {
            header
        }
    }
}

/// Longest path of an entry: nothing that opens files by their paths could use a longer one, and
/// each entry of an archive holds its whole path.
const MAX_PATH_BYTES: usize = 32 << 10;

fn append(path: &mut Vec<u8>, name: &[u8]) -> Result<(), PackError> {
    if path.len() + name.len() >= MAX_PATH_BYTES {
        return Err(PackError::TooDeep {
            path: shown(path.get(..200).unwrap_or(path)),
            limit: MAX_PATH_BYTES,
        });
    }
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    Ok(())
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg_attr(
    target_os = "linux",
    expect(clippy::useless_conversion, reason = "a mode has 16 bits elsewhere")
)]
fn mode_of(stat: &Stat) -> u32 {
    u32::from(stat.st_mode)
}

fn shown(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path))
}

fn unreadable(path: &[u8], source: impl Into<io::Error>) -> PackError {
    PackError::Read {
        path: shown(path),
        source: source.into(),
    }
}
