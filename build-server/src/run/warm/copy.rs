//! Copies of directory trees, as cheap as the file system allows.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use build_core::event::CopiedBy;

use super::times::{Time, set_time, time_of};

/// What was copied.
pub(super) struct Copied {
    /// How, at worst.
    pub(super) by: CopiedBy,
    /// The latest time of anything in it.
    pub(super) newest: Time,
}

/// Copies the tree at `from` to `to`, which is not there yet: files, directories and links with
/// their modes and times, nothing through a link. Each file shares its blocks with the first one
/// until one of them is written to, where the file system can do that; hard links would not do,
/// for many tools write to files that they have made before. Blocking.
pub(super) fn copy_tree(from: &Path, to: &Path) -> io::Result<Copied> {
    let mut copied = Copied {
        by: CopiedBy::Reflink,
        newest: time_of(from)?,
    };
    let mut waiting = vec![PathBuf::new()];
    let mut dirs = Vec::new();
    while let Some(below) = waiting.pop() {
        let (source, target) = (from.join(&below), to.join(&below));
        DirBuilder::new().mode(0o700).create(&target)?;
        dirs.push(below.clone());
        for entry in source.read_dir()? {
            let entry = entry?;
            let below = below.join(entry.file_name());
            let (source, target) = (entry.path(), to.join(&below));
            let kind = entry.file_type()?;
            let time = time_of(&source)?;
            copied.newest = copied.newest.max(time);
            if kind.is_dir() {
                waiting.push(below);
            } else if kind.is_symlink() {
                symlink(fs::read_link(&source)?, &target)?;
                set_time(&target, time)?;
            } else if kind.is_file() {
                copied.by = copied.by.max(copy_file(&source, &target)?);
                set_time(&target, time)?;
            }
            // Sockets and pipes are nobody's any more.
        }
    }
    // The innermost first: a directory changes with what is made in it.
    for below in dirs.iter().rev() {
        let about = from.join(below).symlink_metadata()?;
        fs::set_permissions(to.join(below), about.permissions())?;
        set_time(&to.join(below), time_of(&from.join(below))?)?;
    }
    Ok(copied)
}

/// Files in which build tools write down where they were made.
fn may_name_places(name: &str) -> bool {
    let ends = [
        ".d", ".cmake", ".ninja", ".la", ".pc", ".mk", ".status", ".dep", ".P",
    ];
    let names = ["CMakeCache.txt", "Makefile", ".ninja_deps", ".ninja_log"];
    ends.iter().any(|end| name.ends_with(end)) || names.contains(&name)
}

/// The first such file in a tree that names `place`, by its path in the tree. Blocking.
pub(super) fn first_that_names(tree: &Path, place: &Path) -> Option<PathBuf> {
    let place = place.as_os_str().as_encoded_bytes();
    let mut waiting = vec![tree.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in dir.read_dir().ok()?.flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                waiting.push(entry.path());
                continue;
            }
            if !kind.is_file() || !may_name_places(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let text = fs::read(entry.path()).unwrap_or_default();
            if text.windows(place.len()).any(|part| part == place) {
                let below = entry.path();
                return below.strip_prefix(tree).ok().map(|below| {
                    // The first part is the number of the directory.
                    below.components().skip(1).collect()
                });
            }
        }
    }
    None
}

fn copy_file(from: &Path, to: &Path) -> io::Result<CopiedBy> {
    let mut source = File::open(from)?;
    let mode = source.metadata()?.permissions().mode() & 0o7777;
    let mut options = OpenOptions::new();
    let mut target = options.write(true).create_new(true).mode(0o600).open(to)?;
    let by = match share_blocks(&source, &target) {
        true => CopiedBy::Reflink,
        false => {
            io::copy(&mut source, &mut target)?;
            CopiedBy::Copy
        }
    };
    target.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(by)
}

#[cfg(target_os = "linux")]
fn share_blocks(from: &File, to: &File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn share_blocks(_: &File, _: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_as_the_first_one_and_nothing_is_shared() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("sub/x"), "x").unwrap();
        fs::set_permissions(from.join("sub/x"), fs::Permissions::from_mode(0o555)).unwrap();
        symlink("/nowhere", from.join("link")).unwrap();
        for (path, time) in [("sub/x", (7, 5)), ("link", (9, 0)), ("sub", (8, 0))] {
            set_time(&from.join(path), time).unwrap();
        }
        fs::set_permissions(from.join("sub"), fs::Permissions::from_mode(0o500)).unwrap();
        set_time(&from, (3, 0)).unwrap();
        let copied = copy_tree(&from, &to).unwrap();
        assert_eq!(copied.newest, (9, 0));
        for (path, time) in [
            ("sub/x", (7, 5)),
            ("link", (9, 0)),
            ("sub", (8, 0)),
            ("", (3, 0)),
        ] {
            assert_eq!(time_of(&to.join(path)).unwrap(), time, "{path}");
        }
        let mode = |path: &str| to.join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("sub"), mode("sub/x")), (0o500, 0o555));
        fs::set_permissions(to.join("sub/x"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(to.join("sub/x"), "y").unwrap();
        assert_eq!(fs::read(from.join("sub/x")).unwrap(), b"x");
    }
}
