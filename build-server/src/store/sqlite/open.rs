//! Opening the file: settings, check, schema, and what SQLite's errors mean.

use std::path::Path;
use std::time::Duration;

use build_core::{Error, ErrorKind, Result};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection, Executor, Sqlite};

use super::SqliteOptions;
use super::records::refold;
use super::rows::Trouble;
use crate::record::ROWS_VERSION;
use crate::store::private;

/// The version that the format begins with; what is older was never released.
const FIRST_VERSION: i64 = 6;
/// The schema as it begins, then its changes, oldest first: the first one makes
/// [`FIRST_VERSION`], each further one adds one. `user_version` tells which were made.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0006_streams.sql")];
/// The oldest version whose programs may write to a file of the newest one: changes that only add
/// leave it, so that a farm goes back to the program before as it came. A file says both, this one
/// above the lower 16 bits of `user_version` where they differ.
const OLDEST_WRITER: i64 = 6;
const NEWEST_VERSION: i64 = FIRST_VERSION + MIGRATIONS.len() as i64 - 1;
const OLDEST_SHIFT: u32 = 16;
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
pub(super) async fn writer(path: &Path, options: &SqliteOptions) -> Result<SqliteConnection> {
    let named = |e| failed(path, "open", e);
    // SQLite takes the umask's word for it; its other files get the mode of this one.
    private::open(path)
        .map_err(|e| Error::from(e).while_doing(format!("open {}", path.display())))?;
    let settings = settings(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let mut writer = SqliteConnection::connect_with(&settings)
        .await
        .map_err(named)?;
    migrate(&mut writer, path).await?;
    if let Some(bytes) = options.max_bytes {
        limit_size(&mut writer, bytes).await.map_err(named)?;
    }
    Ok(writer)
}

/// Another connection that writes, in the place of one that has failed.
pub(super) async fn writer_again(
    path: &Path,
    options: &SqliteOptions,
) -> Result<SqliteConnection, sqlx::Error> {
    let mut writer = SqliteConnection::connect_with(&settings(path)).await?;
    if let Some(bytes) = options.max_bytes {
        limit_size(&mut writer, bytes).await?;
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

async fn version_of<'a>(db: impl Executor<'a, Database = Sqlite>, path: &Path) -> Result<i64> {
    let version = sqlx::query_scalar("PRAGMA user_version");
    let version: Result<i64, _> = version.fetch_one(db).await;
    version.map_err(|e| failed(path, "open", e))
}

/// How many of the changes were made; an error that says what to do when that is no number.
fn made(version: i64, path: &Path) -> Result<usize> {
    let path = path.display();
    if (1..FIRST_VERSION).contains(&version) {
        let text = format!("{path} was written before the format was settled, and is not read");
        return Err(Error::new(ErrorKind::Unsupported, text).with_hint(
            "move its data directory away, or name another one: a new farm begins there, and \
             builds its commits again",
        ));
    }
    let (oldest, version) = (version >> OLDEST_SHIFT, version & ((1 << OLDEST_SHIFT) - 1));
    let made = match version {
        0 => Some(0),
        _ => usize::try_from(version - FIRST_VERSION + 1).ok(),
    };
    // What a newer version has added disturbs nobody where that version says so.
    let is_for_us = (1..=NEWEST_VERSION).contains(&oldest);
    made.map(|made| {
        if is_for_us {
            made.min(MIGRATIONS.len())
        } else {
            made
        }
    })
    .filter(|made| *made <= MIGRATIONS.len())
    .ok_or_else(|| {
        let text = format!("{path} was written by a newer version");
        Error::new(ErrorKind::Unsupported, text)
            .with_hint("use that version, or another data directory")
    })
}

/// How a file says its version.
fn marked(version: i64) -> i64 {
    match version == OLDEST_WRITER {
        true => version,
        false => OLDEST_WRITER << OLDEST_SHIFT | version,
    }
}

/// Refuses a file that this version cannot read.
pub(super) async fn check_version(readers: &SqlitePool, path: &Path) -> Result<()> {
    made(version_of(readers, path).await?, path).map(|_| ())
}

async fn migrate(writer: &mut SqliteConnection, path: &Path) -> Result<()> {
    let named = |e| failed(path, "open", e);
    let made = made(version_of(&mut *writer, path).await?, path)?;
    for (change, number) in MIGRATIONS.iter().zip(FIRST_VERSION..).skip(made) {
        let mut transaction = writer.begin().await.map_err(named)?;
        transaction.execute(*change).await.map_err(named)?;
        let count = AssertSqlSafe(format!("PRAGMA user_version = {}", marked(number)));
        transaction.execute(count).await.map_err(named)?;
        transaction.commit().await.map_err(named)?;
    }
    fold_anew(writer, path).await
}

/// Rows of another version of the fold are folded anew, all or none.
async fn fold_anew(writer: &mut SqliteConnection, path: &Path) -> Result<()> {
    let fold = async {
        let rows = sqlx::query_scalar("SELECT rows FROM farm");
        let rows: i64 = rows.fetch_one(&mut *writer).await?;
        if rows == i64::from(ROWS_VERSION) {
            return Ok(());
        }
        let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
        refold(&mut transaction).await?;
        Ok(transaction.commit().await?)
    };
    let done: Result<(), Trouble> = fold.await;
    done.map_err(|trouble| match trouble {
        Trouble::Sql(error) => failed(path, "fold the rows of", error),
        Trouble::Record(error) => error,
    })
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
