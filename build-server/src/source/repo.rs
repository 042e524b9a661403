//! Questions to one repository on this machine.

use std::path::{Path, PathBuf};

use build_core::clock::Timestamp;
use build_core::ids::CommitHash;
use build_core::name::Name;
use build_core::tarutil::Glob;
use build_core::{Error, ErrorKind, Result};

use super::git::{Git, text};

/// What the whole names of branches begin with.
const HEADS: &[u8] = b"refs/heads/";

/// A repository on this machine: the user's, or our mirror of a remote one.
#[derive(Clone, Debug)]
pub(super) struct Repo {
    pub(super) git: Git,
    /// The directory that holds objects and refs.
    pub(super) git_dir: PathBuf,
    /// Top of the work tree, if there is one.
    pub(super) top: Option<PathBuf>,
}

/// What the log says of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommitInfo {
    pub(super) hash: CommitHash,
    pub(super) time: Timestamp,
    pub(super) author: String,
    pub(super) subject: String,
}

impl CommitInfo {
    /// Reads hash, time, author and subject, a line each.
    fn parse(record: &str) -> Result<Self> {
        let mut lines = record.lines();
        let hash = CommitHash::new(lines.next().unwrap_or_default())?;
        let seconds = lines.next().and_then(|line| line.parse().ok());
        let seconds = seconds
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("commit {hash} has no time")))?;
        Ok(Self {
            hash,
            time: Timestamp::from_seconds(seconds),
            author: lines.next().unwrap_or_default().to_owned(),
            subject: lines.next().unwrap_or_default().to_owned(),
        })
    }
}

impl Repo {
    /// The repository around `path`.
    pub(super) async fn open(git: &Git, path: &Path) -> Result<Self> {
        let args = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
        let git_dir = match git.run(path, &args).await {
            Ok(line) => PathBuf::from(text(&line)),
            Err(error) if error.to_string().contains("not a git repository") => {
                let text = format!("{} is not in a git repository", path.display());
                return Err(Error::new(ErrorKind::NotFound, text)
                    .with_hint("run `git init` there, or name another directory"));
            }
            Err(error) => return Err(error),
        };
        let top = git.ask(path, &["rev-parse", "--show-toplevel"]).await?;
        Ok(Self {
            git: git.clone(),
            git_dir,
            top: top.filter(|t| !t.is_empty()).map(PathBuf::from),
        })
    }

    /// Where commands run: the work tree if there is one, for `HEAD` is the work tree's.
    fn dir(&self) -> &Path {
        self.top.as_deref().unwrap_or(&self.git_dir)
    }

    /// What users call it: its directory.
    pub(super) fn place(&self) -> &Path {
        self.dir()
    }

    pub(super) async fn run(&self, args: &[&str]) -> Result<Vec<u8>> {
        let named = |e: Error| e.while_doing(format!("ask repository {}", self.dir().display()));
        self.git.run(self.dir(), args).await.map_err(named)
    }

    pub(super) async fn ask(&self, args: &[&str]) -> Result<Option<String>> {
        self.git.ask(self.dir(), args).await
    }

    /// The commit that `rev` names.
    pub(super) async fn resolve(&self, rev: &str) -> Result<CommitHash> {
        if rev.starts_with('-') {
            return Err(self.no_such_revision(rev));
        }
        let wanted = format!("{rev}^{{commit}}");
        let found = self
            .ask(&["rev-parse", "--verify", "--quiet", &wanted])
            .await?;
        match found {
            Some(hash) => CommitHash::new(hash),
            None if self.is_empty().await? => Err(self.no_commits()),
            None => Err(self.no_such_revision(rev)),
        }
    }

    fn no_such_revision(&self, rev: &str) -> Error {
        let text = format!(
            "repository {} has no revision {rev:?}",
            self.dir().display()
        );
        let dir = self.dir().display();
        let hint =
            format!("list what there is with: git -C {dir} branch --all && git -C {dir} tag");
        Error::new(ErrorKind::NotFound, text).with_hint(hint)
    }

    fn no_commits(&self) -> Error {
        let text = format!("repository {} has no commits yet", self.dir().display());
        Error::new(ErrorKind::Invalid, text)
            .with_hint("commit something, or build with --worktree after a first commit")
    }

    /// Whether nothing was ever committed to any branch.
    pub(super) async fn is_empty(&self) -> Result<bool> {
        let refs = self.run(&["for-each-ref", "--count=1"]).await?;
        let head = self
            .ask(&["rev-parse", "--verify", "--quiet", "HEAD"])
            .await?;
        Ok(refs.is_empty() && head.is_none())
    }

    /// Whether the commit is here.
    pub(super) async fn has(&self, commit: &CommitHash) -> Result<bool> {
        let object = format!("{commit}^{{commit}}");
        Ok(self.ask(&["cat-file", "-e", &object]).await?.is_some())
    }

    /// The branch that is checked out, or the one a mirror's `HEAD` names.
    pub(super) async fn head_branch(&self) -> Result<Option<Name>> {
        let args = ["symbolic-ref", "--quiet", "HEAD"];
        let name = self.git.ask_bytes(self.dir(), &args).await?;
        let name = name
            .as_deref()
            .map(|name| name.strip_prefix(HEADS).unwrap_or(name));
        Ok(name.map(|name| name.trim_ascii_end().into()))
    }

    /// The branch that `rev` names, if it names one.
    pub(super) async fn branch_called(&self, rev: &str) -> Result<Option<Name>> {
        let name = format!("refs/heads/{rev}");
        let found = self
            .ask(&["show-ref", "--verify", "--quiet", &name])
            .await?;
        Ok(found.map(|_| rev.into()))
    }

    /// The default branch, and those that one of `globs` matches, with their commits.
    pub(super) async fn branches(&self, globs: &[String]) -> Result<Vec<(Name, CommitHash)>> {
        let format = "--format=%(objectname) %(refname:lstrip=2)";
        let listed = self.run(&["for-each-ref", format, "refs/heads"]).await?;
        let head = self.head_branch().await?;
        let globs: Vec<_> = globs.iter().map(|glob| Glob::new(glob)).collect();
        let is_wanted = |name: &Name| {
            head.as_ref() == Some(name) || globs.iter().any(|g| g.matches(name.as_bytes()))
        };
        let mut found = Vec::new();
        for line in listed
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let Some(space) = line.iter().position(|&byte| byte == b' ') else {
                let shown = Name::from(line);
                let text = format!("git lists a branch as {shown}");
                return Err(Error::new(ErrorKind::Corrupt, text));
            };
            let name = Name::from(&line[space + 1..]);
            if is_wanted(&name) {
                let commit = CommitHash::new(String::from_utf8_lossy(&line[..space]))?;
                found.push((name, commit));
            }
        }
        Ok(found)
    }

    /// What the log says of a commit.
    pub(super) async fn info(&self, commit: &CommitHash) -> Result<CommitInfo> {
        let mut infos = self.infos(&["-1", commit.as_str()]).await?;
        infos
            .pop()
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("git shows no commit {commit}")))
    }

    /// What it says of those before a commit on its branch, newest first.
    pub(super) async fn before(
        &self,
        commit: &CommitHash,
        limit: usize,
    ) -> Result<Vec<CommitInfo>> {
        let count = format!("-{limit}");
        let args = ["--first-parent", "--skip=1", &count, commit.as_str()];
        self.infos(&args).await
    }

    async fn infos(&self, which: &[&str]) -> Result<Vec<CommitInfo>> {
        let format = [
            "log",
            "--no-show-signature",
            "-z",
            "--format=%H%n%ct%n%ae%n%s",
        ];
        let shown = self.run(&[&format, which].concat()).await?;
        let shown = String::from_utf8_lossy(&shown);
        let records = shown.split('\0').filter(|r| !r.is_empty());
        records.map(CommitInfo::parse).collect()
    }

    /// The file that names the branch that is checked out.
    pub(super) async fn head_file(&self) -> Result<PathBuf> {
        let args = ["rev-parse", "--path-format=absolute", "--git-path", "HEAD"];
        Ok(PathBuf::from(text(&self.run(&args).await?)))
    }

    /// Whether `base` is `commit` or before it.
    pub(super) async fn is_ancestor(&self, base: &CommitHash, commit: &CommitHash) -> Result<bool> {
        let args = [
            "merge-base",
            "--is-ancestor",
            base.as_str(),
            commit.as_str(),
        ];
        Ok(self.ask(&args).await?.is_some())
    }

    /// Paths that differ between two commits; `None` when one is not UTF-8.
    pub(super) async fn changed(
        &self,
        base: &CommitHash,
        commit: &CommitHash,
    ) -> Result<Option<Vec<String>>> {
        let args = [
            "diff-tree",
            "-r",
            "-z",
            "--name-only",
            "--no-renames",
            "--ignore-submodules=none",
        ];
        let args = [&args[..], &[base.as_str(), commit.as_str()]].concat();
        Ok(paths(&self.run(&args).await?))
    }

    /// How many files of the work tree differ from `HEAD`, new ones included; any bytes in a name.
    pub(super) async fn uncommitted(&self) -> Result<usize> {
        let listed = self.status().await?;
        Ok(listed
            .split(|&b| b == 0)
            .filter(|line| !line.is_empty())
            .count())
    }

    /// Those files; `None` when one has a name that is not UTF-8.
    pub(super) async fn uncommitted_paths(&self) -> Result<Option<Vec<String>>> {
        let Some(lines) = paths(&self.status().await?) else {
            return Ok(None);
        };
        // Two letters and a space stand before each path.
        let files = lines.iter().filter_map(|line| line.get(3..));
        Ok(Some(files.map(str::to_owned).collect()))
    }

    async fn status(&self) -> Result<Vec<u8>> {
        if self.top.is_none() {
            return Ok(Vec::new());
        }
        let args = [
            "status",
            "--porcelain",
            "-z",
            "--untracked-files=all",
            "--no-renames",
        ];
        self.run(&args).await
    }
}

/// Paths separated by zero bytes; `None` when one is not UTF-8.
fn paths(listed: &[u8]) -> Option<Vec<String>> {
    let pieces = listed.split(|&b| b == 0).filter(|p| !p.is_empty());
    pieces.map(|p| String::from_utf8(p.to_vec()).ok()).collect()
}
