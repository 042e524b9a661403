//! A repository's history kept in a log folder, so that it is read once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{GitLog, Repository, refs};
use crate::log::{LogFolder, LogWriter, Sha224Hex};
use crate::query::Commit;
use crate::source::MutationSink as _;
use crate::{Corpus, Error, GitHash, Options, Result, View};

/// Lists the commits that a shallow clone has without their parents.
const SHALLOW: &str = "shallow";
/// A folder within that of a kept log.
const WITHOUT_FILES: &str = "commits";

impl Repository {
    /// A hash of where `HEAD` and all refs point, and of where a shallow clone ends. As long as
    /// it is the same, so are the commits that [`next_batch`](Self::next_batch) would find. No
    /// object is read.
    ///
    /// # Errors
    /// When the refs cannot be read.
    pub fn position(&self) -> Result<Sha224Hex> {
        let mut text = refs::written(&self.git_dir, &self.common_dir)?;
        // Most repositories have none.
        text.extend(fs::read(self.common_dir.join(SHALLOW)).unwrap_or_default());
        Ok(Sha224Hex::of(&text))
    }

    /// `HEAD` and all refs, and the commits at which they pointed when
    /// [`next_batch`](Self::next_batch) last looked for commits.
    pub fn refs(&self) -> &BTreeMap<String, GitHash> {
        &self.found
    }

    /// Whether it has the refs of reviews, `refs/changes/…/meta`, as a copy of a Gerrit project
    /// may have.
    ///
    /// # Errors
    /// As [`position`](Self::position).
    pub fn has_reviews(&self) -> Result<bool> {
        let text = refs::written(&self.git_dir, &self.common_dir)?;
        let mut lines = text.split(|&byte| byte == b'\n');
        Ok(lines.any(|line| {
            let name = line.rsplit(|&byte| byte == b' ').next();
            name.is_some_and(|name| name.starts_with(b"refs/changes/") && name.ends_with(b"/meta"))
        }))
    }

    /// Whether the history ends before its beginning.
    pub fn is_shallow(&self) -> bool {
        self.common_dir.join(SHALLOW).exists()
    }

    /// Whether contents were left out when it was cloned, to be had from elsewhere.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// When objects arrived last, as far as the folders that hold them tell; nothing when they
    /// cannot be asked.
    pub fn objects_changed(&self) -> Option<SystemTime> {
        let folder = self.common_dir.join("objects");
        let folders = fs::read_dir(&folder)
            .ok()?
            .flatten()
            .map(|entry| entry.path());
        let changed = |folder: PathBuf| fs::metadata(folder).ok()?.modified().ok();
        folders.chain([folder.clone()]).filter_map(changed).max()
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
    /// shallow or a partial clone is not kept. Nobody else may use the folder for anything.
    ///
    /// While another process brings the same folder up to date, the repository is read as
    /// [`from_git`](Self::from_git) does.
    ///
    /// # Errors
    /// When there is no repository, it cannot be read, or the folder cannot be written.
    pub fn from_git_kept(path: impl AsRef<Path>, folder: impl AsRef<Path>) -> Result<Self> {
        Repository::open(path)?.into_kept_corpus(folder)
    }
}

impl Repository {
    /// As [`Corpus::from_git`]; without files of commits, when they are not
    /// [handed out](Self::without_files).
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn into_corpus(self) -> Result<Corpus> {
        Corpus::load(GitLog::of(self.anew()), Options::default())
    }

    /// As [`Corpus::from_git_kept`]; without files of commits, when they are not
    /// [handed out](Self::without_files), which is kept apart in the same folder.
    ///
    /// # Errors
    /// When it cannot be read, or the folder cannot be written.
    pub fn into_kept_corpus(self, folder: impl AsRef<Path>) -> Result<Corpus> {
        if self.is_shallow() || self.is_partial() {
            return self.into_corpus();
        }
        let folder = match self.files {
            true => folder.as_ref().to_owned(),
            false => folder.as_ref().join(WITHOUT_FILES),
        };
        match keep(self.anew(), &folder) {
            Err(Error::Locked { .. }) => self.into_corpus(),
            Ok(Some(corpus)) => Ok(corpus),
            Ok(None) => {
                // What is kept is no longer what the refs reach, or was damaged.
                remove(&folder)?;
                let corpus = keep(self.anew(), &folder)?;
                corpus.map_or_else(|| self.into_corpus(), Ok)
            }
            Err(error) => Err(error),
        }
    }

    /// The repository, of which nothing was handed out.
    fn anew(&self) -> Self {
        Self {
            git_dir: self.git_dir.clone(),
            files: self.files,
            partial: self.partial,
            ..Self::bare(&self.common_dir, &self.name)
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
        let alone = || {
            let repository = Repository::open(&repo).unwrap().without_files();
            let view = repository.into_kept_corpus(&kept).unwrap().view();
            let files = view.git().commits().map(|commit| commit.files().count());
            (view.git().commits().count(), files.sum::<usize>())
        };
        assert_eq!(alone(), (3, 0));
        commit("five");
        assert_eq!(alone(), (4, 0));
        same();
        fs::write(repo.join(".git/shallow"), "").unwrap();
        same();
    }
}
