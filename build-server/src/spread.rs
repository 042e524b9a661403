//! Directories whose contents come and go, kept apart on the disk.
//!
//! ext4 does not give the number of a file that was deleted in the last minutes to a new one; it
//! looks at one number after the other until it finds one that rested. Trees that are written and
//! deleted again and again at one place make each new file ten times as slow in the end. The flag
//! of `chattr +T` says that what lies in a directory is unrelated: each subdirectory then begins
//! at another place of the disk.
//!
//! Which place that is follows from the name that a directory is made under. So one whose name is
//! used again and again is made under a random name, and renamed.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Directories that are not renamed yet are called so, and something random.
const NEW: &str = ".new-";

/// Makes the directory `dir`, for its owner alone, at a place of the disk of its own. Blocking.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when there is one; when its parent cannot be written.
pub(crate) fn create_apart(dir: &Path) -> io::Result<()> {
    let private = |path: &Path| DirBuilder::new().mode(0o700).create(path);
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let new = dir.with_file_name(format!("{NEW}{}", hex::encode(random)));
    private(&new)?;
    match renameat_with(CWD, &new, CWD, dir, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // A file system that cannot look and rename in one has no places that matter.
        Err(error) => {
            fs::remove_dir(&new)?;
            match error {
                rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS => private(dir),
                error => Err(error.into()),
            }
        }
    }
}

/// Removes below `dir` what [`create_apart`] of a process that was killed has left.
pub(crate) fn forget_unnamed(dir: &Path) -> io::Result<()> {
    for entry in dir.read_dir()? {
        let entry = entry?;
        let is_new = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(NEW));
        if is_new(&entry.file_name()) {
            // It is empty: what is not, is not ours.
            let _ = fs::remove_dir(entry.path());
        }
    }
    Ok(())
}

/// Tells the file system that the subdirectories of `dir` have nothing to do with each other.
/// Blocking.
#[cfg(target_os = "linux")]
pub(crate) fn spread_below(dir: &Path) {
    use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, open};
    let told = || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open(dir, flags, Mode::empty())?;
        ioctl_setflags(&dir, ioctl_getflags(&dir)? | IFlags::TOPDIR)
    };
    if let Err(error) = told() {
        // Other file systems have no such flag; most of them do not need it.
        tracing::debug!(%error, dir = %dir.display(), "the file system takes no advice");
    }
}

/// Tells nothing: only Linux has such a flag.
#[cfg(not(target_os = "linux"))]
pub(crate) fn spread_below(_: &Path) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, open, statfs};

    use super::*;

    /// What `statfs` says of ext2, ext3 and ext4.
    const EXT: u64 = 0xef53;

    #[test]
    fn a_directory_that_is_made_apart_replaces_none_and_leaves_nothing() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let names = || dir.path().read_dir().unwrap().count();
        let made = dir.path().join("m1");
        create_apart(&made).unwrap();
        let mode = made.metadata().unwrap().permissions().mode();
        assert_eq!((mode & 0o777, names()), (0o700, 1));
        let again = create_apart(&made).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(), 1);
        assert!(create_apart(&dir.path().join("missing/m1")).is_err());
        // What a kill between the two leaves.
        fs::create_dir(dir.path().join(".new-0123")).unwrap();
        forget_unnamed(dir.path()).unwrap();
        assert_eq!(names(), 1);
    }

    /// Measured by what the file system says itself: the numbers of files of one place are near.
    #[test]
    fn a_name_that_is_used_again_is_elsewhere_on_the_disk() {
        use std::collections::HashSet;
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let parent = dir.path().join("machines");
        fs::create_dir(&parent).unwrap();
        spread_below(&parent);
        let mut places = HashSet::new();
        for _life in 0..8 {
            let machine = parent.join("m1");
            create_apart(&machine).unwrap();
            fs::create_dir(machine.join("work")).unwrap();
            // No block group of ext4 has fewer numbers for files.
            places.insert(machine.join("work").metadata().unwrap().ino() / 1024);
            fs::remove_dir_all(&machine).unwrap();
        }
        let is_ext = u64::try_from(statfs(dir.path()).unwrap().f_type) == Ok(EXT);
        let groups = statfs(dir.path()).unwrap().f_files / 1024;
        if is_ext && groups > 100 {
            assert!(places.len() > 3, "{places:?}");
        }
    }

    #[test]
    fn advice_is_given_where_it_is_taken_and_nothing_else_changes() {
        let dir = tempfile::tempdir().unwrap();
        spread_below(dir.path());
        spread_below(&dir.path().join("missing"));
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let is_spread = |path: &Path| {
            let file = open(path, OFlags::RDONLY, Mode::empty()).unwrap();
            ioctl_getflags(&file).is_ok_and(|flags| flags.contains(IFlags::TOPDIR))
        };
        let is_ext = u64::try_from(statfs(dir.path()).unwrap().f_type) == Ok(EXT);
        assert_eq!(is_spread(dir.path()), is_ext);
        assert!(!is_spread(&dir.path().join("sub")));
    }
}
