//! Uncommitted files on top of a checkout.

use std::path::{Path, PathBuf};

use build_core::{Error, ErrorKind, Result};

use super::repo::{Repo, paths};

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
    let mut files = paths(&repo.run(&changed).await?)?;
    files.extend(paths(&repo.run(&added).await?)?);
    let target = target.to_owned();
    let copied = tokio::task::spawn_blocking(move || copy_all(&top, &target, &files)).await;
    copied.map_err(|e| Error::caused_by(ErrorKind::Bug, "copy the work tree", e))?
}

fn copy_all(top: &Path, target: &Path, files: &[String]) -> Result<()> {
    for file in files {
        let (from, to) = (top.join(file), target.join(file));
        let copied = copy(&from, &to);
        copied.map_err(|e| Error::from(e).while_doing(format!("copy {}", from.display())))?;
    }
    Ok(())
}

fn copy(from: &PathBuf, to: &Path) -> std::io::Result<()> {
    let about = match from.symlink_metadata() {
        Ok(about) => about,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return remove(to),
        Err(e) => return Err(e),
    };
    // A changed submodule, or a repository inside of this one: not ours to copy.
    if about.is_dir() {
        return Ok(());
    }
    if let Some(dir) = to.parent() {
        std::fs::create_dir_all(dir)?;
    }
    remove(to)?;
    if about.is_symlink() {
        return std::os::unix::fs::symlink(from.read_link()?, to);
    }
    std::fs::copy(from, to)?;
    std::fs::File::open(to)?.set_modified(about.modified()?)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(_) if path.is_dir() => std::fs::remove_dir_all(path),
        done => done,
    }
}
