//! Uncommitted files on top of a checkout.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use build_core::tree::{Beneath, remove_tree_at};
use build_core::{Error, ErrorKind, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::repo::Repo;

/// Makes the checkout at `target` equal to the work tree of `repo`, except for ignored files.
pub(super) async fn overlay(repo: &Repo, target: &Path) -> Result<()> {
    let Some(top) = repo.top.clone() else {
        let text = format!("repository {} has no work tree", repo.place().display());
        return Err(Error::new(ErrorKind::Invalid, text));
    };
    let changed = [
        "diff",
        "--name-only",
        "-z",
        "--no-renames",
        "--no-ext-diff",
        "HEAD",
    ];
    let added = [
        "ls-files",
        "-z",
        "--others",
        "--exclude-standard",
        "--full-name",
    ];
    let mut files = names(&repo.run(&changed).await?);
    files.extend(names(&repo.run(&added).await?));
    let target = target.to_owned();
    let copied = tokio::task::spawn_blocking(move || copy_all(&top, &target, &files)).await;
    copied.map_err(|e| Error::caused_by(ErrorKind::Bug, "copy the work tree", e))?
}

/// Paths as git lists them, in any bytes that a file system allows.
fn names(listed: &[u8]) -> Vec<Vec<u8>> {
    let pieces = listed.split(|&b| b == 0).filter(|p| !p.is_empty());
    pieces.map(<[u8]>::to_vec).collect()
}

fn copy_all(top: &Path, target: &Path, files: &[Vec<u8>]) -> Result<()> {
    let mut copying = Copying {
        top: Beneath::open(top)?.without_links(),
        target: Beneath::open(target)?.without_links(),
    };
    for file in files {
        let copied = copying.copy(file);
        copied.map_err(|e| {
            let file = top.join(OsStr::from_bytes(file));
            Error::from(e).while_doing(format!("copy {}", file.display()))
        })?;
    }
    Ok(())
}

/// From one directory to another, through no link of either: somebody may work in the first one
/// meanwhile.
struct Copying {
    top: Beneath,
    target: Beneath,
}

impl Copying {
    fn copy(&mut self, file: &[u8]) -> io::Result<()> {
        let (above, name) = split(file);
        let from = match self.top.open_dir(above) {
            // Git does not look through a link either: the file is gone, whatever that leads to.
            Err(e) if is_absent(&e) => return self.remove(file),
            from => from?,
        };
        let about = match rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return self.remove(file),
            about => about?,
        };
        match FileType::from_raw_mode(about.st_mode) {
            FileType::Symlink => {
                let leads = rustix::fs::readlinkat(&from, name, Vec::new())?;
                self.make_room(file)?;
                self.target.symlink(file, leads.as_bytes())
            }
            FileType::RegularFile => self.copy_file(file, from.as_fd()),
            // A changed submodule, or a repository inside of this one, is not ours to copy; git knows
            // nothing else.
            _ => Ok(()),
        }
    }

    fn copy_file(&mut self, file: &[u8], from: BorrowedFd<'_>) -> io::Result<()> {
        let (_, name) = split(file);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut contents = File::from(rustix::fs::openat(from, name, flags, Mode::empty())?);
        let about = contents.metadata()?;
        self.make_room(file)?;
        let mut made = self.target.create_file(file, about.mode())?;
        io::copy(&mut contents, &mut made)?;
        made.set_permissions(Permissions::from_mode(about.mode() & 0o777))?;
        made.set_modified(about.modified()?)
    }

    /// Removes what the checkout has in the place of a file, and makes the directories above it real
    /// ones: what the commit has there, such as a link that leads out of the checkout, gives way and
    /// is never written through.
    fn make_room(&mut self, file: &[u8]) -> io::Result<()> {
        let slashes = file.iter().enumerate().filter(|(_, b)| **b == b'/');
        for (slash, _) in slashes {
            let dir = &file[..slash];
            match self.target.open_dir(dir) {
                Ok(_) => {}
                Err(e) if is_absent(&e) => {
                    self.remove(dir)?;
                    self.target.create_dir_all(dir)?;
                }
                Err(e) => return Err(e),
            }
        }
        self.remove(file)
    }

    /// Removes what the checkout has there, unless a link leads to it.
    fn remove(&mut self, file: &[u8]) -> io::Result<()> {
        let (above, name) = split(file);
        let removed = self.target.open_dir(above);
        match removed.and_then(|dir| remove_tree_at(dir.as_fd(), name)) {
            Err(e) if is_absent(&e) => Ok(()),
            done => done,
        }
    }
}

/// The directory of a path and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Nothing is there, or a file or a link is in the way.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    let is_link = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    is_link || matches!(error.kind(), NotFound | NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_is_written_removed_or_read_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (top, target, victim) = (
            dir.path().join("top"),
            dir.path().join("t"),
            dir.path().join("v"),
        );
        for made in [&top.join("out"), &target, &victim] {
            fs::create_dir_all(made).unwrap();
        }
        fs::write(victim.join("file"), "theirs").unwrap();
        fs::write(top.join("out/file"), "mine").unwrap();
        symlink(&victim, target.join("out")).unwrap();
        // In the commit `out` was a link; in the work tree it is a directory.
        copy_all(&top, &target, &["out".into(), "out/file".into()]).unwrap();
        assert_eq!(fs::read_to_string(target.join("out/file")).unwrap(), "mine");
        // The other way round: the files are gone, and the link is what is there.
        fs::remove_dir_all(top.join("out")).unwrap();
        symlink(&victim, top.join("out")).unwrap();
        copy_all(&top, &target, &["out/file".into(), "out".into()]).unwrap();
        assert_eq!(fs::read_link(target.join("out")).unwrap(), victim);
        copy_all(&top, &target, &["out/file".into()]).unwrap();
        assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "theirs");
    }

    #[test]
    fn files_and_directories_change_places_and_modes_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (top, target) = (dir.path().join("top"), dir.path().join("t"));
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::create_dir_all(target.join("f/below")).unwrap();
        fs::write(target.join("a"), "was a file").unwrap();
        fs::write(top.join("a/b/run"), "x").unwrap();
        fs::set_permissions(top.join("a/b/run"), Permissions::from_mode(0o755)).unwrap();
        fs::write(top.join("f"), "is one now").unwrap();
        symlink("/dev/null", top.join("n")).unwrap();
        let files = ["a", "a/b/run", "f", "f/below", "n", "gone/x"].map(|f| f.as_bytes().to_vec());
        copy_all(&top, &target, &files).unwrap();
        let run = target.join("a/b/run").metadata().unwrap();
        assert_eq!(run.permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_to_string(target.join("f")).unwrap(), "is one now");
        assert_eq!(
            fs::read_link(target.join("n")).unwrap(),
            Path::new("/dev/null")
        );
    }

    #[test]
    fn any_name_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (top, target) = (dir.path().join("top"), dir.path().join("t"));
        fs::create_dir_all(&top).unwrap();
        fs::create_dir_all(&target).unwrap();
        let odd = names(b"caf\xe9\0a\nb\0");
        odd.iter()
            .for_each(|name| fs::write(top.join(OsStr::from_bytes(name)), "x").unwrap());
        copy_all(&top, &target, &odd).unwrap();
        let is_there = |name: &Vec<u8>| target.join(OsStr::from_bytes(name)).is_file();
        assert!(odd.iter().all(is_there));
    }
}
