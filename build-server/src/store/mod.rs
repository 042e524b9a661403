//! Where the farm keeps what it must not forget: the event log, the rows folded from it, and
//! large contents.
//!
//! [`Store::memory`] forgets with the process; [`Store::open`] keeps everything in a data
//! directory: `farmer.db` (events and rows), `blobs/`, `logs/`, `machines/`, `git/` and `lock`.

mod blobs;
mod board;
mod file_logs;
mod files;
mod in_use;
mod ledger;
mod lock;
mod log;
mod logs;
mod memory;
mod memory_log;
mod memory_logs;
mod memory_records;
#[cfg(feature = "store-objects")]
mod object_blobs;
pub(crate) mod private;
mod records;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use build_core::buildlet::ByteStream;
use build_core::{Error, Result};
use futures::TryStreamExt as _;

pub use blobs::{BlobInfo, BlobKey, BlobKind, FetchUrl, MemoryBlobs, checked};
pub use board::{BoardCell, BoardCommit, BoardFilter, BoardLine, BoardPage, BoardPlace, KnownRepo};
pub use file_logs::FileLogs;
pub use files::{FileBlobs, Quota};
pub use in_use::{InUse, Reading};
pub use ledger::Ledger;
pub use lock::{DataLock, Owner};
pub use log::EventLog;
pub use logs::{LogHash, LogSum, Logs};
pub use memory::MemoryStore;
pub use memory_log::MemoryLog;
pub use memory_logs::MemoryLogs;
pub use memory_records::MemoryRecords;
#[cfg(feature = "store-objects")]
pub use object_blobs::ObjectBlobs;
pub use records::{
    BoardRecords, BuildFilter, BuildPage, BuildRecords, Records, SessionRecords, TestRecords,
};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore};

/// The file of a data directory that holds events and rows.
#[cfg(feature = "sqlite")]
const DATABASE: &str = "farmer.db";

/// Files that are opened one by one, as they are needed.
pub type Files = Box<dyn Iterator<Item = Result<std::fs::File>> + Send>;

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

    /// Stores many files, each under its own SHA-256, and says in their order what was stored. A store
    /// that waits for a disk may wait once for all of them; the default stores one after the other.
    ///
    /// # Errors
    /// As [`Blobs::put`], and what the files say: those before it may be stored then.
    async fn put_files(&self, kind: BlobKind, files: Files) -> Result<Vec<BlobInfo>> {
        let mut stored = Vec::new();
        for file in files {
            let pieces = tokio_util::io::ReaderStream::new(tokio::fs::File::from_std(file?));
            let contents = futures::StreamExt::boxed(pieces.map_err(Error::from));
            stored.push(self.put_by_hash(kind, contents).await?.1);
        }
        Ok(stored)
    }

    /// The contents under `key`. They are checked on the way: of damaged ones the stream ends
    /// with [`build_core::ErrorKind::Corrupt`] before their last bytes ([`checked`] does that).
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn get(&self, key: &BlobKey) -> Result<Option<ByteStream>>;

    /// Whether the contents under `key` are what was stored; `None` when there are none.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn check(&self, key: &BlobKey) -> Result<Option<bool>> {
        let Some(mut contents) = self.get(key).await? else {
            return Ok(None);
        };
        loop {
            match contents.try_next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(Some(true)),
                Err(error) if error.kind() == build_core::ErrorKind::Corrupt => {
                    return Ok(Some(false));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where a machine may fetch the contents under `key` by itself, for an hour at least; `None`
    /// when it cannot, and then it is sent what [`Blobs::get`] says. Whoever answers there sees to
    /// it that damaged contents do not pass.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn url(&self, key: &BlobKey) -> Result<Option<FetchUrl>> {
        let _from_here_alone = key;
        Ok(None)
    }

    /// The keys of one kind, in any order.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn keys(&self, kind: BlobKind) -> Result<Vec<BlobKey>>;

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

/// The same error for each of several callers; the causes become text.
pub(crate) fn again(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.chain());
    match error.hint() {
        Some(hint) => copy.with_hint(hint),
        None => copy,
    }
}

/// Everything a coordinator remembers. Clones share it.
#[derive(Clone)]
pub struct Store {
    events: Arc<dyn EventLog>,
    records: Arc<dyn Records>,
    blobs: Arc<dyn Blobs>,
    logs: Arc<dyn Logs>,
    in_use: InUse,
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
    /// Where files go of a store whose parts lie elsewhere.
    Elsewhere(PathBuf),
}

impl Store {
    /// A store that forgets with the process.
    pub fn memory() -> Self {
        let memory = Arc::new(MemoryStore::default());
        Self {
            events: memory.clone(),
            records: memory,
            blobs: Arc::new(MemoryBlobs::default()),
            logs: Arc::new(MemoryLogs::default()),
            in_use: InUse::default(),
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
            Arc::new(SqliteStore::open(&dir.join(DATABASE), SqliteOptions::default()).await?);
        let blobs = Arc::new(FileBlobs::open(dir.join("blobs"), Quota::default())?);
        Ok(Self {
            events: database.clone(),
            records: database,
            blobs,
            logs: Arc::new(FileLogs::new(dir.join("logs"))),
            in_use: InUse::default(),
            place: Place::Directory(dir, Arc::new(lock)),
        })
    }

    /// Opens the data directory to answer questions, whether its farm runs or not: no lock is
    /// taken, and nothing can be written.
    ///
    /// # Errors
    /// [`build_core::ErrorKind::NotFound`] when nothing was ever recorded there, which
    /// [`Store::is_in`] tells beforehand; otherwise as [`Store::open`].
    #[cfg(feature = "sqlite")]
    pub async fn open_to_read(dir: &Path) -> Result<Self> {
        let database = Arc::new(SqliteStore::open_to_read(&dir.join(DATABASE)).await?);
        Ok(Self {
            events: database.clone(),
            records: database,
            blobs: Arc::new(FileBlobs::open_to_read(dir.join("blobs"))),
            logs: Arc::new(FileLogs::new(dir.join("logs"))),
            in_use: InUse::default(),
            place: Place::Elsewhere(dir.into()),
        })
    }

    /// Whether something was recorded in a data directory.
    #[cfg(feature = "sqlite")]
    pub fn is_in(dir: &Path) -> bool {
        dir.join(DATABASE).exists()
    }

    /// A store of parts that anybody may bring. `dir` is where this process keeps files for a
    /// while, such as what is being unpacked; whoever brings the event log sees to it that one
    /// coordinator uses it.
    pub fn from_parts(
        events: Arc<dyn EventLog>,
        records: Arc<dyn Records>,
        blobs: Arc<dyn Blobs>,
        logs: Arc<dyn Logs>,
        dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            events,
            records,
            blobs,
            logs,
            in_use: InUse::default(),
            place: Place::Elsewhere(dir.into()),
        }
    }

    /// A store that appends to `events`, for wrappers.
    #[must_use]
    pub fn with_events(mut self, events: Arc<dyn EventLog>) -> Self {
        self.events = events;
        self
    }

    /// A store whose rows are kept in `records`, for wrappers and other databases.
    #[must_use]
    pub fn with_records(mut self, records: Arc<dyn Records>) -> Self {
        self.records = records;
        self
    }

    /// A store that keeps contents in `blobs`, for wrappers and object stores.
    #[must_use]
    pub fn with_blobs(mut self, blobs: Arc<dyn Blobs>) -> Self {
        self.blobs = blobs;
        self
    }

    /// A store that keeps the output of commands in `logs`, for wrappers and object stores.
    #[must_use]
    pub fn with_logs(mut self, logs: Arc<dyn Logs>) -> Self {
        self.logs = logs;
        self
    }

    /// A ledger of the event log. Its term begins with its first append, or with
    /// [`Ledger::begin`], and ends every other one: a farm has one ledger, its coordinator's.
    pub fn ledger(&self) -> Ledger {
        Ledger::new(self.events.clone(), self.records.clone())
    }

    /// Ends the use of the store: `farmer.db` is whole by itself then, and may be copied.
    ///
    /// # Errors
    /// As [`EventLog::close`].
    pub async fn close(&self) -> Result<()> {
        self.events.close().await
    }

    /// The event log, to read.
    pub fn events(&self) -> &Arc<dyn EventLog> {
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

    /// Which of them somebody uses at present: no sweep removes those.
    pub fn in_use(&self) -> &InUse {
        &self.in_use
    }

    /// The output of commands.
    pub fn logs(&self) -> &Arc<dyn Logs> {
        &self.logs
    }

    /// The lock of the data directory, through which the owner tells where it answers.
    pub fn lock(&self) -> Option<&DataLock> {
        match &self.place {
            Place::Memory(_) | Place::Elsewhere(_) => None,
            Place::Directory(_, lock) => Some(lock),
        }
    }

    /// The data directory; a temporary one, removed at the end, for a store in memory.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn dir(&self) -> Result<&Path> {
        match &self.place {
            Place::Directory(dir, _) | Place::Elsewhere(dir) => Ok(dir),
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
