//! A directory tree as an archive: sorted, filtered, without following links.
//!
//! Protocol facts: docs/protocol/buildlet.md, `/tgz`. Names are relative to the directory, which is
//! itself no entry; a tree that is a single file becomes one entry with its base name.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use thiserror::Error;

use super::glob::Glob;
use super::pargzip::{GzipOptions, PargzipWriter};
use super::walk::Walk;

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
    /// A path is longer than an archive may hold.
    #[error("{}… is too deep: its path is longer than {limit} bytes", path.display())]
    TooDeep {
        /// The beginning of the path.
        path: PathBuf,
        /// Bytes that a path may have.
        limit: usize,
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
    pub(super) root: OwnedFd,
    /// The base name when the tree is a single file.
    pub(super) single: Option<Vec<u8>>,
    pub(super) include: Vec<Glob>,
    pub(super) exclude: Vec<Glob>,
    pub(super) filter: Keep<'a>,
    pub(super) deterministic: bool,
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
        Self::of(rustix::fs::open(path, flags, Mode::empty())?, path)
    }

    /// What was opened at `path`, which names the only entry when it is a single file.
    ///
    /// # Errors
    /// When the system cannot tell what it is.
    pub fn of(root: OwnedFd, path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let single = (FileType::from_raw_mode(rustix::fs::fstat(&root)?.st_mode)
            != FileType::Directory)
            .then(|| {
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
    pub fn write_tar(self, mut out: impl Write) -> Result<Packed, PackError> {
        let packed = Walk::new(self, &mut out).run()?;
        out.flush().map_err(PackError::Write)?;
        Ok(packed)
    }

    /// Writes the archive as multi-member gzip, compressed on as many threads as `options` say.
    ///
    /// # Errors
    /// See [`PackError`]; the archive is then incomplete and must be thrown away.
    pub fn write_gz(self, out: impl Write, options: &GzipOptions) -> Result<Packed, PackError> {
        std::thread::scope(|scope| {
            let mut gzip = PargzipWriter::new(scope, out, options).map_err(PackError::Write)?;
            let packed = Walk::new(self, &mut gzip).run()?;
            gzip.finish().map_err(PackError::Write)?;
            Ok(packed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Entries;
    use super::super::header::EntryKind;
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
