//! Whether the file is whole: what SQLite finds, rows that cannot be read, events that were
//! written and are gone.
//!
//! After each commit the position of the last event is written into a file of its own,
//! `farmer.db-head`. A commit lives in `farmer.db-wal` until it is copied into `farmer.db`; when
//! that file is taken away or damaged SQLite goes on with what is there, without a word. The head
//! tells that something is missing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use build_core::event::Seq;
use build_core::{Error, ErrorKind, Result};
use futures::TryStreamExt;
use serde::de::DeserializeOwned;
use sqlx::AssertSqlSafe;

use super::SqliteStore;
use super::log::head_of;
use crate::record::{BuildRow, SessionRow, Tested, Timing};
use crate::store::board::{BoardCell, BoardCommit};
use crate::store::private;

/// The position of the last event that was written, beside the file.
pub(super) struct HeadFile(Option<File>);

fn place(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-head");
    name.into()
}

impl HeadFile {
    /// Without it, everything works but a lost event is not noticed.
    pub(super) fn open(path: &Path) -> Self {
        let place = place(path);
        let opened = private::open(&place);
        Self(opened.inspect_err(|error| told(&place, error)).ok())
    }

    /// Not forced to the disk: when it is older than the log, nothing is missed.
    pub(super) fn write(&self, head: Seq) {
        let written = self.0.as_ref().map(|file| {
            let text = format!("{:020}\n", head.0);
            file.write_all_at(text.as_bytes(), 0)
        });
        if let Some(Err(error)) = written {
            tracing::debug!(%error, "the head of the event log is not noted");
        }
    }

    /// `None` when nothing was noted, or it cannot be read.
    pub(super) fn read(path: &Path) -> Option<Seq> {
        let text = std::fs::read_to_string(place(path)).ok()?;
        text.trim().parse().ok().map(Seq)
    }
}

fn told(place: &Path, error: &std::io::Error) {
    tracing::warn!(%error, place = %place.display(), "events that get lost are not noticed");
}

/// What is missing of a file that ends at `head`, if something is.
pub(super) fn missing(path: &Path, head: Seq) -> Option<String> {
    let noted = HeadFile::read(path).filter(|noted| *noted > head)?;
    Some(format!(
        "{} ends at event {}, and event {} was written: its write-ahead log {}-wal is missing or damaged",
        path.display(),
        head.0,
        noted.0,
        path.display()
    ))
}

pub(super) fn check(path: &Path, head: Seq) -> Result<()> {
    match missing(path, head) {
        None => Ok(()),
        Some(text) => Err(Error::new(ErrorKind::Corrupt, text).with_hint(
            "put that file back beside it, or go on without those events: farmer doctor --mend",
        )),
    }
}

/// The tables of rows: what each is called, and whether its bodies can be read.
type Rows = (&'static str, fn(&[u8]) -> bool);
const ROWS: [Rows; 6] = [
    (
        "SELECT id, CAST(body AS BLOB) FROM build",
        reads::<BuildRow>,
    ),
    (
        "SELECT id, CAST(body AS BLOB) FROM session",
        reads::<SessionRow>,
    ),
    (
        "SELECT 'the time at ' || seq, CAST(body AS BLOB) FROM timing",
        reads::<Timing>,
    ),
    (
        "SELECT 'the tests at ' || seq, CAST(body AS BLOB) FROM tested",
        reads::<Tested>,
    ),
    (
        "SELECT 'the line at ' || number, CAST(body AS BLOB) FROM line",
        reads::<BoardCommit>,
    ),
    (
        "SELECT 'the cell at ' || number, CAST(body AS BLOB) FROM cell",
        reads::<BoardCell>,
    ),
];

fn reads<T: DeserializeOwned>(body: &[u8]) -> bool {
    serde_json::from_slice::<T>(body).is_ok()
}

impl SqliteStore {
    /// What is missing of events that were written, in a sentence; `None` when none is.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn lost_events(&self) -> Result<Option<String>> {
        let head = head_of(&self.readers).await;
        let head = head.map_err(|e| self.failed("read", e))?;
        Ok(self.lost.clone().or_else(|| missing(&self.path, head)))
    }

    /// What SQLite itself finds wrong with the file; empty when it is whole.
    ///
    /// # Errors
    /// When the file cannot be read at all.
    pub async fn complaints(&self) -> Result<Vec<String>> {
        let check = sqlx::query_scalar("PRAGMA quick_check(20)");
        let lines: Vec<String> = match check.fetch_all(&self.readers).await {
            Ok(lines) => lines,
            Err(error) => {
                let error = self.failed("check", error);
                match error.kind() {
                    ErrorKind::Corrupt => vec![error.to_string()],
                    _ => return Err(error),
                }
            }
        };
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// The names of rows that cannot be read. Rows follow from events: [`crate::store::Records::rebuild`]
    /// folds them again.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn damaged_rows(&self) -> Result<Vec<String>> {
        let mut damaged = Vec::new();
        for (query, reads) in ROWS {
            let mut rows =
                sqlx::query_as::<_, (String, Vec<u8>)>(AssertSqlSafe(query)).fetch(&self.readers);
            while let Some((name, body)) =
                rows.try_next().await.map_err(|e| self.failed("read", e))?
            {
                if !reads(&body) {
                    damaged.push(name);
                }
            }
        }
        Ok(damaged)
    }
}
