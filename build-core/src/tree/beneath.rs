//! A directory handle below which everything happens: no path, link or race leads out of it.
//!
//! [`Beneath`] opens parents with `openat2(RESOLVE_BENEATH)`, so that links inside the tree work and links
//! out of it fail in the kernel. Where that call is missing (old kernels, some sandboxes, other Unix
//! systems), or by [`Beneath::without_links`], parents are walked component by component and no link
//! is followed at all.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, Timespec, Timestamps};
use rustix::io::Errno;

use crate::tarutil::{Modified, climbs_only_first};

const DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// A directory, and what is done below it.
///
/// Paths are bytes, relative and clean: no empty component, `.` or `..`; the empty path is the
/// directory itself. What a path's last component names is never followed, whatever it is.
///
/// ```
/// use build_core::tree::Beneath;
/// use std::io::Write as _;
/// let dir = tempfile::tempdir()?;
/// std::os::unix::fs::symlink("/", dir.path().join("out"))?;
/// let mut beneath = Beneath::open(dir.path())?;
/// beneath.create_file(b"a/b", 0o644)?.write_all(b"x")?;
/// assert!(beneath.open_file(b"a/b").is_ok());
/// assert!(beneath.open_file(b"out/etc/passwd").is_err());
/// assert!(beneath.create_file(b"out/tmp/x", 0o644).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
    /// The parent used last: archives list a directory's files together.
    last: Option<(Vec<u8>, OwnedFd)>,
    kernel_resolves: bool,
}

impl Beneath {
    /// Everything below the directory at `path`, which may itself be reached by links.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::new(rustix::fs::open(path, DIR, Mode::empty())?))
    }

    /// Everything below an open directory.
    pub fn new(root: OwnedFd) -> Self {
        let kernel_resolves = open_beneath(root.as_fd(), b".").is_ok();
        Self {
            root,
            last: None,
            kernel_resolves,
        }
    }

    /// No link on the way is followed from now on, not even one that stays inside.
    #[must_use]
    pub fn without_links(mut self) -> Self {
        self.kernel_resolves = false;
        self
    }

    /// The directory itself.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whether the kernel resolves links for us; else none is followed.
    pub(crate) fn kernel_resolves(&self) -> bool {
        self.kernel_resolves
    }

    /// The directory `path`, which must be there.
    ///
    /// # Errors
    /// `NotFound`; `CrossesDevices` when a link leads out; when a link may not be followed, or
    /// something on the way is no directory, `NotADirectory` or `FilesystemLoop`.
    pub fn open_dir(&self, path: &[u8]) -> io::Result<OwnedFd> {
        if path.is_empty() {
            return self.root.try_clone();
        }
        path.split(|&b| b == b'/').try_for_each(check)?;
        if self.kernel_resolves {
            return Ok(open_beneath(self.root.as_fd(), path)?);
        }
        let mut dir = self.root.try_clone()?;
        for component in path.split(|&b| b == b'/') {
            dir = rustix::fs::openat(&dir, component, DIR | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(dir)
    }

    /// The file or directory `path`, to be read; a pipe is not waited for.
    ///
    /// # Errors
    /// As [`Beneath::open_dir`]; `FilesystemLoop` when it is a link.
    pub fn open_file(&self, path: &[u8]) -> io::Result<File> {
        if path.is_empty() {
            return Ok(self.root.try_clone()?.into());
        }
        let (parent, name) = split(path)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = self.open_dir(parent)?;
        Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?.into())
    }

    /// What `path` leads to, to be read: a link that stays inside is followed at its end, too.
    ///
    /// # Errors
    /// As [`Beneath::open_dir`].
    pub fn open_target(&self, path: &[u8]) -> io::Result<File> {
        if !self.kernel_resolves || path.is_empty() {
            return self.open_file(path);
        }
        path.split(|&b| b == b'/').try_for_each(check)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let found = openat2(self.root.as_fd(), path, flags, Links::Followed)?;
        Ok(found.into())
    }

    /// Creates the directory `path` and its parents, mode 0755 minus umask.
    ///
    /// # Errors
    /// As [`Beneath::open_dir`], and when the system refuses.
    pub fn create_dir_all(&mut self, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        self.dir(path)
    }

    /// A new, empty file at `path`. What was there is replaced, never written through: neither a
    /// link's target nor another name of the same file changes.
    ///
    /// # Errors
    /// As [`Beneath::create_dir_all`], and when a directory is there.
    pub fn create_file(&mut self, path: &[u8], mode: u32) -> io::Result<File> {
        let (parent, name) = split(path)?;
        let dir = self.dir(parent)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = permissions(mode);
        let created = rustix::fs::openat(dir, name, flags, mode).or_else(|error| {
            if error != Errno::EXIST {
                return Err(error);
            }
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
            rustix::fs::openat(dir, name, flags, mode)
        })?;
        Ok(created.into())
    }

    /// A symbolic link at `path` to `target`, whatever that is; replaces what is there unless that is
    /// a directory.
    ///
    /// # Errors
    /// As [`Beneath::create_dir_all`], and when a directory is there.
    pub fn symlink(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let dir = self.dir(parent)?;
        replacing(dir, name, || rustix::fs::symlinkat(target, dir, name))
    }

    /// A second name `path` for the file `target`, both below the directory.
    pub(crate) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let (target_parent, target_name) = split(target)?;
        let from = self.open_dir(target_parent)?;
        let found = rustix::fs::statat(&from, target_name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Err(Errno::ISDIR.into());
        }
        let (parent, name) = split(path)?;
        let dir = self.dir(parent)?;
        if path == target {
            return Ok(());
        }
        // Without AT_SYMLINK_FOLLOW a link is linked as itself.
        replacing(dir, name, || {
            rustix::fs::linkat(&from, target_name, dir, name, AtFlags::empty())
        })
    }

    /// The target of the symbolic link at `path`, if there is one.
    pub(crate) fn link_target(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        let (parent, name) = split(path).ok()?;
        let dir = self.dir(parent).ok()?;
        Some(
            rustix::fs::readlinkat(dir, name, Vec::new())
                .ok()?
                .into_bytes(),
        )
    }

    /// Whether the symbolic link at `path` leads out of the root, or might once other links change:
    /// that is so when its target goes up again (`a/../b`) from what is not a real directory now.
    pub(crate) fn leads_out(&self, path: &[u8], target: &[u8]) -> bool {
        if !self.kernel_resolves {
            // Then only targets were allowed about which the text alone decides.
            return false;
        }
        let root = self.root.as_fd();
        if matches!(resolve(root, path, Links::Followed), Err(Errno::XDEV)) {
            return true;
        }
        let whole = [parent_of(path), target].join(&b'/');
        !climbs_only_first(target) && resolve(root, relative(&whole), Links::Refused).is_err()
    }

    pub(crate) fn remove(&mut self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let dir = self.dir(parent)?;
        Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
    }

    /// The directory `path`, created with its parents if need be.
    fn dir(&mut self, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        if path.is_empty() {
            return Ok(self.root.as_fd());
        }
        let known = self.last.as_ref().is_some_and(|(last, _)| last == path);
        if !known {
            let fd = match self.open_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_dirs(path)?,
                found => found?,
            };
            self.last = Some((path.to_vec(), fd));
        }
        Ok(self
            .last
            .as_ref()
            .map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    fn make_dirs(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let mut existing = path;
        let mut dir = loop {
            existing = parent_of(existing);
            match self.open_dir(existing) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !existing.is_empty() => {}
                found => break found?,
            }
        };
        let missing = path[existing.len()..]
            .split(|&b| b == b'/')
            .filter(|part| !part.is_empty());
        for component in missing {
            match rustix::fs::mkdirat(&dir, component, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            dir = rustix::fs::openat(&dir, component, DIR | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(dir)
    }
}

/// Sets access and modification time.
pub(crate) fn set_modified(file: &File, modified: Modified) -> io::Result<()> {
    let time = Timespec {
        tv_sec: modified.seconds,
        tv_nsec: modified.nanos.into(),
    };
    Ok(rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
    )?)
}

/// Bytes an unprivileged user may still write on the file system of `dir`.
pub(crate) fn free_bytes(dir: BorrowedFd<'_>) -> io::Result<u64> {
    let stat = rustix::fs::fstatvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn replacing(
    dir: BorrowedFd<'_>,
    name: &[u8],
    create: impl Fn() -> Result<(), Errno>,
) -> io::Result<()> {
    match create() {
        Err(Errno::EXIST) => {
            let found = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                return Err(Errno::ISDIR.into());
            }
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
            Ok(create()?)
        }
        done => Ok(done?),
    }
}

/// Parent and last component of a clean path that is not empty.
fn split(path: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let parent = parent_of(path);
    let name = relative(&path[parent.len()..]);
    check(name)?;
    Ok((parent, name))
}

fn parent_of(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&b| b == b'/');
    &path[..slash.unwrap_or(0)]
}

/// Refuses what is no name of an entry.
fn check(name: &[u8]) -> io::Result<()> {
    match name {
        b"" | b"." | b".." => Err(io::ErrorKind::InvalidInput.into()),
        _ => Ok(()),
    }
}

/// The permission bits alone: kinds and special bits are nobody's to ask for.
fn permissions(mode: u32) -> Mode {
    // A mode has 16 bits on some systems, 32 on others.
    let bits = RawMode::try_from(mode & 0o777).expect("nine bits fit into any mode");
    Mode::from_raw_mode(bits)
}

/// Without the slash that joining with an empty parent leaves in front.
fn relative(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"/").unwrap_or(path)
}

fn open_beneath(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    openat2(root, path, DIR, Links::Followed)
}

/// Finds `path` below `root`, whatever it is.
fn resolve(root: BorrowedFd<'_>, path: &[u8], links: Links) -> Result<OwnedFd, Errno> {
    let last = if links == Links::Refused {
        OFlags::NOFOLLOW
    } else {
        OFlags::empty()
    };
    openat2(root, path, PLACE | OFlags::CLOEXEC | last, links)
}

/// Opens a place without reading it: where a system can.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
const PLACE: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
const PLACE: OFlags = OFlags::NONBLOCK;

/// What happens to links on the way; the last component is another matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    Followed,
    Refused,
}

#[cfg(target_os = "linux")]
fn openat2(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    links: Links,
) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let mut how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    how.set(ResolveFlags::NO_SYMLINKS, links == Links::Refused);
    // EAGAIN: a rename elsewhere in the tree raced with the resolution of `..`.
    for _ in 0..16 {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(not(target_os = "linux"))]
fn openat2(_: BorrowedFd<'_>, _: &[u8], _: OFlags, _: Links) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_inside_are_followed_when_they_may_and_none_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("r"), dir.path().join("outside"));
        std::fs::create_dir_all(root.join("real")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("f"), "theirs").unwrap();
        for (target, name) in [("real", "in"), ("../outside", "out"), ("/etc", "etc")] {
            symlink(target, root.join(name)).unwrap();
        }
        let mut beneath = Beneath::open(&root).unwrap();
        let mut file = beneath.create_file(b"in/f", 0o644).unwrap();
        file.write_all(b"mine").unwrap();
        assert_eq!(std::fs::read(root.join("real/f")).unwrap(), b"mine");
        for path in [
            &b"out/f"[..],
            b"etc/passwd",
            b"out",
            b"in/../../outside/f",
            b"..",
            b"a//f",
        ] {
            assert!(beneath.open_file(path).is_err(), "{path:?}");
        }
        let crosses = |e: io::Error| e.kind() == io::ErrorKind::CrossesDevices;
        assert!(beneath.create_file(b"out/f", 0o644).is_err_and(crosses));
        assert!(beneath.create_dir_all(b"out/d").is_err_and(crosses));
        symlink("in/f", root.join("file")).unwrap();
        symlink("out/f", root.join("theirs")).unwrap();
        if beneath.kernel_resolves() {
            assert!(beneath.open_target(b"file").is_ok());
        }
        assert!(beneath.open_file(b"file").is_err());
        assert!(beneath.open_target(b"theirs").is_err_and(crosses));
        let strict = Beneath::open(&root).unwrap().without_links();
        for path in [
            &b"in/f"[..],
            b"../outside/f",
            b"real/../../outside/f",
            b"..",
        ] {
            assert!(strict.open_file(path).is_err(), "{path:?}");
        }
        assert!(strict.open_dir(b"in").is_err() && strict.open_dir(b"..").is_err());
        let mut text = String::new();
        let mut file = strict.open_file(b"real/f").unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "mine");
        assert_eq!(std::fs::read(outside.join("f")).unwrap(), b"theirs");
    }
}
