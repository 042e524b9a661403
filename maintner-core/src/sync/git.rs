//! Plain git repositories, read without the git program.
//!
//! A [`Repository`] yields the commits that are reachable from any ref, each as the mutation
//! that the Go programs write for it: the commit object and its files as `git diff-tree
//! --numstat` prints them. Where branches and tags point is said by mutations of a project
//! named `local/` and the folder's name. [`GitLog`] makes a log of both, which is how
//! [`Corpus::from_git`] works.

mod cached;
mod kept;
mod numstat;
mod quote;
mod read;
mod refs;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gix_hash::ObjectId;
use gix_object::FindExt as _;
use gix_odb::HandleArc;
use prost::Message as _;

pub(super) use refs::peel;

use crate::log::{LogPosition, Segment, SegmentName, encode_record};
use crate::pb::{GerritMutation, GitCommit, GitMutation, GitRef, GitRepo, Mutation};
use crate::source::MutationSource;
use crate::{Corpus, Error, GitHash, Options, Result};

/// Commits handed out at a time.
const BATCH: usize = 4096;
/// How often refs are looked at while waiting for new commits.
const POLL: Duration = Duration::from_millis(200);

/// A repository being read, and the commits that were handed out.
#[derive(Debug)]
pub struct Repository {
    name: String,
    git_dir: PathBuf,
    common_dir: PathBuf,
    seen: HashSet<ObjectId>,
    /// Found and not yet handed out, parents first from the end.
    pending: Vec<ObjectId>,
    /// Where refs pointed when that was last said.
    said: BTreeMap<String, GitHash>,
    /// Where they pointed when the pending commits were found.
    found: BTreeMap<String, GitHash>,
    /// Whether commits come with the files that they changed.
    files: bool,
    /// Whether contents may be elsewhere: a partial clone.
    partial: bool,
}

fn failed<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> Error {
    move |error| Error::Repository {
        path: path.to_owned(),
        source: error.to_string().into(),
    }
}

impl Repository {
    /// Finds the repository around `path`: a working tree or a folder in it, or a bare one.
    ///
    /// # Errors
    /// When there is none, or when it names objects by something other than SHA-1.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (found, _trust) = gix_discover::upwards(path).map_err(failed(path))?;
        let (git_dir, work_tree) = found.into_repository_and_work_tree_directories();
        let common_dir = match gix_discover::path::from_plain_file(&git_dir.join("commondir")) {
            Some(common) => git_dir.join(common.map_err(Error::io("read", &git_dir))?),
            None => git_dir.clone(),
        };
        refs::check_hash(&common_dir)?;
        let named = work_tree.unwrap_or_else(|| common_dir.clone());
        let named = named.canonicalize().unwrap_or(named);
        let name = named.file_name().map_or_else(String::new, |name| {
            name.to_string_lossy().trim_end_matches(".git").to_owned()
        });
        Ok(Self {
            partial: refs::is_partial(&common_dir),
            git_dir,
            ..Self::bare(&common_dir, &name)
        })
    }

    /// A bare repository at `git_dir`, which is there.
    pub(super) fn bare(git_dir: &Path, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            git_dir: git_dir.to_owned(),
            common_dir: git_dir.to_owned(),
            seen: HashSet::new(),
            pending: Vec::new(),
            said: BTreeMap::new(),
            found: BTreeMap::new(),
            files: true,
            partial: false,
        }
    }

    /// Short name of the repository: that of its folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn objects(&self) -> Result<gix_odb::Handle> {
        let path = self.common_dir.join("objects");
        gix_odb::at(&path, gix_hash::Kind::Sha1).map_err(Error::io("open", &path))
    }

    /// Commits not handed out before, as mutations, parents before children; at most a few
    /// thousand at a time, none when there is nothing new.
    ///
    /// `is_known` tells which commits the log has already; their ancestors are not looked at.
    /// Parents that a shallow clone lacks are left out, and the files of commits of which a
    /// partial clone lacks the contents.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn next_batch(&mut self, is_known: impl Fn(GitHash) -> bool) -> Result<Vec<Mutation>> {
        if self.pending.is_empty() {
            self.find_new(is_known)?;
        }
        let from = self.pending.len().saturating_sub(BATCH);
        let batch = self.pending.split_off(from);
        let read = |objects: &HandleArc, id: &ObjectId| {
            let commit = self.read(objects, *id, *id)?;
            Ok(self.plain(commit))
        };
        let mut batch = self.each(&batch, read)?;
        batch.reverse();
        Ok(batch)
    }

    /// Where branches, tags and other refs point, if that is not what was said before: one
    /// mutation, or none. To be asked for when no commit is left in
    /// [`next_batch`](Self::next_batch). A tag is said to point at its commit.
    pub fn next_refs(&mut self) -> Option<Mutation> {
        if self.found == self.said {
            return None;
        }
        let project = format!("local/{}", self.name);
        let mutation = refs_mutation(project, &self.said, &self.found);
        self.said = self.found.clone();
        mutation
    }

    /// Queues the commits reachable from the refs, children first.
    fn find_new(&mut self, is_known: impl Fn(GitHash) -> bool) -> Result<()> {
        let objects = self.objects()?;
        let found = refs::all(&self.git_dir, &self.common_dir, &objects)?;
        let tips = found.iter().map(|(_, id)| *id).collect::<Vec<_>>();
        self.pending = walk(&objects, tips, &mut self.seen, is_known);
        self.found = found
            .into_iter()
            .map(|(name, id)| (name, git_hash(&id)))
            .collect();
        Ok(())
    }

    /// The mutation of a commit of a plain repository.
    pub(super) fn plain(&self, commit: GitCommit) -> Mutation {
        let repo = Some(GitRepo {
            go_repo: self.name.clone(),
        });
        let git = Some(GitMutation {
            repo,
            commit: Some(commit),
        });
        Mutation {
            git,
            ..Mutation::default()
        }
    }
}

/// The commits that can be reached from `tips` and are neither known nor seen, children first:
/// taken from the end, every commit comes after its parents. What is no commit, or not there, is
/// left out.
pub(super) fn walk(
    objects: &gix_odb::Handle,
    tips: impl IntoIterator<Item = ObjectId>,
    seen: &mut HashSet<ObjectId>,
    is_known: impl Fn(GitHash) -> bool,
) -> Vec<ObjectId> {
    let mut buffer = Vec::new();
    // Depth first; a commit is queued when all its parents are.
    let mut order = Vec::new();
    let mut stack: Vec<(ObjectId, bool)> = Vec::new();
    for tip in tips {
        stack.push((tip, false));
        while let Some((id, expanded)) = stack.pop() {
            if expanded {
                order.push(id);
                continue;
            }
            if is_known(git_hash(&id)) || !seen.insert(id) {
                continue;
            }
            let Ok(commit) = objects.find_commit_iter(&id, &mut buffer) else {
                continue;
            };
            stack.push((id, true));
            stack.extend(commit.parent_ids().map(|parent| (parent, false)));
        }
    }
    order.reverse();
    order
}

/// What says that refs which were `before` are now `after`, deletions included.
pub(super) fn refs_mutation(
    project: String,
    before: &BTreeMap<String, GitHash>,
    after: &BTreeMap<String, GitHash>,
) -> Option<Mutation> {
    let set = after
        .iter()
        .filter(|(name, hash)| before.get(*name) != Some(*hash));
    let refs: Vec<GitRef> = set
        .map(|(name, hash)| GitRef {
            r#ref: name.clone(),
            sha1: hash.to_string(),
        })
        .collect();
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let deleted_refs: Vec<String> = gone.cloned().collect();
    (!refs.is_empty() || !deleted_refs.is_empty()).then(|| Mutation {
        gerrit: Some(GerritMutation {
            project,
            refs,
            deleted_refs,
            ..GerritMutation::default()
        }),
        ..Mutation::default()
    })
}

pub(super) fn git_hash(id: &ObjectId) -> GitHash {
    id.as_slice()
        .try_into()
        .map_or(GitHash::new([0; 20]), GitHash::new)
}

/// A git repository as a log in memory that grows with it.
#[derive(Debug)]
pub struct GitLog {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    repository: Repository,
    /// One for each batch of commits.
    segments: Vec<Segment>,
}

impl GitLog {
    /// The repository around `path`.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::of(Repository::open(path)?))
    }

    /// A repository of which nothing was handed out.
    pub fn of(repository: Repository) -> Self {
        Self {
            inner: Mutex::new(Inner {
                repository,
                segments: Vec::new(),
            }),
        }
    }
}

impl Inner {
    fn end(&self) -> LogPosition {
        self.segments
            .last()
            .map_or(LogPosition::START, Segment::end)
    }

    fn sync(&mut self) -> Result<()> {
        loop {
            let mut batch = self.repository.next_batch(|_| false)?;
            if batch.is_empty() {
                batch.extend(self.repository.next_refs());
            }
            if batch.is_empty() {
                return Ok(());
            }
            let mut bytes = Vec::new();
            for mutation in batch {
                let offset = bytes.len() as u64;
                encode_record(&mut bytes, offset, &mutation.encode_to_vec());
            }
            bytes.shrink_to_fit();
            let number = u32::try_from(self.segments.len()).expect("less than 4 G batches");
            let name = SegmentName::Growing { number };
            self.segments
                .push(Segment::memory(name, self.end(), bytes.into()));
        }
    }
}

impl MutationSource for GitLog {
    fn segments(&self) -> Result<Vec<Segment>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.sync()?;
        Ok(inner.segments.clone())
    }

    fn wait(&self, known: LogPosition, patience: Duration) -> Result<LogPosition> {
        let deadline = Instant::now() + patience;
        loop {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.sync()?;
            let end = inner.end();
            drop(inner);
            let left = deadline.saturating_duration_since(Instant::now());
            if end != known || left.is_zero() {
                return Ok(end);
            }
            std::thread::sleep(POLL.min(left));
        }
    }
}

impl Corpus {
    /// The commits of the git repository around `path`, with nothing else needed: no log, no
    /// network, no git program. [`Corpus::update`] and [`Corpus::follow`] see new commits.
    ///
    /// ```no_run
    /// use maintner_core::Corpus;
    ///
    /// let corpus = Corpus::from_git(".")?;
    /// println!("{} commits", corpus.view().git().commits().count());
    /// # Ok::<(), maintner_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When there is no repository or it cannot be read.
    pub fn from_git(path: impl AsRef<Path>) -> Result<Self> {
        Self::load(GitLog::open(path)?, Options::default())
    }
}
