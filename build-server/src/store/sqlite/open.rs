//! Opening the file: settings, check, schema, and what SQLite's errors mean.

use std::path::Path;
use std::time::Duration;

use build_core::{Error, ErrorKind, Result};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection, Executor};

/// Changes of the schema, oldest first; `user_version` counts those that were made.
const MIGRATIONS: [&str; 5] = [
    include_str!("migrations/0001_events.sql"),
    include_str!("migrations/0002_board.sql"),
    include_str!("migrations/0003_session.sql"),
    include_str!("migrations/0004_tested.sql"),
    include_str!("migrations/0005_packs.sql"),
];
/// How long one connection waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// What the write-ahead log is cut back to after a reader that took long has let it grow.
const JOURNAL_BYTES: &str = "16777216";
/// Connections for readers: enough for the pages of one machine, few enough to be cheap.
const READERS: u32 = 4;

pub(super) fn failed(path: &Path, what: &str, error: sqlx::Error) -> Error {
    let (kind, hint) = meaning(&error);
    let error = Error::caused_by(kind, format!("{what} {}", path.display()), error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn meaning(error: &sqlx::Error) -> (ErrorKind, Option<&'static str>) {
    let code = match error {
        sqlx::Error::Database(error) => error.code(),
        sqlx::Error::PoolTimedOut => return (ErrorKind::TimedOut, None),
        _ => return (ErrorKind::Unavailable, None),
    };
    // SQLite's primary result code is the low byte of the extended one.
    let code = code.and_then(|c| c.parse::<i32>().ok()).unwrap_or(1) & 0xff;
    match code {
        5 | 6 => (
            ErrorKind::Conflict,
            Some("another process writes to this file"),
        ),
        3 | 8 => (
            ErrorKind::Denied,
            Some("make the file and its directory writable"),
        ),
        11 | 26 => (
            ErrorKind::Corrupt,
            Some("keep the file; restore a copy, or begin with another data directory"),
        ),
        13 => (
            ErrorKind::Limit,
            Some("free some disk space; nothing recorded is lost"),
        ),
        14 => (ErrorKind::NotFound, None),
        _ => (ErrorKind::Unavailable, None),
    }
}

fn settings(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("journal_size_limit", JOURNAL_BYTES)
        .synchronous(SqliteSynchronous::Full)
}

/// The one connection that writes.
pub(super) async fn writer(path: &Path, max_bytes: Option<u64>) -> Result<SqliteConnection> {
    let named = |e| failed(path, "open", e);
    let settings = settings(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let mut writer = SqliteConnection::connect_with(&settings)
        .await
        .map_err(named)?;
    migrate(&mut writer, path).await?;
    if let Some(bytes) = max_bytes {
        limit_size(&mut writer, bytes).await.map_err(named)?;
    }
    Ok(writer)
}

/// Connections that only read, made when they are needed.
pub(super) async fn readers(path: &Path) -> Result<SqlitePool> {
    let pool = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(BUSY_TIMEOUT)
        // A file does not hang up: asking each time would double the way to a row.
        .test_before_acquire(false)
        .connect_with(settings(path).read_only(true))
        .await;
    pool.map_err(|e| failed(path, "open", e))
}

async fn migrate(writer: &mut SqliteConnection, path: &Path) -> Result<()> {
    let named = |e| failed(path, "open", e);
    let made: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *writer)
        .await
        .map_err(named)?;
    let made = usize::try_from(made).unwrap_or(usize::MAX);
    let Some(missing) = MIGRATIONS.get(made..) else {
        let text = format!("{} was written by a newer version", path.display());
        return Err(Error::new(ErrorKind::Unsupported, text)
            .with_hint("use that version, or another data directory"));
    };
    for (change, number) in missing.iter().zip(made + 1..) {
        let mut transaction = writer.begin().await.map_err(named)?;
        transaction.execute(*change).await.map_err(named)?;
        let count = AssertSqlSafe(format!("PRAGMA user_version = {number}"));
        transaction.execute(count).await.map_err(named)?;
        transaction.commit().await.map_err(named)?;
    }
    Ok(())
}

async fn limit_size(writer: &mut SqliteConnection, bytes: u64) -> Result<(), sqlx::Error> {
    let page: i64 = sqlx::query_scalar("PRAGMA page_size")
        .fetch_one(&mut *writer)
        .await?;
    let pages = bytes / u64::try_from(page).unwrap_or(4096).max(1);
    let limit = AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
    writer.execute(limit).await?;
    Ok(())
}
