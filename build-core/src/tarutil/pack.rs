//! A directory tree as an archive: sorted, filtered, without following links.
//!
//! Protocol facts: docs/protocol/buildlet.md, `/tgz`. Names are relative to the directory, which is
//! itself no entry; a tree that is a single file becomes one entry with its base name.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use thiserror::Error;

use super::glob::Glob;
use super::header::{BLOCK, EntryHeader, EntryKind, Modified, padding};
use super::owners::Owners;
use super::pargzip::{GzipOptions, PargzipWriter};

/// Why a tree was not packed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PackError {
    /// A file or directory could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// Relative to the tree.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file became shorter while it was read.
    #[error("{} shrank while it was packed", path.display())]
    Shrank {
        /// Relative to the tree.
        path: PathBuf,
    },
    /// A socket: archives cannot hold one.
    #[error("{} is a socket", path.display())]
    Socket {
        /// Relative to the tree.
        path: PathBuf,
    },
    /// The archive could not be written, or not be compressed.
    #[error("writing the archive")]
    Write(#[source] io::Error),
}

/// What went into an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Packed {
    /// Entries of any kind.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

type Keep<'a> = Box<dyn FnMut(&[u8]) -> bool + 'a>;

/// A packing, ready to run.
///
/// ```
/// use build_core::tarutil::{GzipOptions, Pack};
/// let dir = tempfile::tempdir()?;
/// std::fs::create_dir_all(dir.path().join("out/bin"))?;
/// std::fs::write(dir.path().join("out/bin/app"), "x")?;
/// std::fs::write(dir.path().join("notes"), "y")?;
/// let mut archive = Vec::new();
/// let packed = Pack::open(dir.path())?.include("out/**").write_gz(&mut archive, &GzipOptions::default())?;
/// assert_eq!(packed.entries, 3); // out/, out/bin/, out/bin/app
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pack<'a> {
    root: OwnedFd,
    /// The base name when the tree is a single file.
    single: Option<Vec<u8>>,
    include: Vec<Glob>,
    exclude: Vec<Glob>,
    filter: Keep<'a>,
    deterministic: bool,
}

impl std::fmt::Debug for Pack<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pack")
            .field("include", &self.include)
            .field("exclude", &self.exclude)
            .finish_non_exhaustive()
    }
}

impl<'a> Pack<'a> {
    /// The tree at `path`: a directory or a single file.
    ///
    /// # Errors
    /// When it cannot be opened; so a missing directory is known before anything is written.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        // Not blocking: opening a pipe must not wait for its other end.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        let single = (file_type(&rustix::fs::fstat(&root)?) != FileType::Directory).then(|| {
            path.file_name()
                .map_or(b"file".to_vec(), |name| name.as_bytes().to_vec())
        });
        Ok(Self::new(root, single))
    }

    /// The tree below an open directory.
    pub fn beneath(dir: OwnedFd) -> Self {
        Self::new(dir, None)
    }

    fn new(root: OwnedFd, single: Option<Vec<u8>>) -> Self {
        let filter = Box::new(|_: &[u8]| true);
        Self {
            root,
            single,
            include: Vec::new(),
            exclude: Vec::new(),
            filter,
            deterministic: false,
        }
    }

    /// Packs only what matches this [`Glob`] or another one given; directories on the way are kept.
    #[must_use]
    pub fn include(mut self, glob: &str) -> Self {
        self.include.push(Glob::new(glob));
        self
    }

    /// Leaves out what matches this [`Glob`], a directory with everything below it.
    #[must_use]
    pub fn exclude(mut self, glob: &str) -> Self {
        self.exclude.push(Glob::new(glob));
        self
    }

    /// Leaves out paths, and everything below them, for which `keep` says no.
    #[must_use]
    pub fn filter(self, keep: impl FnMut(&[u8]) -> bool + 'a) -> Self {
        Self {
            filter: Box::new(keep),
            ..self
        }
    }

    /// Writes time and owner 0, so that equal trees make equal archives.
    #[must_use]
    pub fn deterministic(self) -> Self {
        Self {
            deterministic: true,
            ..self
        }
    }

    /// Writes the archive, uncompressed, in many small writes: hand in a buffer.
    ///
    /// # Errors
    /// See [`PackError`]; the archive is then incomplete and must be thrown away.
    pub fn write_tar(self, out: impl Write) -> Result<Packed, PackError> {
        let owners = if self.deterministic {
            Owners::default()
        } else {
            Owners::of_this_machine()
        };
        let single = self.single.clone();
        let mut walk = Walk {
            job: self,
            out,
            owners,
            packed: Packed::default(),
            pending: Vec::new(),
            buffer: Vec::new(),
        };
        walk.buffer.resize(128 << 10, 0);
        walk.run(single)?;
        walk.out
            .write_all(&[0; 2 * BLOCK])
            .map_err(PackError::Write)?;
        walk.out.flush().map_err(PackError::Write)?;
        Ok(walk.packed)
    }

    /// Writes the archive as multi-member gzip, compressed on as many threads as `options` say.
    ///
    /// # Errors
    /// See [`PackError`]; the archive is then incomplete and must be thrown away.
    pub fn write_gz(self, out: impl Write, options: &GzipOptions) -> Result<Packed, PackError> {
        std::thread::scope(|scope| {
            let mut gzip = PargzipWriter::new(scope, out, options).map_err(PackError::Write)?;
            let packed = self.write_tar(NeverFlushed(&mut gzip))?;
            gzip.finish().map_err(PackError::Write)?;
            Ok(packed)
        })
    }
}

/// Passes writes on but no flush: a flush would cut a gzip member short.
struct NeverFlushed<W>(W);

impl<W: Write> Write for NeverFlushed<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Walk<'a, W> {
    job: Pack<'a>,
    out: W,
    owners: Owners,
    packed: Packed,
    /// Directories entered but not yet written, because nothing in them was included so far.
    pending: Vec<EntryHeader>,
    buffer: Vec<u8>,
}

impl<W: Write> Walk<'_, W> {
    fn run(&mut self, single: Option<Vec<u8>>) -> Result<(), PackError> {
        let root = self
            .job
            .root
            .try_clone()
            .map_err(|error| unreadable(b"", error))?;
        match single {
            None => self.dir(root.as_fd(), b""),
            Some(name) => {
                let stat = rustix::fs::fstat(&root).map_err(|error| unreadable(&name, error))?;
                let header = self.header(name, &stat);
                self.file(header, root)
            }
        }
    }

    fn dir(&mut self, dir: BorrowedFd<'_>, path: &[u8]) -> Result<(), PackError> {
        for name in sorted_names(dir).map_err(|error| unreadable(path, error))? {
            let path = joined(path, &name);
            if self.job.exclude.iter().any(|glob| glob.matches(&path)) || !(self.job.filter)(&path)
            {
                continue;
            }
            self.entry(dir, &name, path)?;
        }
        Ok(())
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, name: &[u8], path: Vec<u8>) -> Result<(), PackError> {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|error| unreadable(&path, error))?;
        let wanted =
            self.job.include.is_empty() || self.job.include.iter().any(|glob| glob.matches(&path));
        let open = |flags| {
            let flags =
                flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::empty())
                .map_err(|error| unreadable(&path, error))
        };
        match file_type(&stat) {
            FileType::Directory => {
                let child = open(OFlags::DIRECTORY)?;
                let header = self.header(path.clone(), &stat);
                self.subdir(header, wanted, child.as_fd(), &path)
            }
            _ if !wanted => Ok(()),
            FileType::RegularFile => {
                let file = open(OFlags::empty())?;
                // What was opened counts, not what was there before.
                let stat = rustix::fs::fstat(&file).map_err(|error| unreadable(&path, error))?;
                let header = self.header(path, &stat);
                self.file(header, file)
            }
            FileType::Socket => Err(PackError::Socket { path: shown(&path) }),
            _ => {
                let header = self.link_or_device(path, name, &stat, dir)?;
                self.write_header(&header)
            }
        }
    }

    fn subdir(
        &mut self,
        header: EntryHeader,
        wanted: bool,
        dir: BorrowedFd<'_>,
        path: &[u8],
    ) -> Result<(), PackError> {
        let depth = self.pending.len();
        if wanted {
            self.write_header(&header)?;
        } else {
            self.pending.push(header);
        }
        self.dir(dir, path)?;
        self.pending.truncate(depth);
        Ok(())
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
                .write_all(&dir.encode())
                .map_err(PackError::Write)?;
            self.packed.entries += 1;
        }
        self.packed.entries += 1;
        self.out
            .write_all(&header.encode())
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
            .mode(stat.st_mode)
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

fn sorted_names(dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, rustix::io::Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn joined(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        name.to_vec()
    } else {
        [dir, b"/", name].concat()
    }
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn shown(path: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(path))
}

fn unreadable(path: &[u8], source: impl Into<io::Error>) -> PackError {
    PackError::Read {
        path: shown(path),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Entries;
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in ["b/c/x.o", "b/c/x.c", "b/y", "a.txt", "a/z", "out/bin/app"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        std::os::unix::fs::symlink("a.txt", dir.path().join("link")).unwrap();
        dir
    }

    fn names(pack: Pack<'_>) -> Vec<String> {
        let mut archive = Vec::new();
        let packed = pack.write_tar(&mut archive).unwrap();
        let mut entries = Entries::new(archive.as_slice());
        let names = std::iter::from_fn(|| entries.next_entry().unwrap());
        let names: Vec<_> = names
            .map(|entry| String::from_utf8(entry.path).unwrap())
            .collect();
        assert_eq!(packed.entries, names.len() as u64);
        names
    }

    #[test]
    fn entries_are_sorted_within_each_directory() {
        let dir = tree();
        let all = [
            "a/",
            "a/z",
            "a.txt",
            "b/",
            "b/c/",
            "b/c/x.c",
            "b/c/x.o",
            "b/y",
            "link",
            "out/",
            "out/bin/",
            "out/bin/app",
        ];
        assert_eq!(names(Pack::open(dir.path()).unwrap()), all);
    }

    #[test]
    fn filters_keep_the_directories_on_the_way() {
        let dir = tree();
        let pack = || Pack::open(dir.path()).unwrap();
        assert_eq!(
            names(pack().include("out/**")),
            ["out/", "out/bin/", "out/bin/app"]
        );
        assert_eq!(
            names(pack().include("**/x.*").exclude("**/*.o")),
            ["b/", "b/c/", "b/c/x.c"]
        );
        assert_eq!(
            names(pack().include("*.txt").include("link")),
            ["a.txt", "link"]
        );
        assert_eq!(
            names(pack().exclude("b").exclude("out/*").exclude("a*")),
            ["link", "out/"]
        );
        assert_eq!(
            names(pack().filter(|path| !path.starts_with(b"b/c") && path.len() < 4)),
            ["a/", "a/z", "b/", "b/y", "out/"]
        );
        assert!(names(pack().include("nothing")).is_empty());
    }

    #[test]
    fn links_are_packed_as_links() {
        let dir = tree();
        let mut archive = Vec::new();
        Pack::open(dir.path())
            .unwrap()
            .include("link")
            .write_tar(&mut archive)
            .unwrap();
        let link = Entries::new(archive.as_slice())
            .next_entry()
            .unwrap()
            .unwrap();
        assert_eq!(link.kind, EntryKind::Symlink(b"a.txt".to_vec()));
    }
}
