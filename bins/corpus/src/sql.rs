//! SQL over the corpus: rows in a file that is kept, build records and other files beside it.

mod answer;
mod question;
mod row_file;

use std::path::Path;

use farmer_cli::{Exit, Failure};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _};

pub(crate) use self::answer::print_answer;
pub(crate) use self::question::{Question, print_tables};
pub(crate) use self::row_file::{build, of_log, of_repository};

/// The file of a data directory that holds what was built.
const RECORDS: &str = "farmer.db";
/// The builds as one table; the rest of the records is in the database `records`.
const BUILDS_VIEW: &str = "CREATE TEMP VIEW builds AS SELECT id, state, repo, branch, builder, \
    commit_hash, open, number FROM records.build";

/// The file of rows, to be asked; nothing in it can be changed.
pub(crate) async fn open(file: &Path) -> Result<SqliteConnection, Failure> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    SqliteConnection::connect_with(&options)
        .await
        .map_err(|e| broken(&e))
}

/// Adds the builds that `records` holds: a data directory, or the file in it.
pub(crate) async fn attach_records(
    db: &mut SqliteConnection,
    records: &Path,
) -> Result<(), Failure> {
    let file = if records.is_dir() {
        records.join(RECORDS)
    } else {
        records.to_owned()
    };
    if !file.exists() {
        return Err(Failure::usage(
            format!("there are no build records at {}", file.display()),
            "name a data directory in which something was built, or its farmer.db",
        ));
    }
    attach_as(db, "records", &file.to_string_lossy()).await?;
    let known = sqlx::query(BUILDS_VIEW).execute(&mut *db).await;
    let known = match known {
        // A view is only looked at when it is asked.
        Ok(_) => {
            sqlx::query("SELECT * FROM builds LIMIT 0")
                .execute(db)
                .await
        }
        Err(error) => Err(error),
    };
    known.map_err(|error| {
        let text = format!("{} holds no build records", file.display());
        let error = anyhow::Error::new(error).context(text);
        Failure::because(
            Exit::Usage,
            error.as_ref(),
            Some("name the farmer.db of a data directory"),
        )
    })?;
    Ok(())
}

/// Adds `NAME=FILE`.
pub(crate) async fn attach(db: &mut SqliteConnection, what: &str) -> Result<(), Failure> {
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
    attach_as(db, name, file).await
}

async fn attach_as(db: &mut SqliteConnection, name: &str, file: &str) -> Result<(), Failure> {
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

fn broken(error: &sqlx::Error) -> Failure {
    Failure::because(
        Exit::Infrastructure,
        error,
        Some("is there room on the disk, and is the folder writable?"),
    )
}
