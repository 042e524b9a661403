//! SQL over the corpus: rows in a file that is kept, build records and other files beside it.

mod answer;
mod builds;
mod git_file;
mod question;
mod row_file;

use std::path::Path;

use farmer_cli::{Exit, Failure};
use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _};

pub(crate) use self::answer::print_answer;
pub(crate) use self::builds::{add_builds, are_in};
pub(crate) use self::git_file::GitRows;
pub(crate) use self::question::{Question, print_tables};
pub(crate) use self::row_file::{build, of_log, of_repository};

/// The file of rows, to be asked; nothing in it can be changed.
pub(crate) async fn open(file: &Path) -> Result<SqliteConnection, Failure> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    SqliteConnection::connect_with(&options)
        .await
        .map_err(|e| broken(&e))
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

/// Whether a file turned out to be damaged.
fn is_torn(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    let code = code.and_then(|code| code.parse::<u32>().ok());
    // SQLITE_CORRUPT and SQLITE_NOTADB with their kinds, and a file that ends too early.
    code.is_some_and(|code| matches!(code & 0xff, 11 | 26) || code == 522)
}

/// What is at fault when a repository cannot be read, and what to do.
pub(crate) fn no_repository(error: &maintner_core::Error) -> Failure {
    match error {
        maintner_core::Error::Repository { .. } => {
            Failure::because(Exit::Usage, error, Some(NAME_ONE))
        }
        _ => crate::maintq::failure(error),
    }
}

pub(crate) const NAME_ONE: &str = "name a repository with --repo, or a folder of logs with --log";

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
