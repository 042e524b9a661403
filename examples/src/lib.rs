//! Worked examples of the libraries, one file each beside this folder.

use std::path::Path;
use std::process::Command;

/// A repository of one commit with a makefile, gone when it is dropped.
///
/// # Errors
/// When there is no `git`, or no temporary directory.
pub fn repository(makefile: &str) -> std::io::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("Makefile"), makefile)?;
    git(dir.path(), &["init", "-q", "-b", "main"])?;
    git(dir.path(), &["add", "-A"])?;
    git(dir.path(), &["commit", "-q", "-m", "first"])?;
    Ok(dir)
}

fn git(dir: &Path, args: &[&str]) -> std::io::Result<()> {
    let identity = [
        "-c",
        "user.name=Example",
        "-c",
        "user.email=example@localhost",
    ];
    let done = Command::new("git")
        .current_dir(dir)
        .args(identity)
        .args(args)
        .status()?;
    match done.success() {
        true => Ok(()),
        false => Err(std::io::Error::other(format!(
            "git {args:?} failed: {done}"
        ))),
    }
}
