//! How much a tree takes of its disk.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::Descent;

/// In which units the system counts what files take.
const BLOCK: u64 = 512;

/// What a tree takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taken {
    /// Bytes of the disk, as the file system counts them.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
    /// Directories that could not be looked into.
    pub unread: u64,
}

/// Counts what is at `path` and below it, without following links and without leaving the file
/// system, until everything was seen or `goes_on` says that it is enough. A file with several names
/// counts once.
///
/// What comes and goes meanwhile may be counted or not.
///
/// # Errors
/// The tree itself cannot be opened, or was moved about while it was walked.
pub fn measure(path: &Path, goes_on: impl Fn(&Taken) -> bool) -> io::Result<Taken> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty())?;
    let about = rustix::fs::fstat(&root)?;
    let mut counting = Counting {
        taken: Taken::default(),
        device: numbers(&about).device,
        seen: HashSet::new(),
    };
    counting.add(&about);
    let mut descent = Descent::at(root)?;
    loop {
        while let Some(name) = descent.next_name() {
            counting.look(&mut descent, &name);
            if !goes_on(&counting.taken) {
                return Ok(counting.taken);
            }
        }
        if descent.leave()?.is_none() {
            return Ok(counting.taken);
        }
    }
}

/// Numbers of a file, in the types of no system.
struct Numbers {
    device: u64,
    file: u64,
    names: u64,
}

#[allow(
    clippy::unnecessary_cast,
    reason = "their types are others on other systems"
)]
fn numbers(about: &Stat) -> Numbers {
    Numbers {
        device: about.st_dev as u64,
        file: about.st_ino as u64,
        names: about.st_nlink as u64,
    }
}

struct Counting {
    taken: Taken,
    device: u64,
    /// Files with several names, by their numbers.
    seen: HashSet<u64>,
}

impl Counting {
    /// Counts one entry, and goes into it if it is a directory of this file system.
    fn look(&mut self, descent: &mut Descent, name: &[u8]) {
        let about = rustix::fs::statat(descent.dir(), name, AtFlags::SYMLINK_NOFOLLOW);
        // What is gone takes nothing.
        let Ok(about) = about else { return };
        let is_dir = FileType::from_raw_mode(about.st_mode) == FileType::Directory;
        let about_it = numbers(&about);
        let has_names = !is_dir && about_it.names > 1;
        if about_it.device != self.device || has_names && !self.seen.insert(about_it.file) {
            return;
        }
        self.add(&about);
        if is_dir
            && let Err(error) = descent.enter(name)
            && error.kind() != io::ErrorKind::NotFound
        {
            self.taken.unread += 1;
        }
    }

    fn add(&mut self, about: &Stat) {
        let blocks = u64::try_from(about.st_blocks).unwrap_or_default();
        self.taken.bytes = self
            .taken
            .bytes
            .saturating_add(blocks.saturating_mul(BLOCK));
        self.taken.entries += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::symlink;

    use super::*;

    fn all(path: &Path) -> Taken {
        measure(path, |_| true).unwrap()
    }

    #[test]
    fn what_is_taken_is_counted_once_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        fs::create_dir_all(root.join("a/b")).unwrap();
        assert_eq!(all(&root).entries, 3);
        let empty = all(&root).bytes;
        fs::write(root.join("a/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(root.join("a/file"), root.join("a/b/same")).unwrap();
        fs::write(dir.path().join("outside"), vec![1; 1_000_000]).unwrap();
        symlink(dir.path(), root.join("out")).unwrap();
        let taken = all(&root);
        assert_eq!((taken.entries, taken.unread), (5, 0));
        let added = taken.bytes - empty;
        assert!((100_000..300_000).contains(&added), "{added}");
    }

    #[test]
    fn a_deep_tree_is_counted_and_enough_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let mut below: OwnedFd = fs::File::open(dir.path()).unwrap().into();
        for _ in 0..2000 {
            rustix::fs::mkdirat(&below, "d", Mode::RWXU).unwrap();
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            below = rustix::fs::openat(&below, "d", flags, Mode::empty()).unwrap();
        }
        assert_eq!(all(dir.path()).entries, 2001);
        let some = measure(dir.path(), |taken| taken.entries < 100).unwrap();
        assert_eq!(some.entries, 100);
        super::super::remove_tree(&dir.path().join("d")).unwrap();
        assert!(measure(&dir.path().join("d"), |_| true).is_err());
    }
}
