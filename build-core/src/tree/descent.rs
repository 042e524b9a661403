//! Down into a tree and up again, with few descriptors whatever its depth.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;

/// Directories that are kept open at a time: of a deeper tree the upper ones are opened again on
/// the way back.
const OPEN_AT_ONCE: usize = 24;

const DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Which directory it is, whatever it is called.
type Identity = (u64, u64);

/// A directory on the way down.
#[derive(Debug)]
struct Frame {
    /// Its name in the one above; empty for the root.
    name: Vec<u8>,
    identity: Identity,
    /// Names in it that were not asked for yet, the next one last.
    names: Vec<Vec<u8>>,
}

/// A place in a tree: the directory that is looked at, and those above it.
///
/// ```
/// use build_core::tree::Descent;
/// let dir = tempfile::tempdir()?;
/// std::fs::create_dir_all(dir.path().join("a/b"))?;
/// let root = std::fs::File::open(dir.path())?.into();
/// let mut descent = Descent::at(root)?;
/// assert_eq!(descent.next_name().as_deref(), Some(&b"a"[..]));
/// descent.enter(b"a")?;
/// assert_eq!(descent.next_name().as_deref(), Some(&b"b"[..]));
/// assert_eq!(descent.leave()?.as_deref(), Some(&b"a"[..]));
/// assert_eq!(descent.next_name(), None);
/// assert_eq!(descent.leave()?, None); // the root is not left
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Descent {
    frames: Vec<Frame>,
    /// Handles of the last frames, the last one at the back; never empty.
    open: VecDeque<OwnedFd>,
}

impl Descent {
    /// At the directory `root`, whose names are read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn at(root: OwnedFd) -> io::Result<Self> {
        let frame = Frame {
            name: Vec::new(),
            identity: identity(root.as_fd())?,
            names: names(root.as_fd())?,
        };
        Ok(Self {
            frames: vec![frame],
            open: VecDeque::from([root]),
        })
    }

    /// The directory that is looked at.
    ///
    /// # Panics
    /// Never: there is always one.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.open.back().expect("a descent has a directory").as_fd()
    }

    /// How many directories lie above the one that is looked at.
    pub fn depth(&self) -> usize {
        self.frames.len() - 1
    }

    /// The next name in this directory, in the order of bytes; `None` when all were given.
    pub fn next_name(&mut self) -> Option<Vec<u8>> {
        self.frames.last_mut()?.names.pop()
    }

    /// Goes into the directory `name` of this one. A link is not followed.
    ///
    /// # Errors
    /// When it is no directory, or cannot be opened or read; then the place stays.
    pub fn enter(&mut self, name: &[u8]) -> io::Result<()> {
        let dir = rustix::fs::openat(self.dir(), name, DIR, Mode::empty())?;
        let frame = Frame {
            name: name.to_vec(),
            identity: identity(dir.as_fd())?,
            names: names(dir.as_fd())?,
        };
        if self.open.len() == OPEN_AT_ONCE {
            self.open.pop_front();
        }
        self.frames.push(frame);
        self.open.push_back(dir);
        Ok(())
    }

    /// Goes up again; the name of the directory that was left, `None` at the root, which stays.
    ///
    /// # Errors
    /// When the directory above cannot be opened again, or is another one by now because the
    /// tree was moved about; then the descent has lost its place and must not be used any more.
    pub fn leave(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.frames.len() == 1 {
            return Ok(None);
        }
        if self.open.len() == 1 {
            let above = rustix::fs::openat(self.dir(), "..", DIR, Mode::empty())?;
            let known = self.frames[self.frames.len() - 2].identity;
            if identity(above.as_fd())? != known {
                return Err(io::Error::other(
                    "a directory was moved away while it was walked",
                ));
            }
            self.open.push_front(above);
        }
        self.open.pop_back();
        Ok(self.frames.pop().map(|frame| frame.name))
    }
}

fn identity(dir: BorrowedFd<'_>) -> Result<Identity, Errno> {
    let stat = rustix::fs::fstat(dir)?;
    let identity = (stat.st_dev as u64, stat.st_ino as u64);
    Ok(identity)
}

/// The names in a directory, the first one last.
fn names(dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

#[cfg(test)]
pub(super) use tests::{deep, quick_dir};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_tree_is_walked_with_few_descriptors() {
        let dir = quick_dir();
        let depth = 3000;
        deep(dir.path(), depth);
        let root = std::fs::File::open(dir.path()).unwrap().into();
        let mut descent = Descent::at(root).unwrap();
        while let Some(name) = descent.next_name() {
            descent.enter(&name).unwrap();
        }
        assert_eq!(descent.depth(), depth);
        assert!(descent.open.len() <= OPEN_AT_ONCE);
        let mut left = 0;
        while descent.leave().unwrap().is_some() {
            left += 1;
        }
        assert_eq!((left, descent.depth()), (depth, 0));
        super::super::remove_tree(&dir.path().join("d")).unwrap();
    }

    #[test]
    fn links_and_files_are_not_entered() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let root = std::fs::File::open(dir.path()).unwrap().into();
        let mut descent = Descent::at(root).unwrap();
        assert!(descent.enter(b"link").is_err());
        assert!(descent.enter(b"file").is_err());
        assert_eq!(descent.depth(), 0);
    }

    /// In memory where there is such a place: a disk takes its time for each directory.
    pub(in super::super) fn quick_dir() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
    }

    /// `d/d/d/…`, made without long paths.
    pub(in super::super) fn deep(at: &std::path::Path, depth: usize) {
        let mut dir: OwnedFd = std::fs::File::open(at).unwrap().into();
        for _ in 0..depth {
            rustix::fs::mkdirat(&dir, "d", Mode::from_raw_mode(0o755)).unwrap();
            dir = rustix::fs::openat(&dir, "d", DIR, Mode::empty()).unwrap();
        }
    }
}
