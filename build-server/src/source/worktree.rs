//! Uncommitted files on top of a checkout.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use build_core::tree::remove_tree;
use build_core::{Error, ErrorKind, Result};

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
fn names(listed: &[u8]) -> Vec<PathBuf> {
    let pieces = listed.split(|&b| b == 0).filter(|p| !p.is_empty());
    pieces
        .map(|p| PathBuf::from(OsStr::from_bytes(p)))
        .collect()
}

fn copy_all(top: &Path, target: &Path, files: &[PathBuf]) -> Result<()> {
    for file in files {
        let copied = copy(top, target, file);
        copied.map_err(|e| {
            Error::from(e).while_doing(format!("copy {}", top.join(file).display()))
        })?;
    }
    Ok(())
}

fn copy(top: &Path, target: &Path, file: &Path) -> io::Result<()> {
    let (from, to) = (top.join(file), target.join(file));
    let about = match from.symlink_metadata() {
        // Git does not look through a link either: the file is gone, whatever the link leads to.
        Ok(_) if is_behind_a_link(top, file)? => return remove(target, file),
        Ok(about) => about,
        Err(e) if is_absent(&e) => return remove(target, file),
        Err(e) => return Err(e),
    };
    // A changed submodule, or a repository inside of this one: not ours to copy.
    if about.is_dir() {
        return Ok(());
    }
    real_parents(target, file)?;
    remove(target, file)?;
    if about.is_symlink() {
        return std::os::unix::fs::symlink(from.read_link()?, to);
    }
    std::fs::copy(from, &to)?;
    std::fs::File::open(to)?.set_modified(about.modified()?)
}

/// Whether a directory on the way from `top` to `file` is a link.
fn is_behind_a_link(top: &Path, file: &Path) -> io::Result<bool> {
    let mut dir = top.to_owned();
    for part in file.parent().into_iter().flat_map(Path::components) {
        dir.push(part);
        match dir.symlink_metadata() {
            Ok(about) if about.is_symlink() => return Ok(true),
            Ok(_) => {}
            Err(e) if is_absent(&e) => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

/// Makes the directories above `file` real ones: what the commit has in their place, such as a
/// link that leads out of the checkout, gives way and is never written through.
fn real_parents(target: &Path, file: &Path) -> io::Result<()> {
    let mut dir = target.to_owned();
    for part in file.parent().into_iter().flat_map(Path::components) {
        dir.push(part);
        match dir.symlink_metadata() {
            Ok(about) if about.is_dir() => continue,
            Ok(_) => std::fs::remove_file(&dir)?,
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(e),
        }
        std::fs::create_dir(&dir)?;
    }
    Ok(())
}

/// Removes what the checkout has there, unless a link leads to it.
fn remove(target: &Path, file: &Path) -> io::Result<()> {
    if is_behind_a_link(target, file)? {
        return Ok(());
    }
    match remove_tree(&target.join(file)) {
        Err(e) if is_absent(&e) => Ok(()),
        done => done,
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
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
    fn any_name_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (top, target) = (dir.path().join("top"), dir.path().join("t"));
        fs::create_dir_all(&top).unwrap();
        fs::create_dir_all(&target).unwrap();
        let odd = names(b"caf\xe9\0a\nb\0");
        odd.iter()
            .for_each(|name| fs::write(top.join(name), "x").unwrap());
        copy_all(&top, &target, &odd).unwrap();
        assert!(odd.iter().all(|name| target.join(name).is_file()));
    }
}
