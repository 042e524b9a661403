//! Where the farm keeps what it must not forget: the event log, the rows folded from it, and
//! large contents.
//!
//! [`Store::memory`] forgets with the process; [`Store::open`] keeps everything in a data
//! directory: `farmer.db` (events and rows), `blobs/`, `logs/`, `machines/`, `git/` and `lock`.

mod blobs;
mod board;
mod files;
mod lock;
mod log;
mod memory;
mod memory_log;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use build_core::Result;
use build_core::buildlet::ByteStream;
use build_core::clock::Timestamp;
use build_core::event::{NewEvent, Recorded, Seq};
use build_core::ids::{BuildId, BuilderName, RepoName, StepName};

pub use blobs::{BlobInfo, BlobKey, BlobKind, MemoryBlobs};
pub use board::{BoardCell, BoardCommit, BoardFilter, BoardLine, BoardPage, BoardPlace, KnownRepo};
pub use files::{FileBlobs, Quota};
pub use lock::{DataLock, Owner};
pub use log::EventLog;
pub use memory::MemoryStore;
pub use memory_log::MemoryLog;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore};

use crate::record::{BuildRow, BuildState, SessionRow, Tested, Timing};

/// The log of everything that happened: the only truth.
#[async_trait]
pub trait BuildLog: Send + Sync {
    /// Appends `batch` durably, all of it or nothing, directly behind `expected`, and answers the
    /// position of its last event. Appends that wait at the same time share one commit.
    ///
    /// When the future is dropped the batch is in the log or not; [`BuildLog::head`] tells.
    ///
    /// # Errors
    /// [`build_core::ErrorKind::Conflict`] when the log does not end at `expected`: another
    /// coordinator has written, and the caller's picture is out of date.
    /// [`build_core::ErrorKind::Limit`] when the disk is full, [`build_core::ErrorKind::Corrupt`] when the file is damaged.
    /// Nothing of the batch is in the log then.
    async fn append(&self, expected: Seq, batch: Vec<NewEvent>) -> Result<Seq>;

    /// Position of the last event; `Seq(0)` when there is none.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn head(&self) -> Result<Seq>;

    /// At most `limit` events after `after`, in order, without those that were packed.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<Recorded>>;

    /// At most `limit` events of one build after `after`, in order.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn read_build(
        &self,
        build: &BuildId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Recorded>>;

    /// The events of all builds and sessions that are open, in order: what a start folds.
    ///
    /// # Errors
    /// When the log cannot be read.
    async fn read_open(&self) -> Result<Vec<Recorded>>;

    /// Makes the events of some builds and sessions small that have ended and of which nothing
    /// was heard since `before`; answers of how many, 0 when there is none left. They can still
    /// be read one build at a time, and rows folded from them; [`BuildLog::read`] leaves them out.
    ///
    /// Cancel safe. The default keeps all as they are.
    ///
    /// # Errors
    /// When the log cannot be written; it is as before then.
    async fn pack(&self, before: Timestamp) -> Result<usize> {
        let _nothing_to_do = before;
        Ok(0)
    }
}

/// Which builds to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildFilter {
    /// Only of this repository.
    pub repo: Option<RepoName>,
    /// Only of this branch.
    pub branch: Option<String>,
    /// Only on this builder.
    pub builder: Option<BuilderName>,
    /// Only of commits that begin so.
    pub commit: Option<String>,
    /// Only in this state.
    pub state: Option<BuildState>,
}

impl BuildFilter {
    /// Whether `row` is among them.
    pub fn accepts(&self, row: &BuildRow) -> bool {
        let commit = row.item.commit.as_str();
        self.repo.as_ref().is_none_or(|r| *r == row.item.repo)
            && (self.branch.is_none() || self.branch == row.item.branch)
            && self.builder.as_ref().is_none_or(|b| *b == row.builder)
            && self.commit.as_ref().is_none_or(|c| commit.starts_with(c))
            && self.state.is_none_or(|s| s == row.state)
    }
}

/// A part of a list of builds, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildPage {
    /// The builds.
    pub builds: Vec<BuildRow>,
    /// Give this as `before` to get the next part; `None` when this is the last.
    pub next: Option<Seq>,
}

/// Typed questions to the rows folded from the log.
#[async_trait]
pub trait Records: Send + Sync {
    /// One build.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn build(&self, id: &BuildId) -> Result<Option<BuildRow>>;

    /// Builds that were asked for before `before`, newest first, at most `limit` (at least 1 is looked for).
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn builds(
        &self,
        which: &BuildFilter,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<BuildPage>;

    /// Every build that is open, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn open(&self) -> Result<Vec<BuildRow>>;

    /// Builds that hold machines, or held one and have no result yet, oldest first: as many as
    /// there are machines, however many wait.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn active(&self) -> Result<Vec<BuildRow>> {
        let mut open = self.open().await?;
        open.retain(|row| row.state != BuildState::Queued);
        Ok(open)
    }

    /// The oldest `limit` builds that wait for their plan or their first machine, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn queued(&self, limit: usize) -> Result<Vec<BuildRow>> {
        let mut open = self.open().await?;
        open.retain(|row| row.state == BuildState::Queued);
        open.truncate(limit);
        Ok(open)
    }

    /// How many builds wait for their plan or their first machine.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn count_queued(&self) -> Result<usize> {
        Ok(self.queued(usize::MAX).await?.len())
    }

    /// The commits of a repository before `before`, newest first, at most `limit` (at least 1 is
    /// looked for), each with its latest build on each builder. Builds of uncommitted files are
    /// left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn board(
        &self,
        which: &BoardFilter,
        before: Option<BoardPlace>,
        limit: usize,
    ) -> Result<BoardPage>;

    /// Every repository on a board, the one with the newest commit first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn repos(&self) -> Result<Vec<KnownRepo>>;

    /// One session.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn session(&self, id: &BuildId) -> Result<Option<SessionRow>>;

    /// Every session that is open, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn open_sessions(&self) -> Result<Vec<SessionRow>>;

    /// The newest `limit` passed runs of a step, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn timings(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        limit: usize,
    ) -> Result<Vec<Timing>>;

    /// What runs of a step printed of its tests, in builds that were asked for before `before`:
    /// the newest `limit`, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn tested(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Tested>>;

    /// Throws all rows away and folds them anew from the log.
    ///
    /// # Errors
    /// When the store cannot be written; the old rows then stay.
    async fn rebuild(&self) -> Result<()>;
}

/// Large contents: packed sources, caches, artifacts.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Stores a stream under `key`, replacing what was there; readers see the old contents or
    /// the new ones, whole. Durable on return.
    ///
    /// Cancel safe: nothing changes when the future is dropped.
    ///
    /// # Errors
    /// The stream's error; [`build_core::ErrorKind::Limit`] when the disk or the quota is full.
    async fn put(&self, key: &BlobKey, contents: ByteStream) -> Result<BlobInfo>;

    /// Stores a stream under its own SHA-256.
    ///
    /// # Errors
    /// As [`Blobs::put`].
    async fn put_by_hash(
        &self,
        kind: BlobKind,
        contents: ByteStream,
    ) -> Result<(BlobKey, BlobInfo)>;

    /// The contents under `key`.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn get(&self, key: &BlobKey) -> Result<Option<ByteStream>>;

    /// Size of the contents under `key` in bytes.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn size(&self, key: &BlobKey) -> Result<Option<u64>>;

    /// Removes what is under `key`; fine when nothing is.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn remove(&self, key: &BlobKey) -> Result<()>;

    /// Bytes held of one kind.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn used(&self, kind: BlobKind) -> Result<u64>;
}

/// Everything a coordinator remembers. Clones share it.
#[derive(Clone)]
pub struct Store {
    events: Arc<dyn BuildLog>,
    records: Arc<dyn Records>,
    blobs: Arc<dyn Blobs>,
    place: Place,
}

#[derive(Clone)]
enum Place {
    /// Forgotten with the process; files go to a directory that is made when it is first asked for.
    Memory(Arc<std::sync::OnceLock<tempfile::TempDir>>),
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(
            dead_code,
            reason = "only a store with a database has a place of its own"
        )
    )]
    Directory(PathBuf, Arc<DataLock>),
}

impl Store {
    /// A store that forgets with the process.
    pub fn memory() -> Self {
        let memory = Arc::new(MemoryStore::default());
        Self {
            events: memory.clone(),
            records: memory,
            blobs: Arc::new(MemoryBlobs::default()),
            place: Place::Memory(Arc::default()),
        }
    }

    /// Opens the data directory, which is made when missing, and locks it for this process.
    ///
    /// # Errors
    /// [`build_core::ErrorKind::Conflict`] naming the owner when another process has it,
    /// [`build_core::ErrorKind::Corrupt`] when the database is damaged.
    #[cfg(feature = "sqlite")]
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        let lock = DataLock::acquire(&dir)?;
        let database =
            Arc::new(SqliteStore::open(&dir.join("farmer.db"), SqliteOptions::default()).await?);
        let blobs = Arc::new(FileBlobs::open(dir.join("blobs"), Quota::default())?);
        Ok(Self {
            events: database.clone(),
            records: database,
            blobs,
            place: Place::Directory(dir, Arc::new(lock)),
        })
    }

    /// Opens the data directory to answer questions while another process may own it: no lock,
    /// and nothing can be appended.
    ///
    /// # Errors
    /// [`build_core::ErrorKind::NotFound`] when there is no database.
    #[cfg(feature = "sqlite")]
    pub async fn open_to_read(dir: &Path) -> Result<SqliteStore> {
        SqliteStore::open_to_read(&dir.join("farmer.db")).await
    }

    /// A store that appends through `events`, for wrappers.
    #[must_use]
    pub fn with_events(mut self, events: Arc<dyn BuildLog>) -> Self {
        self.events = events;
        self
    }

    /// A store that keeps contents in `blobs`, for wrappers and object stores.
    #[must_use]
    pub fn with_blobs(mut self, blobs: Arc<dyn Blobs>) -> Self {
        self.blobs = blobs;
        self
    }

    /// The event log.
    pub fn events(&self) -> &Arc<dyn BuildLog> {
        &self.events
    }

    /// The rows folded from it.
    pub fn records(&self) -> &Arc<dyn Records> {
        &self.records
    }

    /// Large contents.
    pub fn blobs(&self) -> &Arc<dyn Blobs> {
        &self.blobs
    }

    /// The lock of the data directory, through which the owner tells where it answers.
    pub fn lock(&self) -> Option<&DataLock> {
        match &self.place {
            Place::Memory(_) => None,
            Place::Directory(_, lock) => Some(lock),
        }
    }

    /// The data directory; a temporary one, removed at the end, for a store in memory.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn dir(&self) -> Result<&Path> {
        match &self.place {
            Place::Directory(dir, _) => Ok(dir),
            Place::Memory(cell) => temporary(cell),
        }
    }
}

fn temporary(cell: &std::sync::OnceLock<tempfile::TempDir>) -> Result<&Path> {
    if cell.get().is_none() {
        let made = tempfile::Builder::new().prefix("farmer-").tempdir()?;
        // Another thread may have been first; then this one's directory is removed again.
        let _ = cell.set(made);
    }
    Ok(cell
        .get()
        .expect("set just now, by this thread or another")
        .path())
}
