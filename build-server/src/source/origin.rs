//! From a path or URL to a repository on this machine.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use build_core::ids::{CommitHash, RepoName};
use build_core::ref_rules::{RefRules, Refs};
use build_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use super::git::{Git, without_passwords};
use super::last_packs::LastPacks;
use super::login::Logins;
use super::repo::Repo;

/// What users and `.gitmodules` write to name a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A directory of this machine.
    Local(PathBuf),
    /// Something that git fetches from.
    Remote(String),
}

impl Origin {
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text.is_empty() || text.starts_with('-') {
            let text = format!("{text:?} names no repository");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        Ok(match is_remote(text) {
            true => Self::Remote(text.to_owned()),
            false => Self::Local(text.into()),
        })
    }
}

impl Origin {
    /// Whether it names a directory of this machine, by path or by URL.
    pub(super) fn is_here(&self) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Remote(url) => url.starts_with("file:"),
        }
    }
}

/// Whether a repository lies on this machine.
#[cfg(feature = "web")]
pub(crate) fn is_here(origin: &str) -> bool {
    Origin::parse(origin).is_ok_and(|origin| origin.is_here())
}

/// All branches and tags.
const ALL: [&str; 2] = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];

/// Fetches into a copy.
const FETCH: [&str; 4] = ["fetch", "--quiet", "--no-write-fetch-head", "--no-auto-gc"];

/// What git fetches for a pattern of refs: at least what it fits.
fn refspec(pattern: &str) -> String {
    let is_wild = |part: &&str| part.contains(['*', '?', '[']);
    let parts: Vec<&str> = pattern.split('/').collect();
    let wild: Vec<_> = parts.iter().filter(|part| is_wild(part)).collect();
    if wild[..] == [&"*"] {
        return format!("+{pattern}:{pattern}");
    }
    let fixed: Vec<&str> = parts.iter().copied().take_while(|p| !is_wild(p)).collect();
    // A ref that is not there would be an error; of its neighbours it is not.
    let above = match fixed.len() == parts.len() {
        true => &fixed[..fixed.len().saturating_sub(1)],
        false => &fixed[..],
    };
    let above = above.join("/");
    format!("+{above}/*:{above}/*")
}

/// Whether a repository was fetched whose objects have names of another kind.
fn is_of_other_hash(error: &Error) -> bool {
    let text = error.chain();
    text.contains("mismatched algorithms") || text.contains("object format")
}

/// As git decides: a scheme, or `host:path` without a slash before the colon.
fn is_remote(text: &str) -> bool {
    let colon = text.find(':');
    text.contains("://") || colon.is_some_and(|at| !text[..at].contains('/'))
}

/// Repositories, the remote ones as copies below one directory.
#[derive(Clone)]
pub(super) struct Repos {
    pub(super) git: Git,
    dir: Arc<Path>,
    /// One fetch into each copy at a time.
    fetching: Arc<Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>>,
    known: Arc<Mutex<Known>>,
    pub(super) packs: LastPacks,
    rules: Arc<RefRules>,
    logins: Logins,
}

/// What git was asked before and need not be asked again.
#[derive(Default)]
struct Known {
    /// Repositories by a path in them, and whether that path has a `.git` of its own.
    repos: HashMap<PathBuf, (bool, Repo)>,
    /// Commits that are in a repository.
    commits: HashSet<(PathBuf, CommitHash)>,
}

/// Where checkouts are while they are packed, below the directory of copies.
pub(super) const CHECKOUTS: &str = "checkouts";

/// Answers that are remembered, of each sort; more of them, and all are asked for again.
const REMEMBERED: usize = 1024;

impl Repos {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            git: Git::default(),
            packs: LastPacks::new(dir.join(CHECKOUTS)),
            dir: dir.into(),
            fetching: Arc::default(),
            known: Arc::default(),
            rules: Arc::default(),
            logins: Logins::default(),
        }
    }

    /// The same with rules for refs.
    pub(super) fn with_rules(self, rules: RefRules) -> Self {
        Self {
            rules: Arc::new(rules),
            ..self
        }
    }

    /// What the farm's owner says of the refs of a repository that is called so.
    pub(super) fn refs_of(&self, name: &RepoName) -> Refs {
        self.rules.of(name)
    }

    /// The repository at an origin; a remote one as it was copied last, or now for the first time.
    pub(super) async fn open(&self, origin: &Origin) -> Result<Repo> {
        match origin {
            Origin::Local(path) => self.open_local(path).await,
            Origin::Remote(url) => {
                let dir = self.copy_dir(url);
                if !dir.join("HEAD").exists() {
                    self.fetch(url, &[]).await?;
                }
                Repo::open(&self.git, &dir).await
            }
        }
    }

    /// The repository at an origin as far as it is on this machine; nothing is fetched.
    pub(super) async fn copy_of(&self, origin: &Origin) -> Result<Option<Repo>> {
        match origin {
            Origin::Local(path) if path.exists() => self.open_local(path).await.map(Some),
            Origin::Remote(url) if self.copy_dir(url).join("HEAD").exists() => {
                Repo::open(&self.git, &self.copy_dir(url)).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn open_local(&self, path: &Path) -> Result<Repo> {
        let is_top = path.join(".git").exists();
        let known = self.known().repos.get(path).cloned();
        if let Some((_, repo)) =
            known.filter(|(was, repo)| *was == is_top && repo.git_dir.join("HEAD").exists())
        {
            return Ok(repo);
        }
        let repo = Repo::open(&self.git, path).await?;
        let mut known = self.known();
        if known.repos.len() >= REMEMBERED {
            known.repos.clear();
        }
        known.repos.insert(path.to_owned(), (is_top, repo.clone()));
        Ok(repo)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it holds this lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that a commit is in a repository.
    pub(super) fn remember(&self, repo: &Repo, commit: &CommitHash) {
        let mut known = self.known();
        if known.commits.len() >= REMEMBERED {
            known.commits.clear();
        }
        known.commits.insert((repo.git_dir.clone(), commit.clone()));
    }

    async fn has(&self, repo: &Repo, commit: &CommitHash) -> Result<bool> {
        let place = (repo.git_dir.clone(), commit.clone());
        if self.known().commits.contains(&place) {
            return Ok(true);
        }
        let has = repo.has(commit).await?;
        if has {
            self.remember(repo, commit);
        }
        Ok(has)
    }

    /// The repository at an origin, fetched anew when it has no such commit.
    pub(super) async fn open_with(&self, origin: &Origin, commit: &CommitHash) -> Result<Repo> {
        let repo = self.open(origin).await?;
        if self.has(&repo, commit).await? {
            return Ok(repo);
        }
        if let Origin::Remote(url) = origin {
            self.fetch(url, &[]).await?;
            if !repo.has(commit).await? {
                self.fetch(url, &[commit.as_str()]).await?;
            }
            return Ok(repo);
        }
        let place = repo.place().display();
        Err(Error::new(
            ErrorKind::NotFound,
            format!("repository {place} has no commit {commit}"),
        ))
    }

    /// Brings the copy of a remote repository up to date.
    pub(super) async fn refresh(&self, origin: &Origin) -> Result<Repo> {
        if let Origin::Remote(url) = origin {
            self.fetch(url, &[]).await?;
        }
        self.open(origin).await
    }

    fn copy_dir(&self, url: &str) -> PathBuf {
        let (plain, _) = self.logins.of(url);
        let digest = hex::encode(&Sha256::digest(plain)[..10]);
        self.dir.join(format!("{digest}.git"))
    }

    /// What is fetched of a repository: all branches and tags, and the changes that are built.
    fn refspecs(&self, url: &str) -> Result<Vec<String>> {
        let mut all = ALL.map(str::to_owned).to_vec();
        let refs = self.refs_of(&RepoName::new(name_of(url))?);
        all.extend(refs.changes().iter().map(|pattern| refspec(pattern)));
        Ok(all)
    }

    /// Fetches everything that is built, or just `wanted`.
    async fn fetch(&self, url: &str, wanted: &[&str]) -> Result<()> {
        let dir = self.copy_dir(url);
        let (plain, login) = self.logins.of(url);
        let (url, remote) = (plain.as_str(), self.git.with_login(login));
        let gate = self.gate(&dir);
        let _one_at_a_time = gate.lock().await;
        let named = |e: Error| {
            let url = without_passwords(url);
            let hint = format!("see whether you can read it: git ls-remote {url}");
            e.while_doing(format!("fetch {url}")).with_hint(hint)
        };
        tokio::fs::create_dir_all(&dir)
            .await
            .map_err(|e| named(e.into()))?;
        if !dir.join("HEAD").exists() {
            self.init(&dir, url, "sha1").await.map_err(named)?;
        }
        let all = self.refspecs(url)?;
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let (prune, what) = match wanted.is_empty() {
            // A branch that is gone may stand in the way of a new one: `release`, `release/1`.
            true => (&["--prune"][..], &all[..]),
            false => (&[][..], wanted),
        };
        let args = [&FETCH[..], prune, &["--", url], what].concat();
        let mut fetched = remote.run_remote(&dir, &args).await;
        if fetched.as_ref().is_err_and(is_of_other_hash) {
            // The copy is empty: its objects would have been of the wrong kind.
            let emptied = async {
                tokio::fs::remove_dir_all(&dir).await?;
                tokio::fs::create_dir_all(&dir).await
            };
            emptied.await.map_err(|e| named(e.into()))?;
            self.init(&dir, url, "sha256").await.map_err(named)?;
            fetched = remote.run_remote(&dir, &args).await;
        }
        fetched.map_err(named)?;
        if wanted.is_empty() {
            self.follow_head(&remote, url, &dir).await.map_err(named)?;
        }
        Ok(())
    }

    /// Makes an empty copy that knows where it comes from: Git LFS asks there for its files.
    async fn init(&self, dir: &Path, url: &str, format: &str) -> Result<()> {
        let format = format!("--object-format={format}");
        let init = ["init", "--quiet", "--bare", "--template=", &format];
        self.git.run(dir, &init).await?;
        let url = without_passwords(url);
        let remote = ["config", "remote.origin.url", &*url];
        self.git.run(dir, &remote).await.map(|_| ())
    }

    /// Lets the copy's `HEAD` name what the remote one names: a branch, or a commit.
    async fn follow_head(&self, remote: &Git, url: &str, dir: &Path) -> Result<()> {
        let shown = remote
            .run_remote(dir, &["ls-remote", "--symref", "--", url, "HEAD"])
            .await?;
        let shown = String::from_utf8_lossy(&shown);
        let target = shown
            .lines()
            .find_map(|line| line.strip_prefix("ref: ")?.split('\t').next());
        if let Some(branch) = target.filter(|name| name.starts_with("refs/heads/")) {
            self.git.run(dir, &["symbolic-ref", "HEAD", branch]).await?;
            return Ok(());
        }
        let mut lines = shown.lines();
        if let Some(commit) = lines.find_map(|line| line.strip_suffix("\tHEAD")) {
            let what = ["--", url, "+HEAD:refs/farmer/head"];
            let args = [&FETCH[..], &what].concat();
            remote.run_remote(dir, &args).await?;
            let args = ["update-ref", "--no-deref", "HEAD", commit];
            self.git.run(dir, &args).await?;
        }
        Ok(())
    }

    fn gate(&self, dir: &Path) -> Arc<tokio::sync::Mutex<()>> {
        // Nothing panics while it holds this lock.
        let mut gates = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry(dir.to_owned()).or_default().clone()
    }
}

/// `owner/name` of a URL, the directory's name of a path.
pub(super) fn name_of(place: &str) -> String {
    let is_url = matches!(Origin::parse(place), Ok(Origin::Remote(_)));
    let plain = without_passwords(place);
    let plain = plain.trim_end_matches('/').trim_end_matches(".git");
    // The host is no part of the name.
    let path = match plain.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None if is_url => plain.split_once(':').map_or(plain, |(_, path)| path),
        None => plain,
    };
    let mut parts = path.rsplit('/').filter(|part| !part.is_empty());
    let name = parts.next().unwrap_or("repository").to_owned();
    match parts.next().filter(|_| is_url) {
        Some(owner) => format!("{owner}/{name}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_told_apart_as_git_does() {
        let remote = |text: &str| matches!(Origin::parse(text), Ok(Origin::Remote(_)));
        for url in [
            "https://h/x",
            "ssh://h/x",
            "git@github.com:a/b",
            "host:path",
        ] {
            assert!(remote(url), "{url}");
        }
        for path in [".", "/a/b", "a/b:c", "./h:x"] {
            assert!(!remote(path), "{path}");
        }
        let url = Origin::parse("file:///a").unwrap();
        assert!(matches!(url, Origin::Remote(_)) && url.is_here());
        assert!(Origin::parse("--upload-pack=x").is_err());
        assert!(Origin::parse("").is_err());
    }

    #[test]
    fn repositories_are_called_as_people_do() {
        assert_eq!(
            name_of("https://u:p@example.org/golang/go.git"),
            "golang/go"
        );
        assert_eq!(name_of("git@example.org:golang/go.git"), "golang/go");
        assert_eq!(name_of("https://example.org/go"), "go");
        assert_eq!(name_of("/home/me/project"), "project");
        assert_eq!(name_of("/"), "repository");
    }

    #[test]
    fn what_is_fetched_has_all_that_a_pattern_fits() {
        for (pattern, expected) in [
            ("refs/pull/*/head", "+refs/pull/*/head:refs/pull/*/head"),
            ("refs/changes/*/*/*", "+refs/changes/*:refs/changes/*"),
            ("refs/pull/**", "+refs/pull/*:refs/pull/*"),
            ("refs/pull/1?/head", "+refs/pull/*:refs/pull/*"),
            ("refs/outside/one", "+refs/outside/*:refs/outside/*"),
        ] {
            assert_eq!(refspec(pattern), expected);
        }
    }
}
