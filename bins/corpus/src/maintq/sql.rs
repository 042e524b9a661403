//! `maintq sql`: the corpus as an SQLite file, made once for each state of the log.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use farmer_cli::{Exit, Failure};
use futures::StreamExt as _;
use maintner_core::View;
use maintner_core::log::{LogFolder, Sha224Hex};
use serde_json::{Map, Value};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Executor as _, Row as _, TypeInfo as _,
    ValueRef as _,
};

use super::input::{corpus, failure};
use crate::out::Out;
use crate::progress;
use crate::rows::{Cell, TABLES, Table, each_row};

/// Changes when the tables do, so that older files are made anew.
const VERSION: u32 = 1;
/// Values of one INSERT; SQLite allows 32,766.
const VALUES: usize = 2_000;
/// Indices made once all rows are there.
const INDICES: &[&str] = &[
    "issues(repo, number)",
    "comments(repo, number)",
    "events(repo, number)",
    "commits(hash)",
    "commit_files(hash)",
    "cls(project, number)",
    "cl_messages(project, number)",
];

/// Asks the corpus in SQL; without a query lists the tables
///
/// The rows are kept in a file beside the log and made again when the log has changed.
/// Times are Unix seconds.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Log folder
    folder: PathBuf,
    /// The query
    query: Option<String>,
    /// One JSON object a row
    #[arg(long)]
    json: bool,
    /// Another SQLite file, to be queried as NAME.TABLE; may be given several times
    #[arg(long, value_name = "NAME=FILE")]
    attach: Vec<String>,
    /// Folder for the file of rows instead of the log folder
    #[arg(long)]
    cache: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let Some(query) = &self.query else {
            return tables(out);
        };
        let runtime = tokio::runtime::Handle::current();
        let file = self.file()?;
        if !file.exists() {
            let view = corpus(&self.folder)?.view();
            runtime.block_on(build(&view, &file))?;
        }
        runtime.block_on(self.ask(&file, query, out))
    }

    /// The file of rows for the log as it is now.
    fn file(&self) -> Result<PathBuf, Failure> {
        let log = LogFolder::open(&self.folder).map_err(|e| failure(&e))?;
        let mut key = format!("{VERSION}\n");
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
        let key = Sha224Hex::of(key.as_bytes()).to_string();
        let folder = self.cache.as_ref().unwrap_or(&self.folder);
        Ok(folder.join(format!("corpus-{}.sqlite", &key[..16])))
    }

    async fn ask(&self, file: &Path, query: &str, out: &mut Out) -> Result<(), Failure> {
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        let mut db = SqliteConnection::connect_with(&options)
            .await
            .map_err(|e| broken(&e))?;
        for attached in &self.attach {
            attach(&mut db, attached).await?;
        }
        let mut rows = db.fetch(AssertSqlSafe(query));
        let mut first = true;
        while let Some(row) = rows.next().await {
            let row = row.map_err(|error| {
                Failure::because(
                    Exit::Usage,
                    &error,
                    Some("maintq sql FOLDER lists the tables"),
                )
            })?;
            if self.json {
                writeln!(out, "{}", object(&row))?;
            } else {
                print(&row, first, out)?;
            }
            first = false;
        }
        Ok(())
    }
}

fn tables(out: &mut Out) -> Result<(), Failure> {
    for table in TABLES {
        let columns: Vec<&str> = table.columns.iter().map(|column| column.0).collect();
        writeln!(out, "{}({})", table.name, columns.join(", "))?;
    }
    Ok(())
}

async fn attach(db: &mut SqliteConnection, what: &str) -> Result<(), Failure> {
    let hint = "write --attach builds=path/to/file";
    let Some((name, file)) = what.split_once('=').filter(|(name, _)| is_name(name)) else {
        return Err(Failure::usage(
            format!("--attach {what:?} is no NAME=FILE"),
            hint,
        ));
    };
    if !Path::new(file).exists() {
        return Err(Failure::usage(
            format!("there is no file {file:?} to attach"),
            hint,
        ));
    }
    let attach = AssertSqlSafe(format!("ATTACH DATABASE ? AS {name}"));
    sqlx::query(attach)
        .bind(file)
        .execute(db)
        .await
        .map_err(|e| broken(&e))?;
    Ok(())
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Makes the file; it appears under its name only when it is whole.
async fn build(view: &View, file: &Path) -> Result<(), Failure> {
    remove_older(file);
    let unfinished = file.with_extension("unfinished");
    // What an interrupted run left is made anew.
    if unfinished.exists() {
        fs::remove_file(&unfinished)?;
    }
    let options = SqliteConnectOptions::new()
        .filename(&unfinished)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off);
    let mut db = SqliteConnection::connect_with(&options)
        .await
        .map_err(|e| broken(&e))?;
    fill(view, &mut db).await?;
    db.close().await.map_err(|e| broken(&e))?;
    fs::rename(&unfinished, file)?;
    Ok(())
}

async fn fill(view: &View, db: &mut SqliteConnection) -> Result<(), Failure> {
    for table in TABLES {
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|(name, kind)| format!("\"{name}\" {kind}"))
            .collect();
        run(
            db,
            format!("CREATE TABLE {}({})", table.name, columns.join(", ")),
        )
        .await?;
    }
    run(db, "BEGIN".to_owned()).await?;
    let bar = progress::spinner("making rows");
    // Reading is plain code and writing is not: a bounded queue joins the two.
    let (send, mut receive) = tokio::sync::mpsc::channel(4);
    let view = view.clone();
    let reader = tokio::task::spawn_blocking(move || batches(&view, &send));
    while let Some((table, cells)) = receive.recv().await {
        insert(db, table, cells).await?;
    }
    drop(receive);
    reader
        .await
        .map_err(|error| Failure::because(Exit::Infrastructure, &error, None))??;
    for index in INDICES {
        let name = index.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        run(db, format!("CREATE INDEX {name} ON {index}")).await?;
    }
    run(db, "COMMIT".to_owned()).await?;
    bar.finish_and_clear();
    Ok(())
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

async fn insert(
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

async fn run(db: &mut SqliteConnection, statement: String) -> Result<(), Failure> {
    sqlx::query(AssertSqlSafe(statement))
        .execute(db)
        .await
        .map_err(|e| broken(&e))?;
    Ok(())
}

/// Files for older states of the log are of no use any more.
fn remove_older(file: &Path) {
    let Some(folder) = file.parent() else { return };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("corpus-") && name.ends_with(".sqlite") {
            // It costs disk space only when it stays.
            let _may_stay = fs::remove_file(entry.path());
        }
    }
}

fn print(row: &SqliteRow, first: bool, out: &mut Out) -> Result<(), Failure> {
    if first {
        let names: Vec<&str> = row.columns().iter().map(sqlx::Column::name).collect();
        writeln!(out, "{}", names.join("\t"))?;
    }
    let cells = (0..row.len()).map(|index| match value(row, index) {
        Value::String(text) => text.replace(['\t', '\n', '\r'], " "),
        Value::Null => String::new(),
        other => other.to_string(),
    });
    writeln!(out, "{}", cells.collect::<Vec<_>>().join("\t"))?;
    Ok(())
}

fn object(row: &SqliteRow) -> Value {
    let named = row.columns().iter().enumerate();
    Value::Object(
        named
            .map(|(index, column)| (column.name().to_owned(), value(row, index)))
            .collect::<Map<_, _>>(),
    )
}

/// The value by the type that SQLite gave it.
fn value(row: &SqliteRow, index: usize) -> Value {
    let kind = row
        .try_get_raw(index)
        .map(|raw| raw.type_info().name().to_owned());
    match kind.as_deref() {
        Ok("INTEGER" | "BOOLEAN") => row
            .try_get::<i64, _>(index)
            .map_or(Value::Null, Value::from),
        Ok("REAL") => row
            .try_get::<f64, _>(index)
            .map_or(Value::Null, Value::from),
        Ok("TEXT") => row
            .try_get::<String, _>(index)
            .map_or(Value::Null, Value::from),
        Ok("BLOB") => row
            .try_get::<Vec<u8>, _>(index)
            .map_or(Value::Null, |b| Value::from(b.escape_ascii().to_string())),
        _ => Value::Null,
    }
}

fn broken(error: &sqlx::Error) -> Failure {
    Failure::because(
        Exit::Infrastructure,
        error,
        Some("is there room on the disk, and is the folder writable?"),
    )
}
