//! A repository without git: the twin of every source of work.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use build_core::clock::Timestamp;
use build_core::ids::{CommitHash, RepoName};
use build_core::name::Name;
use build_core::recipe::MemoryTree;
use build_core::tarutil::{EntryHeader, FileList, Modified};
use build_core::work::{Class, WorkItem, WorkSource};
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

/// When the first commit of each repository is made; each later one is a minute younger.
const BEGIN: i64 = 1_600_000_000;

type Files = BTreeMap<Name, Bytes>;

/// A repository in memory: files, commits and branches, without git and without a disk. Clones are
/// the same one. It is a [`WorkSource`] that wants the newest commit of each branch, and one of
/// the repositories of [`MemoryCheckouts`](super::MemoryCheckouts).
///
/// A checkout of it has no `.git`: steps that call git fail.
///
/// ```
/// use build_server::testing::MemoryRepository;
///
/// let repository = MemoryRepository::new("acme/server");
/// repository.write("Makefile", "all:\n\ttrue\n");
/// let first = repository.commit("first");
/// repository.branch("topic");
/// repository.write("more", "text");
/// let second = repository.commit("second");
/// assert_eq!(second.branch, Some("topic".into()));
/// assert_ne!(first.commit, second.commit);
/// ```
#[derive(Clone)]
pub struct MemoryRepository(Arc<Shared>);

struct Shared {
    name: RepoName,
    history: Mutex<History>,
    changed: Notify,
}

#[derive(Default)]
struct History {
    /// What the next commit has.
    files: Files,
    branch: Name,
    branches: BTreeMap<Name, CommitHash>,
    commits: HashMap<CommitHash, Commit>,
}

#[derive(Clone)]
struct Commit {
    item: WorkItem,
    parent: Option<CommitHash>,
    files: Arc<Files>,
}

impl MemoryRepository {
    /// An empty repository, on its branch `main`.
    ///
    /// # Panics
    /// When that is no name of a repository.
    pub fn new(name: &str) -> Self {
        let name = RepoName::new(name).expect("the name of a repository");
        Self(Arc::new(Shared {
            name,
            history: Mutex::new(History {
                branch: "main".into(),
                ..History::default()
            }),
            changed: Notify::new(),
        }))
    }

    /// Where it is, as [`WorkItem::origin`] says.
    pub fn origin(&self) -> String {
        format!("memory:{}", self.0.name)
    }

    /// The next commit has this file, in the place of what was there.
    pub fn write(&self, path: impl Into<Name>, contents: impl Into<Bytes>) {
        self.history().files.insert(path.into(), contents.into());
    }

    /// The next commit does not have this file.
    pub fn remove(&self, path: impl Into<Name>) {
        self.history().files.remove(&path.into());
    }

    /// Goes to a branch, which begins at the present commit when there is none of that name. The
    /// next commit has the files of its newest one.
    pub fn branch(&self, name: impl Into<Name>) {
        let (name, mut history) = (name.into(), self.history());
        match history.branches.get(&name).cloned() {
            Some(head) => history.files = (*history.commits[&head].files).clone(),
            None => {
                if let Some(head) = history.head() {
                    history.branches.insert(name.clone(), head);
                }
            }
        }
        history.branch = name;
    }

    /// Makes a commit of the files as they are, and wakes who watches.
    ///
    /// # Panics
    /// Never.
    pub fn commit(&self, subject: &str) -> WorkItem {
        let item = {
            let mut history = self.history();
            let item = history.commit(&self.0.name, &self.origin(), subject);
            item.expect("a hash is one")
        };
        self.0.changed.notify_one();
        item
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // Nothing panics while it holds this lock.
        self.0
            .history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, commit: &CommitHash) -> Result<Commit> {
        self.history().commits.get(commit).cloned().ok_or_else(|| {
            let text = format!("no commit {commit} in {}", self.0.name);
            Error::new(ErrorKind::NotFound, text)
        })
    }

    /// What a branch, or a commit by its hash, names; what the next commit follows by default.
    pub(super) fn resolve(&self, rev: Option<&str>) -> Result<WorkItem> {
        let history = self.history();
        let found = match rev {
            None | Some("HEAD") => history.head(),
            Some(rev) => {
                let branch = history.branches.get(rev.as_bytes()).cloned();
                branch.or_else(|| CommitHash::new(rev).ok())
            }
        };
        let commit = found.and_then(|commit| history.commits.get(&commit));
        commit.map(|commit| commit.item.clone()).ok_or_else(|| {
            let text = format!("no revision {:?} in {}", rev.unwrap_or("HEAD"), self.0.name);
            Error::new(ErrorKind::NotFound, text)
        })
    }

    pub(super) fn tree(&self, commit: &CommitHash) -> Result<MemoryTree> {
        let files = self.find(commit)?.files;
        let text = files
            .iter()
            .filter_map(|(name, bytes)| Some((name.as_str()?, bytes)));
        Ok(text.fold(MemoryTree::default(), |tree, (name, bytes)| {
            tree.with(name, bytes.to_vec())
        }))
    }

    /// The files of a commit as an archive.
    pub(super) fn pack(&self, commit: &CommitHash) -> Result<Vec<u8>> {
        let found = self.find(commit)?;
        let modified = Modified {
            seconds: found.item.commit_time.as_seconds(),
            nanos: 0,
        };
        let mut list = FileList::new();
        for (name, bytes) in &*found.files {
            let header = EntryHeader::file(name.as_bytes(), bytes.len() as u64);
            list.add_bytes(header.modified(modified), bytes.clone());
        }
        let mut packed = Vec::new();
        std::io::Read::read_to_end(&mut list.open_gz(), &mut packed)?;
        Ok(packed)
    }

    /// A commit and those before it, the newest first.
    pub(super) fn line(&self, commit: &CommitHash, limit: usize) -> Vec<WorkItem> {
        let history = self.history();
        let mut next = history.commits.get(commit);
        let line = std::iter::from_fn(|| {
            let commit = next?;
            next = commit.parent.as_ref().and_then(|p| history.commits.get(p));
            Some(commit.item.clone())
        });
        line.take(limit).collect()
    }

    pub(super) fn changed_since(
        &self,
        commit: &CommitHash,
        base: &CommitHash,
    ) -> Result<Option<Vec<Name>>> {
        let line = self.line(commit, usize::MAX);
        if !line.iter().any(|item| item.commit == *base) {
            return Ok(None);
        }
        let (before, now) = (self.find(base)?.files, self.find(commit)?.files);
        let names = before.keys().chain(now.keys());
        let changed: std::collections::BTreeSet<&Name> = names
            .filter(|name| before.get(*name) != now.get(*name))
            .collect();
        Ok(Some(changed.into_iter().cloned().collect()))
    }
}

impl History {
    fn head(&self) -> Option<CommitHash> {
        self.branches.get(&self.branch).cloned()
    }

    fn commit(&mut self, repo: &RepoName, origin: &str, subject: &str) -> Result<WorkItem> {
        let parent = self.head();
        let seconds = BEGIN + 60 * i64::try_from(self.commits.len()).unwrap_or(0);
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(parent.as_ref().map_or("", CommitHash::as_str).as_bytes());
        add(subject.as_bytes());
        add(&seconds.to_be_bytes());
        for (name, bytes) in &self.files {
            add(name.as_bytes());
            add(bytes);
        }
        let commit = CommitHash::new(hex::encode(&hash.finalize()[..20]))?;
        let item = WorkItem {
            commit_time: Timestamp::from_seconds(seconds),
            subject: subject.to_owned(),
            branch: Some(self.branch.clone()),
            class: match self.branch == "main" {
                true => Class::DefaultTip,
                false => Class::BranchTip,
            },
            ..WorkItem::new(repo.clone(), origin, commit.clone())
        };
        let made = Commit {
            item: item.clone(),
            parent,
            files: Arc::new(self.files.clone()),
        };
        self.commits.insert(commit.clone(), made);
        self.branches.insert(self.branch.clone(), commit);
        Ok(item)
    }
}

#[async_trait]
impl WorkSource for MemoryRepository {
    fn name(&self) -> String {
        format!("memory {}", self.0.name)
    }

    async fn wanted(&self) -> Result<Vec<WorkItem>> {
        let history = self.history();
        let tips = history.branches.iter();
        let mut tips: Vec<WorkItem> = tips
            .map(|(branch, commit)| WorkItem {
                branch: Some(branch.clone()),
                class: match *branch == "main" {
                    true => Class::DefaultTip,
                    false => Class::BranchTip,
                },
                ..history.commits[commit].item.clone()
            })
            .collect();
        tips.sort_by_key(|item| std::cmp::Reverse(item.commit_time));
        Ok(tips)
    }

    async fn earlier(&self, tip: &WorkItem, limit: usize) -> Result<Vec<WorkItem>> {
        let line = self.line(&tip.commit, limit.saturating_add(1));
        let earlier = line.into_iter().skip(1).map(|item| WorkItem {
            branch: tip.branch.clone(),
            class: Class::Backfill,
            ..item
        });
        Ok(earlier.take(limit).collect())
    }

    fn origins(&self) -> Vec<String> {
        vec![self.origin()]
    }

    async fn changed(&self) {
        self.0.changed.notified().await;
    }
}
