//! The corpus as an SQLite file, made once for each state of the log.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use farmer_cli::{Exit, Failure};
use maintner_core::View;
use maintner_core::log::{LogFolder, Sha224Hex};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _};

use super::broken;
use crate::maintq::failure;
use crate::rows::{Cell, TABLES, Table, each_row};
use farmer_cli::progress::{self, ProgressBar};

/// Changes when the tables do, so that older files are made anew.
pub(super) const VERSION: u32 = 2;
/// Values of one INSERT; SQLite allows 32,766.
pub(super) const VALUES: usize = 2_000;
/// A file that is still being made is written to more often than this.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Indices made once all rows are there.
const INDICES: &[&str] = &[
    "issues(repo, number)",
    "comments(repo, number)",
    "events(repo, number)",
    "commits(hash)",
    "commit_parents(hash)",
    "commit_files(hash)",
    "cls(project, number)",
    "cl_messages(project, number)",
];

/// The file of rows, in `folder`, for the log as it is now.
pub(crate) fn of_log(log: &Path, folder: &Path) -> Result<PathBuf, Failure> {
    let log = LogFolder::open(log).map_err(|e| failure(&e))?;
    let mut key = String::new();
    for segment in log.segments() {
        let modified = fs::metadata(segment.path()).and_then(|meta| meta.modified());
        let modified = modified
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        key.push_str(&format!(
            "{} {} {modified:?}\n",
            segment.name(),
            segment.len()
        ));
    }
    Ok(named(folder, &key))
}

/// The file of rows, in `folder`, for a repository whose refs are at `position`.
pub(crate) fn of_repository(position: &Sha224Hex, folder: &Path) -> PathBuf {
    named(folder, &position.to_string())
}

fn named(folder: &Path, key: &str) -> PathBuf {
    let key = Sha224Hex::of(format!("{VERSION}\n{key}").as_bytes()).to_string();
    folder.join(format!("corpus-{}.sqlite", &key[..16]))
}

/// Makes the file; it appears under its name only when it is whole.
pub(crate) async fn build(view: &View, file: &Path) -> Result<(), Failure> {
    remove_older(file);
    let (unfinished, mut db) = begin(file).await?;
    let bar = progress::counter("rows made");
    add(view, &mut db, &bar).await?;
    bar.finish_and_clear();
    finish(db).await?;
    fs::rename(&unfinished, file)?;
    Ok(())
}

/// An empty file with all tables, to be filled and then given the name `file`. Several programs
/// may make it at once; each its own.
pub(super) async fn begin(file: &Path) -> Result<(PathBuf, SqliteConnection), Failure> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let unfinished = unfinished_name(file);
    // Of a process that had the same number.
    let _not_there = fs::remove_file(&unfinished);
    let options = SqliteConnectOptions::new()
        .filename(&unfinished)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off);
    let mut db = SqliteConnection::connect_with(&options)
        .await
        .map_err(|e| broken(&e))?;
    for table in TABLES {
        create(&mut db, table).await?;
    }
    run(&mut db, "BEGIN".to_owned()).await?;
    Ok((unfinished, db))
}

/// What a file is called until it is whole: each that is made at one time has its own name.
fn unfinished_name(file: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    file.with_extension(format!("unfinished-{}-{count}", std::process::id()))
}

pub(super) async fn create(db: &mut SqliteConnection, table: &Table) -> Result<(), Failure> {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|(name, kind)| format!("\"{name}\" {kind}"))
        .collect();
    let create = format!("CREATE TABLE {}({})", table.name, columns.join(", "));
    run(db, create).await
}

/// Indices, once all rows are there.
pub(super) async fn finish(mut db: SqliteConnection) -> Result<(), Failure> {
    for index in INDICES {
        let name = index.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        run(&mut db, format!("CREATE INDEX {name} ON {index}")).await?;
    }
    run(&mut db, "COMMIT".to_owned()).await?;
    db.close().await.map_err(|e| broken(&e))
}

/// Adds all rows of a corpus.
pub(super) async fn add(
    view: &View,
    db: &mut SqliteConnection,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    // Reading is plain code and writing is not: a bounded queue joins the two.
    let (send, mut receive) = tokio::sync::mpsc::channel(4);
    let view = view.clone();
    let reader = tokio::task::spawn_blocking(move || batches(&view, &send));
    while let Some((table, cells)) = receive.recv().await {
        bar.inc((cells.len() / table.columns.len()) as u64);
        insert(db, table, cells).await?;
    }
    drop(receive);
    reader
        .await
        .map_err(|error| Failure::because(Exit::Infrastructure, &error, None))?
}

type Batch = (&'static Table, Vec<Cell<'static>>);

/// Sends all rows, table by table as they come, many at a time.
fn batches(view: &View, send: &tokio::sync::mpsc::Sender<Batch>) -> Result<(), Failure> {
    let mut waiting: Vec<Vec<Cell<'static>>> = TABLES.iter().map(|_| Vec::new()).collect();
    let gone = || {
        Failure::because(
            Exit::Infrastructure,
            &std::io::Error::other("the rows could not be stored"),
            None,
        )
    };
    each_row(view, &mut |table, cells| {
        let index = TABLES
            .iter()
            .position(|t| t.name == table.name)
            .unwrap_or(0);
        let rows = &mut waiting[index];
        rows.extend(cells.iter().map(owned));
        if rows.len() + cells.len() > VALUES {
            send.blocking_send((table, std::mem::take(rows)))
                .map_err(|_| gone())?;
        }
        Ok(())
    })?;
    for (table, rows) in TABLES
        .iter()
        .zip(waiting)
        .filter(|(_, rows)| !rows.is_empty())
    {
        send.blocking_send((table, rows)).map_err(|_| gone())?;
    }
    Ok(())
}

fn owned(cell: &Cell<'_>) -> Cell<'static> {
    match cell {
        Cell::Null => Cell::Null,
        Cell::Int(n) => Cell::Int(*n),
        Cell::Text(text) => Cell::Text(text.clone().into_owned().into()),
    }
}

pub(super) async fn insert(
    db: &mut SqliteConnection,
    table: &Table,
    cells: Vec<Cell<'static>>,
) -> Result<(), Failure> {
    let columns = table.columns.len();
    let row = format!("({})", vec!["?"; columns].join(","));
    let rows = vec![row; cells.len() / columns].join(",");
    let mut query = sqlx::query::<sqlx::Sqlite>(AssertSqlSafe(format!(
        "INSERT INTO {} VALUES {rows}",
        table.name
    )));
    for cell in cells {
        query = match cell {
            Cell::Null => query.bind(None::<i64>),
            Cell::Int(n) => query.bind(n),
            Cell::Text(text) => query.bind(text.into_owned()),
        };
    }
    query.execute(db).await.map_err(|e| broken(&e))?;
    Ok(())
}

pub(super) async fn run(db: &mut SqliteConnection, statement: String) -> Result<(), Failure> {
    sqlx::query(AssertSqlSafe(statement))
        .execute(db)
        .await
        .map_err(|e| broken(&e))?;
    Ok(())
}

/// Files for older states of the log are of no use any more, nor is what a killed run left.
fn remove_older(file: &Path) {
    let Some(folder) = file.parent() else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let meta = || entry.metadata();
        let left = || name.contains(".unfinished-") && meta().is_ok_and(|m| is_abandoned(&m));
        if name.starts_with("corpus-") && (name.ends_with(".sqlite") || left()) {
            // It costs disk space only when it stays.
            let _may_stay = fs::remove_file(entry.path());
        }
    }
}

/// Whether nobody has written to the file for a long time.
pub(super) fn is_abandoned(meta: &fs::Metadata) -> bool {
    let age = meta.modified().map(|at| at.elapsed().unwrap_or_default());
    age.is_ok_and(|age| age > ABANDONED)
}
