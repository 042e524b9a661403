//! Questions to one repository on this machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use build_core::clock::Timestamp;
use build_core::ids::CommitHash;
use build_core::name::Name;
use build_core::tarutil::Glob;
use build_core::{Error, ErrorKind, Result};

use super::git::{Git, text};

/// What the whole names of branches begin with.
const HEADS: &[u8] = b"refs/heads/";
/// What those of tags begin with.
const TAGS: &str = "refs/tags/";

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
    /// Its message asks not to be built.
    pub(super) skip: bool,
}

/// What a message says that asks not to be built, in any case.
const SKIP: [&str; 3] = ["[skip ci]", "[ci skip]", "[no ci]"];

/// A tag of a commit.
pub(super) struct TagInfo {
    pub(super) name: Name,
    pub(super) commit: CommitInfo,
}

impl CommitInfo {
    /// Reads hash, time, author and subject, a line each, then the message. A time that git cannot
    /// read is that of 1970.
    fn parse(record: &str) -> Result<Self> {
        let mut lines = record.lines();
        let hash = CommitHash::new(lines.next().unwrap_or_default())?;
        let time = seconds(lines.next().unwrap_or_default());
        let author = lines.next().unwrap_or_default().to_owned();
        let subject = lines.next().unwrap_or_default().to_owned();
        let rest: String = lines.collect::<Vec<_>>().join("\n");
        Ok(Self {
            hash,
            time,
            author,
            skip: asks_to_skip(&subject) || asks_to_skip(&rest),
            subject,
        })
    }
}

fn asks_to_skip(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    SKIP.iter().any(|mark| message.contains(mark))
}

/// Seconds as git prints them: those before 1970 as numbers that have run over.
fn seconds(text: &str) -> Timestamp {
    let seconds = text.parse::<u64>().map_or(0, u64::cast_signed);
    let is_sane = |seconds: &i64| seconds.unsigned_abs() < 1 << 40;
    Timestamp::from_seconds(Some(seconds).filter(is_sane).unwrap_or_default())
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

    /// The same as text, for a log.
    pub(super) fn name(&self) -> String {
        self.dir().display().to_string()
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

    /// What `rev` names below `refs/heads/` or `refs/tags/`, if it names `commit`: of a branch and a
    /// tag with one name git takes the tag.
    async fn called(&self, below: &str, rev: &str, commit: &CommitHash) -> Result<Option<Name>> {
        let name = rev.strip_prefix(below).unwrap_or(rev);
        let full = format!("{below}{name}^{{commit}}");
        let args = ["rev-parse", "--verify", "--quiet", &full];
        let found = self.ask(&args).await?;
        let same = found.filter(|hash| hash == commit.as_str());
        Ok(same.map(|_| name.into()))
    }

    /// The branch that `rev` names, if it names one.
    pub(super) async fn branch_called(
        &self,
        rev: &str,
        commit: &CommitHash,
    ) -> Result<Option<Name>> {
        self.called("refs/heads/", rev, commit).await
    }

    /// The tag that `rev` names, if it names one.
    pub(super) async fn tag_called(&self, rev: &str, commit: &CommitHash) -> Result<Option<Name>> {
        self.called("refs/tags/", rev, commit).await
    }

    /// The remote that the repository came from, with its URL: `origin`, else the first.
    pub(super) async fn remote(&self) -> Result<Option<(String, String)>> {
        let listed = self
            .ask(&["config", "-z", "--get-regexp", r"^remote\..*\.url$"])
            .await?
            .unwrap_or_default();
        let remotes = listed.split('\0').filter_map(|entry| {
            let (key, url) = entry.split_once('\n')?;
            let name = key.strip_prefix("remote.")?.strip_suffix(".url")?;
            Some((name.to_owned(), url.to_owned()))
        });
        let remotes: Vec<_> = remotes.collect();
        let origin = remotes.iter().find(|(name, _)| name == "origin");
        Ok(origin.or(remotes.first()).cloned())
    }

    /// The default branch: the one that the remote names, when it is here as well, else what is
    /// checked out. `None` when a commit is checked out and no remote says more.
    pub(super) async fn default_branch(&self) -> Result<Option<Name>> {
        if let Some((name, _)) = self.remote().await? {
            let prefix = format!("refs/remotes/{name}/");
            let head = format!("{prefix}HEAD");
            let named = self.ask(&["symbolic-ref", "--quiet", &head]).await?;
            let named = named.as_deref().and_then(|n| n.strip_prefix(&prefix));
            if let Some(branch) = named {
                let local = format!("refs/heads/{branch}");
                let args = ["show-ref", "--verify", "--quiet", &local];
                if self.ask(&args).await?.is_some() {
                    return Ok(Some(branch.into()));
                }
            }
        }
        self.head_branch().await
    }

    /// The tags of commits that one of `globs` matches.
    pub(super) async fn tags(&self, globs: &[String]) -> Result<Vec<TagInfo>> {
        if globs.is_empty() {
            return Ok(Vec::new());
        }
        let globs: Vec<_> = globs.iter().map(|glob| Glob::new(glob)).collect();
        let mut tags = Vec::new();
        for (name, commit) in self.commits_of_refs(&[TAGS.to_owned()]).await? {
            let name = name.strip_prefix(TAGS).unwrap_or(&name);
            if globs.iter().any(|glob| glob.matches(name.as_bytes())) {
                let name = name.into();
                tags.push(TagInfo { name, commit });
            }
        }
        Ok(tags)
    }

    /// The refs below some directories, by their whole names, with the commits that they lead to.
    pub(super) async fn commits_of_refs(
        &self,
        below: &[String],
    ) -> Result<Vec<(String, CommitInfo)>> {
        // Of an annotated tag the commit behind it, else the ref's own object.
        let of = |star: &str| {
            format!(
                "%({star}objecttype)%0a%({star}objectname)%0a%({star}committerdate:unix)%0a\
                 %({star}authoremail:trim)%0a%({star}contents:subject)"
            )
        };
        let format = format!("--format=%(refname)%0a{}%0a{}%00", of("*"), of(""));
        let mut args = vec!["for-each-ref", &format];
        args.extend(below.iter().map(String::as_str));
        let listed = self.run(&args).await?;
        let listed = String::from_utf8_lossy(&listed);
        let mut found = Vec::new();
        for record in listed.split('\0') {
            let lines: Vec<&str> = record.trim_start_matches('\n').split('\n').collect();
            let (Some(name), Some(peeled), Some(own)) =
                (lines.first(), lines.get(1..6), lines.get(6..11))
            else {
                continue;
            };
            let commit = [peeled, own].into_iter().find(|of| of[0] == "commit");
            if let Some(commit) = commit {
                let info = CommitInfo::parse(&commit[1..].join("\n"))?;
                found.push(((*name).to_owned(), info));
            }
        }
        Ok(found)
    }

    /// Where a commit and those before it stand among others by time: at their own time, but behind
    /// their first parents. As far as the last `limit` of them go.
    pub(super) async fn places(
        &self,
        commit: &CommitHash,
        limit: usize,
    ) -> Result<HashMap<CommitHash, Timestamp>> {
        let count = format!("-{limit}");
        let args = ["rev-list", "--first-parent", "--timestamp", &count];
        let listed = self.run(&[&args[..], &[commit.as_str()]].concat()).await?;
        let listed = String::from_utf8_lossy(&listed);
        let mut places = HashMap::new();
        let mut last: Option<Timestamp> = None;
        for line in listed.lines().rev() {
            let Some((time, hash)) = line.split_once(' ') else {
                continue;
            };
            let behind = last.map(|last| last + Duration::from_micros(1));
            let place = behind.map_or(seconds(time), |behind| behind.max(seconds(time)));
            places.insert(CommitHash::new(hash)?, place);
            last = Some(place);
        }
        Ok(places)
    }

    /// The default branch, and those that one of `globs` matches, with their commits.
    pub(super) async fn branches(
        &self,
        default: Option<&Name>,
        globs: &[String],
    ) -> Result<Vec<(Name, CommitHash)>> {
        let format = "--format=%(objectname) %(refname:lstrip=2)";
        let listed = self.run(&["for-each-ref", format, "refs/heads"]).await?;
        let globs: Vec<_> = globs.iter().map(|glob| Glob::new(glob)).collect();
        let is_wanted =
            |name: &Name| default == Some(name) || globs.iter().any(|g| g.matches(name.as_bytes()));
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

    /// What it says of those before a commit on its branch, newest first; those of `other`, a
    /// branch, are left out.
    pub(super) async fn before(
        &self,
        commit: &CommitHash,
        limit: usize,
        other: Option<&str>,
    ) -> Result<Vec<CommitInfo>> {
        let count = format!("-{limit}");
        let not = other.map(|branch| format!("^refs/heads/{branch}"));
        let mut args = vec!["--first-parent", "--skip=1", &count, commit.as_str()];
        args.extend(not.as_deref());
        self.infos(&args).await
    }

    /// A commit, its first parent and so on, at most `limit`.
    pub(super) async fn first_parents(
        &self,
        commit: &CommitHash,
        limit: usize,
    ) -> Result<Vec<CommitHash>> {
        let count = format!("-{limit}");
        let args = ["rev-list", "--first-parent", &count, commit.as_str()];
        let listed = self.run(&args).await?;
        let lines = String::from_utf8_lossy(&listed);
        lines.lines().map(CommitHash::new).collect()
    }

    /// Of commits those that are merges, each with what it brought: what is behind its other parents
    /// and not behind its first one, at most `limit`, those first that were made last.
    pub(super) async fn merged(
        &self,
        commits: &[CommitHash],
        limit: usize,
    ) -> Result<Vec<(CommitHash, Vec<CommitInfo>)>> {
        let mut args = vec![
            "rev-list",
            "--no-walk=unsorted",
            "--parents",
            "--ignore-missing",
        ];
        args.extend(commits.iter().map(CommitHash::as_str));
        let listed = self.run(&args).await?;
        let listed = String::from_utf8_lossy(&listed);
        let count = format!("-{limit}");
        let mut merged = Vec::new();
        for line in listed.lines() {
            let hashes: Vec<&str> = line.split(' ').collect();
            let [commit, first, others @ ..] = &hashes[..] else {
                continue;
            };
            if others.is_empty() {
                continue;
            }
            let not = format!("^{first}");
            let mut which = vec!["--topo-order", &count, &not];
            which.extend(others);
            merged.push((CommitHash::new(*commit)?, self.infos(&which).await?));
        }
        Ok(merged)
    }

    async fn infos(&self, which: &[&str]) -> Result<Vec<CommitInfo>> {
        let format = [
            "log",
            "--no-show-signature",
            "-z",
            "--format=%H%n%ct%n%ae%n%s%n%b",
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

    /// Paths that differ between two commits.
    pub(super) async fn changed(
        &self,
        base: &CommitHash,
        commit: &CommitHash,
    ) -> Result<Vec<Name>> {
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

    /// Those files.
    pub(super) async fn uncommitted_paths(&self) -> Result<Vec<Name>> {
        let lines = paths(&self.status().await?);
        // Two letters and a space stand before each path.
        let files = lines.iter().filter_map(|line| line.as_bytes().get(3..));
        Ok(files.map(Name::from).collect())
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

/// Paths separated by zero bytes.
fn paths(listed: &[u8]) -> Vec<Name> {
    let pieces = listed.split(|&b| b == 0).filter(|p| !p.is_empty());
    pieces.map(Name::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_git_cannot_read_are_those_of_1970() {
        let date = Timestamp::from_seconds(1_608_753_536);
        assert_eq!(seconds("1608753536"), date);
        let before = Timestamp::from_seconds(-3600);
        assert_eq!(seconds("18446744073709548016"), before);
        for odd in ["", "x", "9999999999999999", "18446744073709551616"] {
            assert_eq!(seconds(odd), Timestamp::from_seconds(0), "{odd}");
        }
    }

    #[test]
    fn a_message_may_ask_not_to_be_built() {
        let commit = |message: &str| {
            let hash = "0".repeat(40);
            CommitInfo::parse(&format!("{hash}\n\na@b\n{message}")).unwrap()
        };
        assert!(commit("docs [Skip CI]").skip);
        assert!(commit("docs\n\nfor [ci skip] only").skip);
        let plain = commit("docs\nskip ci");
        assert!(!plain.skip);
        assert_eq!(plain.subject, "docs");
        assert_eq!(plain.author, "a@b");
    }
}
