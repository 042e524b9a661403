//! The dashboard's tables: written with the rows of builds, read by index.

use build_core::clock::Timestamp;
use build_core::ids::RepoName;
use build_core::name::Name;
use build_core::{Error, ErrorKind, Result};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Executor, QueryBuilder, Row, Sqlite};

use super::rows::Trouble;
use super::{from_bytes, to_i64, to_json, to_limit, to_seq};
use crate::record::BuildRow;
use crate::store::board::{
    BoardCell, BoardCommit, BoardFilter, BoardLine, BoardPlace, KnownRepo, known_repos,
};

/// Brings the cell of a build up to date, unless a later build of the commit has it.
pub(super) async fn save(db: &mut SqliteConnection, row: &BuildRow) -> Result<(), Trouble> {
    let Some(cell) = BoardCell::of(row) else {
        return Ok(());
    };
    let item = &row.item;
    let branch = item.branch.as_ref().map(Name::escaped);
    let branch = branch.as_deref().unwrap_or_default();
    let line = sqlx::query(
        "INSERT INTO line (number, repo, branch, commit_hash, time, body)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    );
    let line = line.bind(to_i64(row.number)).bind(item.repo.as_str());
    let line = line.bind(branch).bind(item.commit.as_str());
    let line = line.bind(item.place().as_micros());
    let line = line.bind(to_json(&BoardCommit::of(item))?);
    if line.execute(&mut *db).await?.rows_affected() > 0 {
        let newest = sqlx::query(
            "INSERT INTO branch (repo, branch, newest) VALUES (?, ?, ?)
             ON CONFLICT DO UPDATE SET newest = max(newest, excluded.newest)",
        );
        let newest = newest.bind(item.repo.as_str()).bind(branch);
        let newest = newest.bind(item.commit_time.as_micros());
        newest.execute(&mut *db).await?;
    }
    let save = sqlx::query(
        "INSERT INTO cell (line, builder, number, body)
         SELECT number, ?, ?, ? FROM line WHERE repo = ? AND commit_hash = ? AND branch = ?
         ON CONFLICT DO UPDATE SET number = excluded.number, body = excluded.body
         WHERE excluded.number >= number",
    );
    let save = save.bind(row.builder.as_str()).bind(to_i64(row.number));
    let save = save.bind(to_json(&cell)?).bind(item.repo.as_str());
    let save = save.bind(item.commit.as_str()).bind(branch);
    save.execute(db).await?;
    Ok(())
}

/// At most `limit` lines behind `before`, in order.
pub(super) async fn lines<'a>(
    db: impl Executor<'a, Database = Sqlite>,
    which: &BoardFilter,
    before: Option<BoardPlace>,
    limit: usize,
) -> Result<Vec<BoardLine>, Trouble> {
    let mut read = QueryBuilder::<Sqlite>::new(
        "SELECT number, time, CAST(body AS BLOB) AS body,
           CAST((SELECT '[' || coalesce(group_concat(cell.body), '') || ']'
            FROM cell WHERE cell.line = line.number AND json_valid(cell.body)) AS BLOB) AS cells
         FROM line WHERE repo = ",
    );
    read.push_bind(which.repo.as_str().to_owned());
    if let Some(branch) = &which.branch {
        read.push(" AND branch = ")
            .push_bind(branch.escaped().into_owned());
    }
    if let Some((time, number)) = before.map(BoardPlace::parts) {
        read.push(" AND time <= ").push_bind(time.as_micros());
        read.push(" AND (time < ").push_bind(time.as_micros());
        read.push(" OR number > ").push_bind(to_i64(number));
        read.push(")");
    }
    read.push(" ORDER BY time DESC, number LIMIT ");
    read.push_bind(to_limit(limit));
    let rows = read.build().fetch_all(db).await?;
    let read = |row| match line(row) {
        Ok(line) => Ok(Some(line)),
        Err(Trouble::Record(error)) => {
            tracing::error!(
                error = error.chain(),
                "a damaged line of a board is left out"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    };
    rows.iter()
        .map(read)
        .filter_map(Result::transpose)
        .collect()
}

fn line(row: &SqliteRow) -> Result<BoardLine, Trouble> {
    let time = Timestamp::from_micros(row.try_get("time")?);
    let cells: Vec<u8> = row.try_get("cells")?;
    let cells: Vec<BoardCell> = from_bytes(&cells)?;
    let cells = cells.into_iter().map(|cell| (cell.builder.clone(), cell));
    Ok(BoardLine {
        place: BoardPlace::new(time, to_seq(row.try_get("number")?)),
        commit: from_bytes(&row.try_get::<Vec<u8>, _>("body")?)?,
        cells: cells.collect(),
    })
}

/// Every repository with its branches, the one with the newest commit first.
pub(super) async fn repos<'a>(
    db: impl Executor<'a, Database = Sqlite>,
) -> Result<Vec<KnownRepo>, Trouble> {
    let read = sqlx::query_as("SELECT repo, branch, newest FROM branch ORDER BY repo, branch");
    let branches: Vec<(String, String, i64)> = read.fetch_all(db).await?;
    let named = |(repo, branch, newest): (String, String, i64)| {
        let repo: RepoName = from_stored(repo)?;
        let branch = Name::unescape(&branch);
        Ok((repo, branch, Timestamp::from_micros(newest)))
    };
    let branches: Vec<_> = branches.into_iter().map(named).collect::<Result<_>>()?;
    Ok(known_repos(branches.into_iter()))
}

fn from_stored(repo: String) -> Result<RepoName> {
    RepoName::new(repo).map_err(|e| Error::caused_by(ErrorKind::Corrupt, "read a stored record", e))
}
