//! The newest commits of a repository, as work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use build_core::Result;
use build_core::work::{WorkItem, WorkSource};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::checkouts::GitCheckouts;
use super::git::without_passwords;
use super::ref_watch::RefWatch;
use super::refs::RefsState;

/// Between two looks at the files of a repository of this machine that cannot be watched: below
/// what a person notices, and a few calls of the system each.
const UNWATCHED_INTERVAL: Duration = Duration::from_millis(250);
/// The same for one that is watched: other machines may write to it, of which no watch tells.
const WATCHED_INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks at a remote repository: what its owner does not mind.
const REMOTE_INTERVAL: Duration = Duration::from_secs(60);

/// Whether the file system tells of moved refs.
#[derive(Clone, Default)]
enum Watch {
    #[default]
    Unasked,
    Refused,
    Begun(Arc<RefWatch>),
}

/// Watches branches of one repository.
pub struct GitSource {
    checkouts: GitCheckouts,
    origin: String,
    branches: Vec<String>,
    tags: Vec<String>,
    /// What the refs were when they were read last.
    refs: Mutex<Option<RefsState>>,
    /// Tells of a repository of this machine when they move.
    watch: Mutex<Watch>,
    /// Whether changes were among what was looked for last.
    takes_changes: AtomicBool,
    /// Where remote repositories are copied to when nothing else was said; goes with the source.
    _copies: Option<Arc<TempDir>>,
}

impl GitSource {
    /// Watches the default branch of the repository around a path, or at a URL.
    pub fn watch(origin: impl Into<String>) -> Self {
        let copies = tempfile::Builder::new().prefix("farmer-git-").tempdir();
        let copies = copies.ok().map(Arc::new);
        let dir = copies
            .as_ref()
            .map_or_else(|| "farmer-git".into(), |dir| dir.path().to_owned());
        Self {
            checkouts: GitCheckouts::new(dir),
            origin: origin.into(),
            branches: Vec::new(),
            tags: Vec::new(),
            refs: Mutex::default(),
            watch: Mutex::default(),
            takes_changes: AtomicBool::new(false),
            _copies: copies,
        }
    }

    /// Reads the repository through `checkouts`, so that a remote one is copied once.
    #[must_use]
    pub fn through(self, checkouts: GitCheckouts) -> Self {
        Self {
            checkouts,
            _copies: None,
            ..self
        }
    }

    fn refs(&self) -> MutexGuard<'_, Option<RefsState>> {
        // Nothing panics while it holds this lock.
        self.refs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ref_watch(&self) -> MutexGuard<'_, Watch> {
        // As above.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The watch on the repository, which begins now; `None` where there can be none.
    fn watch_on(&self, refs: &RefsState) -> Option<Arc<RefWatch>> {
        let mut watch = self.ref_watch();
        if matches!(*watch, Watch::Unasked) {
            *watch = match RefWatch::begin(refs) {
                Ok(begun) => Watch::Begun(Arc::new(begun)),
                Err(error) => {
                    let dir = refs.git_dir().display();
                    tracing::info!(%error, "{dir} cannot be watched, it is looked at often");
                    Watch::Refused
                }
            };
        }
        match &*watch {
            Watch::Begun(begun) => Some(begun.clone()),
            Watch::Unasked | Watch::Refused => None,
        }
    }

    /// Watches the branches that a glob matches, besides the default one.
    #[must_use]
    pub fn branch(mut self, glob: impl Into<String>) -> Self {
        self.branches.push(glob.into());
        self
    }

    /// Watches the tags that a glob matches: those that come are built, not those that were there
    /// when tags were first looked at.
    #[must_use]
    pub fn tag(mut self, glob: impl Into<String>) -> Self {
        self.tags.push(glob.into());
        self
    }
}

#[async_trait]
impl WorkSource for GitSource {
    fn name(&self) -> String {
        format!("git {}", without_passwords(&self.origin))
    }

    fn origins(&self) -> Vec<String> {
        vec![self.origin.clone()]
    }

    async fn wanted(&self) -> Result<Vec<WorkItem>> {
        // Looked at before the branches are read: what moves meanwhile is seen as a change.
        let refs = self.checkouts.state_of_refs(&self.origin).await?;
        *self.refs() = refs;
        let (branches, tags) = (&self.branches, &self.tags);
        let tips = self.checkouts.tips(&self.origin, branches, tags).await?;
        let takes = self.checkouts.takes_changes(&self.origin).await?;
        self.takes_changes.store(takes, Ordering::Relaxed);
        Ok(tips)
    }

    fn takes_changes(&self) -> bool {
        self.takes_changes.load(Ordering::Relaxed)
    }

    async fn earlier(&self, tip: &WorkItem, limit: usize) -> Result<Vec<WorkItem>> {
        self.checkouts.earlier(tip, limit).await
    }

    async fn changed(&self) {
        let Some(read) = self.refs().clone() else {
            sleep(REMOTE_INTERVAL).await;
            return;
        };
        let watch = self.watch_on(&read);
        // What moved before the watch began is seen by a look.
        let mut untold = false;
        while !read.has_changed() {
            match &watch {
                // Told by it, no look is needed: files of the same size and time may differ.
                Some(watch) => match timeout(WATCHED_INTERVAL, watch.moved()).await {
                    Ok(()) => return,
                    Err(_) => untold = true,
                },
                None => sleep(UNWATCHED_INTERVAL).await,
            }
        }
        if untold {
            // The directory may be another one by now.
            *self.ref_watch() = Watch::Unasked;
        }
    }
}
