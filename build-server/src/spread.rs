//! Directories whose contents come and go, kept apart on the disk.
//!
//! ext4 does not give the number of a file that was deleted in the last minutes to a new one; it
//! looks at one number after the other until it finds one that rested. Trees that are written and
//! deleted again and again at one place make each new file ten times as slow in the end. The flag
//! of `chattr +T` says that what lies in a directory is unrelated: each subdirectory then begins
//! at another place of the disk.

use std::path::Path;

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
