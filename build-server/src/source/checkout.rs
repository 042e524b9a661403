//! A checkout of a commit in a directory, as a step sees it.

use std::path::{Path, PathBuf};

use build_core::clock::Timestamp;
use build_core::ids::CommitHash;
use build_core::tree::Beneath;
use build_core::{Error, ErrorKind, Result};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::git::without_passwords;
use super::history::{History, append};
use super::index;
use super::origin::Repos;
use super::repo::Repo;
use super::submodules::{self, Submodule};

/// Submodules in submodules, at most.
const MAX_NESTING: u32 = 8;

/// What to check out.
pub(super) struct Checkout<'a> {
    pub(super) repos: &'a Repos,
    pub(super) repo: Repo,
    pub(super) commit: CommitHash,
    pub(super) depth: u32,
    /// Whether the outermost repository is the user's own, whose submodules may name directories.
    pub(super) is_local: bool,
    pub(super) nesting: u32,
}

impl Checkout<'_> {
    /// Fills `target`, an empty directory: the files, `.git`, and submodules with theirs.
    /// Every file gets the time of the outermost commit.
    pub(super) async fn make(&self, target: &Path) -> Result<()> {
        self.repository(target).await?;
        self.work_tree(target).await
    }

    /// Makes `.git` in `target`, with nothing checked out yet.
    pub(super) async fn repository(&self, target: &Path) -> Result<()> {
        let history = History::new(&self.repo, target, &self.commit, &self.repos.packs);
        let remote = self.repo.remote();
        let ((), remote) = futures::try_join!(history.make(self.depth), remote)?;
        configure(target, remote.map(|(_, url)| url)).await
    }

    /// Checks out the files and the submodules.
    pub(super) async fn work_tree(&self, target: &Path) -> Result<()> {
        self.files(target).await?;
        self.large_files(target).await?;
        for submodule in submodules::of_checkout(&self.repo, target, self.is_local).await? {
            let named = format!("check out submodule {}", submodule.path);
            let made = self.nested(target, submodule).await;
            made.map_err(|e| e.while_doing(named))?;
        }
        Ok(())
    }

    async fn files(&self, target: &Path) -> Result<()> {
        let args = ["checkout", "--quiet", "--detach", self.commit.as_str()];
        self.repo.git.run(target, &args).await?;
        Ok(())
    }

    /// Git LFS is asked only when the repository uses it, as its `.gitattributes` say.
    async fn large_files(&self, target: &Path) -> Result<()> {
        let git = &self.repo.git;
        let top = target.to_owned();
        let looked = tokio::task::spawn_blocking(move || has_attributes(&top)).await;
        if !looked.map_err(|e| Error::caused_by(ErrorKind::Bug, "look for attributes", e))?? {
            return Ok(());
        }
        let listed = git
            .run(target, &["ls-files", "-z", ":(attr:filter=lfs)"])
            .await?;
        if listed.is_empty() {
            return Ok(());
        }
        if git.ask(target, &["lfs", "version"]).await?.is_none() {
            let text = "the repository keeps files in Git LFS, and git has no lfs command here";
            return Err(Error::new(ErrorKind::Invalid, text).with_hint("install git-lfs"));
        }
        // Not on the command line: what is set there holds in the remote repository as well, when
        // that is a directory.
        let storage = self.repo.git_dir.join("lfs").display().to_string();
        git.run(target, &["config", "lfs.storage", &storage])
            .await?;
        git.run_remote(target, &["lfs", "pull"]).await?;
        git.run(target, &["config", "--unset", "lfs.storage"])
            .await?;
        Ok(())
    }

    /// Boxed, for a checkout holds checkouts.
    fn nested<'b>(&'b self, target: &'b Path, submodule: Submodule) -> BoxFuture<'b, Result<()>> {
        async move {
            if self.nesting >= MAX_NESTING {
                let text = format!("submodules are nested deeper than {MAX_NESTING}");
                return Err(Error::new(ErrorKind::Limit, text));
            }
            let is_local = self.is_local && submodule.origin.is_here();
            let repo = self
                .repos
                .open_with(&submodule.origin, &submodule.commit)
                .await?;
            let inner = Checkout {
                repos: self.repos,
                repo,
                commit: submodule.commit,
                depth: self.depth,
                is_local,
                nesting: self.nesting + 1,
            };
            let dir = target.join(&submodule.path);
            let (top, path) = (target.to_owned(), submodule.path.clone());
            // Wherever git has put links: a submodule lies in real directories of its checkout.
            let make = move || {
                let mut top = Beneath::open(&top)?.without_links();
                top.create_dir_all(path.as_bytes()).map(drop)
            };
            let made = tokio::task::spawn_blocking(make).await;
            made.map_err(|e| Error::caused_by(ErrorKind::Bug, "make a directory", e))??;
            inner.make(&dir).await
        }
        .boxed()
    }
}

/// The index goes by size and second, which survive packing; the origin is named without password.
async fn configure(target: &Path, origin: Option<String>) -> Result<()> {
    let mut lines = "[core]\n\ttrustctime = false\n\tcheckStat = minimal\n".to_owned();
    if let Some(url) = origin {
        let url = without_passwords(&url)
            .replace('\\', r"\\")
            .replace('"', "\\\"");
        lines.push_str(&format!(
            "[remote \"origin\"]\n\turl = \"{url}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
        ));
    }
    append(&target.join(".git/config"), &lines).await
}

/// Whether a `.gitattributes` is somewhere below `dir`. Blocking.
fn has_attributes(dir: &Path) -> std::io::Result<bool> {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir()? {
            let entry = entry?;
            match entry.file_name() {
                name if name == ".gitattributes" => return Ok(true),
                name if name == ".git" => {}
                _ if entry.file_type()?.is_dir() => dirs.push(entry.path()),
                _ => {}
            }
        }
    }
    Ok(false)
}

/// Gives every file below `dir` the same time, except what is below a `.git`, and lets each
/// index know; the answer is the checkouts whose index is of an unknown format. Blocking.
pub(super) fn set_times(dir: &Path, time: Timestamp) -> std::io::Result<Vec<PathBuf>> {
    let mut strange = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir()? {
            let entry = entry?;
            if entry.file_name() == ".git" {
                if !index::set_times(&entry.path().join("index"), time)? {
                    strange.push(dir.clone());
                }
                continue;
            }
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            }
            set_time(&entry.path(), time)?;
        }
    }
    Ok(strange)
}

fn set_time(path: &Path, time: Timestamp) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let at = Timespec {
        tv_sec: time.as_seconds(),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: at,
        last_modification: at,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}
