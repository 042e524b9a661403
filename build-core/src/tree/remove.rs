//! Removes a tree.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Descent;

/// What its owner may do with a directory that is to be removed.
const ALL_RIGHTS: Mode = Mode::RWXU;

/// Removes what is at `path`: a file, a link (not what it points to), or a directory with all that
/// is in it, however deep. Directories without permissions are given them; some tools write their
/// caches so.
///
/// What cannot be removed is left with what it is in, and everything else is removed all the same.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] when nothing is there; otherwise the first reason why something
/// is left, with its place.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    #[cfg(any(test, feature = "testing"))]
    if crate::plant::grows(crate::plant::ProcessPlant::RecursiveDelete) {
        return std::fs::remove_dir_all(path);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        let text = format!("{} cannot be removed", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::open(parent, flags, Mode::empty())?;
    remove_tree_at(parent.as_fd(), name.as_bytes())
}

/// As [`remove_tree`], of what is called `name` in an open directory.
///
/// # Errors
/// As [`remove_tree`].
pub fn remove_tree_at(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    if remove_leaf(parent, name)? {
        return Ok(());
    }
    let root = open(parent, name)?;
    let mut failed = None;
    empty(Descent::at(root)?, &mut failed)?;
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(error) => Err(failed.unwrap_or_else(|| error.into())),
        Ok(()) => Ok(()),
    }
}

/// Removes everything below the place; what failed first is noted.
fn empty(mut descent: Descent, failed: &mut Option<io::Error>) -> io::Result<()> {
    loop {
        while let Some(name) = descent.next_name() {
            let done = match remove_leaf(descent.dir(), &name) {
                Ok(true) => Ok(()),
                Ok(false) => go_into(&mut descent, &name),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = done {
                note(failed, &descent, &name, error);
            }
        }
        let Some(name) = descent.leave()? else {
            return Ok(());
        };
        match rustix::fs::unlinkat(descent.dir(), name.as_slice(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => note(failed, &descent, &name, error.into()),
        }
    }
}

fn note(failed: &mut Option<io::Error>, descent: &Descent, name: &[u8], error: io::Error) {
    if failed.is_none() {
        let name = String::from_utf8_lossy(name);
        let depth = descent.depth();
        let text = format!("{name:?}, {depth} directories below: {error}");
        *failed = Some(io::Error::new(error.kind(), text));
    }
}

/// Removes what is no directory; whether that was so.
fn remove_leaf(dir: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::ACCESS) => {
            // A directory may be listed without being searched.
            rustix::fs::fchmod(dir, ALL_RIGHTS)?;
            rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?
        }
        stat => stat?,
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Ok(false);
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::fchmod(dir, ALL_RIGHTS)?;
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
        }
        removed => removed?,
    }
    Ok(true)
}

/// Enters a directory, with the rights to remove what is in it.
fn go_into(descent: &mut Descent, name: &[u8]) -> io::Result<()> {
    match descent.enter(name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            allow(descent.dir(), name)?;
            descent.enter(name)
        }
        entered => entered,
    }
}

fn open(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            allow(dir, name)?;
            Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
        }
        opened => Ok(opened?),
    }
}

/// Gives the owner of a directory every right to it. It is opened first, so that a link that took
/// its place is refused and what that leads to keeps its rights.
#[cfg(target_os = "linux")]
fn allow(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    // To be named, it need not be readable.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    Ok(rustix::fs::chmod(path, ALL_RIGHTS)?)
}

/// Gives the owner of a directory every right to it, unless a link took its place.
#[cfg(not(target_os = "linux"))]
fn allow(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::chmodat(dir, name, ALL_RIGHTS, flags)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::descent::{deep, quick_dir};
    use super::*;

    #[test]
    fn ten_thousand_directories_in_each_other_are_removed() {
        let dir = quick_dir();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        deep(&tree, 10_000);
        // On a thread with a small stack, as a pool of threads has.
        let work = move || remove_tree(&tree).map(|()| tree.exists());
        let thread = std::thread::Builder::new().stack_size(128 << 10);
        let left = thread.spawn(work).unwrap().join().unwrap();
        assert!(!left.unwrap());
    }

    #[test]
    fn files_links_and_read_only_trees_are_removed_and_links_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, tree) = (dir.path().join("outside"), dir.path().join("tree"));
        fs::create_dir_all(tree.join("pkg/mod")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        fs::write(tree.join("pkg/mod/file"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("pkg/link")).unwrap();
        for path in ["pkg/mod", "pkg", ""] {
            fs::set_permissions(tree.join(path), fs::Permissions::from_mode(0o500)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && outside.join("kept").exists());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        remove_tree(&link).unwrap();
        assert!(outside.join("kept").exists());
        let missing = remove_tree(&link).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(remove_tree(Path::new("/")).is_err());
    }
}
