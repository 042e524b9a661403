//! A repository's history kept in a log folder, so that it is read once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{Repository, git_hash, refs};
use crate::log::{LogFolder, LogWriter, Sha224Hex};
use crate::query::Commit;
use crate::source::MutationSink as _;
use crate::{Corpus, Error, GitHash, Result, View};

/// Lists the commits that a shallow clone has without their parents.
const SHALLOW: &str = "shallow";

impl Repository {
    /// A hash of where `HEAD` and all refs point, and of where a shallow clone ends. As long as
    /// it is the same, so are the commits that [`next_batch`](Self::next_batch) would find.
    /// Reads no commit but those that refs point at.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn position(&self) -> Result<Sha224Hex> {
        let mut text = String::new();
        for (name, hash) in self.refs_now()? {
            text.push_str(&format!("{hash} {name}\n"));
        }
        // Most repositories have none.
        let shallow = fs::read(self.common_dir.join(SHALLOW)).unwrap_or_default();
        Ok(Sha224Hex::of(&[text.as_bytes(), &shallow].concat()))
    }

    fn refs_now(&self) -> Result<BTreeMap<String, GitHash>> {
        let found = refs::all(&self.git_dir, &self.common_dir, &self.objects()?)?;
        let named = found.into_iter().map(|(name, id)| (name, git_hash(&id)));
        Ok(named.collect())
    }

    /// What a log says of the refs of this repository.
    fn refs_in(&self, view: &View) -> BTreeMap<String, GitHash> {
        let project = view.gerrit().project("local", &self.name);
        let refs = project.map(|project| {
            let refs = project.refs();
            let named = refs.map(|found| (found.name().to_owned(), found.hash()));
            named.collect()
        });
        refs.unwrap_or_default()
    }
}

impl Corpus {
    /// [`from_git`](Self::from_git), and what was read is kept as a log in `folder`: the next
    /// time only new commits are read. History that was rewritten is read again, and that of a
    /// shallow clone is not kept. Nobody else may use the folder for anything.
    ///
    /// While another process brings the same folder up to date, the repository is read as
    /// [`from_git`](Self::from_git) does.
    ///
    /// # Errors
    /// When there is no repository, it cannot be read, or the folder cannot be written.
    pub fn from_git_kept(path: impl AsRef<Path>, folder: impl AsRef<Path>) -> Result<Self> {
        let (path, folder) = (path.as_ref(), folder.as_ref());
        let repository = Repository::open(path)?;
        if repository.common_dir.join(SHALLOW).exists() {
            return Self::from_git(path);
        }
        match keep(repository, folder) {
            Err(Error::Locked { .. }) => Self::from_git(path),
            Ok(Some(corpus)) => Ok(corpus),
            Ok(None) => {
                // What is kept is no longer what the refs reach, or was damaged.
                remove(folder)?;
                let corpus = keep(Repository::open(path)?, folder)?;
                corpus.map_or_else(|| Self::from_git(path), Ok)
            }
            Err(error) => Err(error),
        }
    }
}

/// Brings the log up to date; nothing when it is of another history.
fn keep(mut repository: Repository, folder: &Path) -> Result<Option<Corpus>> {
    let mut log = LogWriter::open(folder)?;
    let Ok(corpus) = Corpus::open(folder) else {
        return Ok(None);
    };
    let before = corpus.view();
    repository.said = repository.refs_in(&before);
    let known = |hash| {
        before
            .git()
            .try_commit(hash)
            .is_some_and(|c| Commit::is_known(&c))
    };
    loop {
        let mut batch = repository.next_batch(known)?;
        if batch.is_empty() {
            if !is_continued(&repository, &corpus)? {
                return Ok(None);
            }
            batch.extend(repository.next_refs());
        }
        if batch.is_empty() {
            return Ok(Some(corpus));
        }
        log.append_mutations(&batch)?;
        corpus.update()?;
    }
}

/// Whether everything that the log had can still be reached: each of its refs is where one is
/// now, or behind it.
fn is_continued(repository: &Repository, corpus: &Corpus) -> Result<bool> {
    let view = corpus.view();
    let is_behind = |old: GitHash| {
        let mut now = repository.found.values();
        now.any(|&tip| tip == old || view.git().has_ancestor(tip, old).unwrap_or(false))
    };
    let now = |name: &str| repository.found.get(name);
    let moved = repository
        .said
        .iter()
        .filter(|(name, old)| now(name) != Some(old));
    Ok(moved.map(|(_, old)| *old).all(is_behind))
}

/// Removes the files of a log, and the snapshot beside it.
fn remove(folder: &Path) -> Result<()> {
    for segment in LogFolder::open(folder)?.segments() {
        let path = segment.path();
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(folder: &Path, args: &[&str]) {
        let who = ["-c", "user.name=A", "-c", "user.email=a@example.com"];
        let done = Command::new("git")
            .args(who)
            .args(["-c", "init.defaultBranch=main"])
            .args(args)
            .current_dir(folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{args:?}: {said}");
    }

    fn size(folder: &Path) -> u64 {
        let segments = LogFolder::open(folder).unwrap();
        segments
            .segments()
            .iter()
            .map(crate::log::Segment::len)
            .sum()
    }

    #[test]
    fn only_new_commits_are_read_and_a_rewritten_history_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (repo, kept) = (dir.path().join("repo"), dir.path().join("kept"));
        fs::create_dir(&repo).unwrap();
        git(&repo, &["init", "--quiet"]);
        let commit = |text: &str| {
            fs::write(repo.join("file"), text).unwrap();
            git(&repo, &["add", "file"]);
            git(&repo, &["commit", "--quiet", "-m", text]);
        };
        let position = || Repository::open(&repo).unwrap().position().unwrap();
        let same = || {
            let kept = Corpus::from_git_kept(&repo, &kept).unwrap();
            let fresh = Corpus::from_git(&repo).unwrap();
            let dump = |corpus: &Corpus| corpus.view().canonical_dump().fingerprint();
            assert_eq!(dump(&kept), dump(&fresh));
        };
        commit("one");
        commit("two");
        same();
        let (before, length) = (position(), size(&kept));
        same();
        assert_eq!(
            (position(), size(&kept)),
            (before, length),
            "nothing is new"
        );
        commit("three");
        assert_ne!(position(), before);
        same();
        let longer = size(&kept);
        assert!(longer > length && longer < 2 * length, "{length} {longer}");
        git(&repo, &["branch", "side"]);
        git(&repo, &["tag", "-a", "-m", "t", "v1"]);
        same();
        // A deleted branch whose commits are elsewhere, then one whose commits are gone.
        git(&repo, &["branch", "-D", "side"]);
        same();
        git(&repo, &["tag", "-d", "v1"]);
        git(&repo, &["reset", "--quiet", "--hard", "HEAD~1"]);
        same();
        assert!(size(&kept) < longer, "read anew");
        // Somebody else is writing it.
        let lock = LogWriter::open(&kept).unwrap();
        commit("four");
        same();
        drop(lock);
        fs::write(repo.join(".git/shallow"), "").unwrap();
        same();
    }
}
