//! The event log and its rows in one SQLite file.
//!
//! One connection writes a group of batches in one durable transaction, events, memos and rows
//! together. Readers have connections of their own and, by the write-ahead log, never wait for the
//! writer.

mod board;
mod health;
mod log;
mod open;
mod packs;
mod records;
mod rows;

use std::path::{Path, PathBuf};

use build_core::event::Seq;
use build_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqlitePool;
use tokio::sync::watch;

use self::log::{Writer, event, head_of};
use self::rows::Trouble;

/// Rows in one statement: at most nine values each, far below SQLite's limit of 32,766.
const INSERT_ROWS: usize = 500;

/// How the file is opened.
#[derive(Clone, Debug, Default)]
pub struct SqliteOptions {
    max_bytes: Option<u64>,
    accept_lost: bool,
}

impl SqliteOptions {
    /// Appends fail as on a full disk when the file would become larger. Unset: the disk is the limit.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Goes on with a file whose write-ahead log was lost, without the events that were in it.
    /// Unset: such a file is refused.
    #[must_use]
    pub fn accept_lost_events(mut self) -> Self {
        self.accept_lost = true;
        self
    }
}

/// Events and rows in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    /// `None` when opened to read.
    writer: Option<tokio::sync::Mutex<Writer>>,
    readers: SqlitePool,
    /// What was missing when the file was opened.
    lost: Option<String>,
    /// Where the log ends, as far as this process has written it.
    head: watch::Sender<Seq>,
}

fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::caused_by(ErrorKind::Bug, "write a record", e))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|e| Error::caused_by(ErrorKind::Corrupt, "read a stored record", e))
}

fn from_bytes<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text)
        .map_err(|e| Error::caused_by(ErrorKind::Corrupt, "read a stored record", e))
}

fn to_i64(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

fn to_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn to_seq(number: i64) -> Seq {
    Seq(u64::try_from(number).unwrap_or(0))
}

impl SqliteStore {
    /// Opens the file, made when missing, brings its schema up to date, and folds its rows anew
    /// when they are of another version.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the file is damaged, no database, or has lost events that were
    /// written to it, [`ErrorKind::Denied`] when
    /// it cannot be written, [`ErrorKind::Unsupported`] when a newer version has written it, or
    /// one from before the format was settled.
    pub async fn open(path: &Path, options: SqliteOptions) -> Result<Self> {
        let connection = open::writer(path, &options).await?;
        let readers = open::readers(path).await?;
        let head = head_of(&readers).await;
        let head = head.map_err(|e| open::failed(path, "open", e))?;
        if !options.accept_lost {
            health::check(path, head)?;
        }
        let lost = health::missing(path, head);
        if lost.is_some() {
            // Accepted: told once, and the next start goes on from here.
            health::HeadFile::open(path).write(head);
        }
        Ok(Self {
            lost,
            path: path.into(),
            writer: Some(tokio::sync::Mutex::new(Writer::new(
                connection, path, options,
            ))),
            readers,
            head: watch::channel(head).0,
        })
    }

    /// Opens the file beside a process that owns it; nothing can be appended.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such file; otherwise as [`SqliteStore::open`].
    pub async fn open_to_read(path: &Path) -> Result<Self> {
        let readers = open::readers(path).await?;
        open::check_version(&readers, path).await?;
        Ok(Self {
            lost: None,
            path: path.into(),
            writer: None,
            readers,
            head: watch::channel(Seq(0)).0,
        })
    }

    /// Writes the database as it is at one instant into a new file, which is whole by itself.
    /// Nobody waits for that, neither who reads nor who writes.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] when the disk is full, [`ErrorKind::Corrupt`] when the file is damaged;
    /// otherwise when the new file cannot be made.
    pub async fn copy_to(&self, path: &Path) -> Result<()> {
        let Some(name) = path.to_str() else {
            let text = format!("{} is no text", path.display());
            return Err(Error::new(ErrorKind::Invalid, text));
        };
        let copied = sqlx::query("VACUUM INTO ?").bind(name);
        let copied = copied.execute(&self.readers).await;
        copied.map(drop).map_err(|e| self.failed("copy", e))
    }

    fn failed(&self, what: &str, error: sqlx::Error) -> Error {
        open::failed(&self.path, what, error)
    }

    fn trouble(&self, what: &str, trouble: Trouble) -> Error {
        match trouble {
            Trouble::Sql(error) => self.failed(what, error),
            Trouble::Record(error) => error,
        }
    }

    fn writer(&self) -> Result<&tokio::sync::Mutex<Writer>> {
        self.writer.as_ref().ok_or_else(|| {
            let text = format!("{} was opened to read", self.path.display());
            Error::new(ErrorKind::Denied, text)
        })
    }
}
