//! The rows in the file, as they are asked for.

use std::collections::HashMap;

use async_trait::async_trait;
use build_core::event::{KindSet, Seq};
use build_core::ids::{BuildId, BuilderName, RepoName, SessionId, StepName};
use build_core::report::{BuildStatus, Rerun};
use build_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor, QueryBuilder, Sqlite};

use super::log::page_of;
use super::rows::{Rows, Trouble};
use super::{INSERT_ROWS, SqliteStore, board, from_json, to_i64, to_limit, to_seq};
use crate::record::{BuildRow, ROWS_VERSION, SessionRow, Tested, Timing};
use crate::store::{
    BoardFilter, BoardPage, BoardPlace, BoardRecords, BuildFilter, BuildPage, BuildRecords,
    KnownRepo, Records, SessionRecords, TestRecords,
};

/// The name of a row and its body, in any bytes.
type Stored = (String, Vec<u8>);

/// Events folded at a time while rows are rebuilt.
const REBUILD_BATCH: usize = 10_000;

impl SqliteStore {
    /// Rows, each a name and a body; a damaged one is left out of a list and named in the log:
    /// it hides no other, and `farmer doctor` folds it again.
    fn bodies<T: DeserializeOwned>(
        &self,
        rows: Result<Vec<Stored>, sqlx::Error>,
    ) -> Result<Vec<T>> {
        let rows = rows.map_err(|e| self.failed("read", e))?;
        let read = |(name, body): Stored| match serde_json::from_slice(&body) {
            Ok(row) => Some(row),
            Err(error) => {
                tracing::error!(%error, row = name, "a damaged row is left out; farmer doctor mends it");
                None
            }
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// As [`SqliteStore::bodies`], for the one row that was asked for.
    fn body<T: DeserializeOwned>(
        &self,
        row: Result<Option<Stored>, sqlx::Error>,
    ) -> Result<Option<T>> {
        let row = row.map_err(|e| self.failed("read", e))?;
        let read = |(name, body): Stored| {
            serde_json::from_slice(&body).map_err(|e| {
                let text = format!("the row of {name} is damaged");
                Error::caused_by(ErrorKind::Corrupt, text, e)
                    .with_hint("stop the farm and fold the rows again: farmer doctor --mend")
            })
        };
        row.map(read).transpose()
    }

    /// Adds to each row the build that runs it again: only one that failed has any.
    async fn with_reruns(&self, mut rows: Vec<BuildRow>) -> Result<Vec<BuildRow>> {
        let failed = rows.iter().filter(|row| row.state == BuildStatus::Failed);
        let mut reruns = self.reruns_of(failed.map(|row| row.id.as_str())).await?;
        for row in &mut rows {
            row.rerun = reruns.remove(&row.id);
        }
        Ok(rows)
    }

    async fn reruns_of(&self, ids: impl Iterator<Item = &str>) -> Result<HashMap<BuildId, Rerun>> {
        let ids: Vec<&str> = ids.collect();
        let mut found = HashMap::new();
        for chunk in ids.chunks(INSERT_ROWS) {
            // The newest comes last and stays.
            let mut read = QueryBuilder::<Sqlite>::new(
                "SELECT first, build.id, json_quote(build.state) FROM rerun
                 JOIN build ON build.id = rerun.again WHERE first IN (",
            );
            let mut list = read.separated(", ");
            for id in chunk {
                list.push_bind((*id).to_owned());
            }
            read.push(") ORDER BY first, rerun.number");
            let rows = read.build_query_as().fetch_all(&self.readers).await;
            let rows: Vec<(String, String, String)> = rows.map_err(|e| self.failed("read", e))?;
            let rerun = |(first, again, state): (String, String, String)| {
                let build = BuildId::new(again)?;
                let state = from_json(&state)?;
                Ok::<_, Error>((BuildId::new(first)?, Rerun { build, state }))
            };
            // Of a damaged one nothing is told.
            found.extend(rows.into_iter().map(rerun).filter_map(Result::ok));
        }
        Ok(found)
    }
}

/// Throws all rows away and folds them anew.
pub(super) async fn refold(db: &mut SqliteConnection) -> Result<(), Trouble> {
    let empty = "DELETE FROM build; DELETE FROM timing; DELETE FROM session; DELETE FROM tested;
        DELETE FROM line; DELETE FROM cell; DELETE FROM branch; DELETE FROM rerun;";
    db.execute(empty).await?;
    let mut after = Seq(0);
    loop {
        let page = page_of(db, &KindSet::all(), after, REBUILD_BATCH).await?;
        if page.upto == after {
            break;
        }
        after = page.upto;
        let mut rows = Rows::default();
        rows.fold(db, &page.items).await?;
        rows.save(db).await?;
    }
    sqlx::query("UPDATE farm SET rows = ?")
        .bind(i64::from(ROWS_VERSION))
        .execute(db)
        .await?;
    Ok(())
}

#[async_trait]
impl BuildRecords for SqliteStore {
    async fn build(&self, id: &BuildId) -> Result<Option<BuildRow>> {
        let read = sqlx::query_as("SELECT id, CAST(body AS BLOB) FROM build WHERE id = ?");
        let row = read.bind(id.as_str()).fetch_optional(&self.readers).await;
        let rows = self
            .with_reruns(self.body(row)?.into_iter().collect())
            .await?;
        Ok(rows.into_iter().next())
    }

    async fn builds(
        &self,
        which: &BuildFilter,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<BuildPage> {
        let limit = limit.max(1);
        let mut read = QueryBuilder::<Sqlite>::new(
            "SELECT number, id, CAST(body AS BLOB) FROM build WHERE number < ",
        );
        read.push_bind(before.map_or(i64::MAX, to_i64));
        let state = which.state.map(|s| s.as_str().to_owned());
        let branch = which.branch.as_ref().map(|b| b.escaped().into_owned());
        let equal = [
            (" AND repo = ", which.repo.as_ref().map(ToString::to_string)),
            (" AND branch = ", branch),
            (
                " AND builder = ",
                which.builder.as_ref().map(ToString::to_string),
            ),
            (" AND state = ", state),
            // A range, so that the index is used: `g` is behind every hex digit.
            (" AND commit_hash >= ", which.commit.clone()),
            (
                " AND commit_hash < ",
                which.commit.as_ref().map(|c| format!("{c}g")),
            ),
        ];
        for (condition, value) in equal {
            if let Some(value) = value {
                read.push(condition).push_bind(value);
            }
        }
        if which.state.is_some_and(|state| !state.is_final()) {
            // Few among all that have ended: they have an index of their own.
            read.push(" AND open");
        }
        read.push(" ORDER BY number DESC LIMIT ");
        read.push_bind(to_limit(limit.saturating_add(1)));
        let rows = read.build_query_as().fetch_all(&self.readers).await;
        let mut rows: Vec<(i64, String, Vec<u8>)> = rows.map_err(|e| self.failed("read", e))?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        // The page goes on behind its last row, also when that is damaged.
        let next = rows.last().filter(|_| more).map(|row| to_seq(row.0));
        let rows = rows.into_iter().map(|(_, id, body)| (id, body));
        let builds: Vec<BuildRow> = self.bodies(Ok(rows.collect()))?;
        let builds = self.with_reruns(builds).await?;
        Ok(BuildPage { builds, next })
    }

    async fn open(&self) -> Result<Vec<BuildRow>> {
        let read =
            sqlx::query_as("SELECT id, CAST(body AS BLOB) FROM build WHERE open ORDER BY number");
        self.bodies(read.fetch_all(&self.readers).await)
    }

    async fn active(&self) -> Result<Vec<BuildRow>> {
        // By the index, which tells the state: rows of those that wait are not read.
        let read = sqlx::query_as(
            "SELECT id, CAST(body AS BLOB) FROM build INDEXED BY build_open_state
             WHERE open AND (state < 'queued' OR state > 'queued') ORDER BY number",
        );
        self.bodies(read.fetch_all(&self.readers).await)
    }

    async fn queued(&self, limit: usize) -> Result<Vec<BuildRow>> {
        let read = sqlx::query_as(
            "SELECT id, CAST(body AS BLOB) FROM build INDEXED BY build_open_state
             WHERE open AND state = 'queued' ORDER BY number LIMIT ?",
        );
        self.bodies(read.bind(to_limit(limit)).fetch_all(&self.readers).await)
    }

    async fn count_queued(&self) -> Result<usize> {
        let count = sqlx::query_scalar(
            "SELECT count(*) FROM build INDEXED BY build_open_state WHERE open AND state = 'queued'",
        );
        let count: i64 = count
            .fetch_one(&self.readers)
            .await
            .map_err(|e| self.failed("read", e))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }
}

#[async_trait]
impl BoardRecords for SqliteStore {
    async fn board(
        &self,
        which: &BoardFilter,
        before: Option<BoardPlace>,
        limit: usize,
    ) -> Result<BoardPage> {
        let limit = limit.max(1);
        let lines = board::lines(&self.readers, which, before, limit.saturating_add(1)).await;
        let lines = lines.map_err(|e| self.trouble("read", e))?;
        let mut page = crate::store::board::page(lines, limit);
        let cells = page
            .lines
            .iter_mut()
            .flat_map(|line| line.cells.values_mut());
        let mut cells: Vec<_> = cells
            .filter(|cell| cell.state == BuildStatus::Failed)
            .collect();
        let ids = cells.iter().map(|cell| cell.build.as_str());
        let mut reruns = self.reruns_of(ids).await?;
        for cell in &mut cells {
            cell.rerun = reruns.remove(&cell.build);
        }
        Ok(page)
    }

    async fn repos(&self) -> Result<Vec<KnownRepo>> {
        let repos = board::repos(&self.readers).await;
        repos.map_err(|e| self.trouble("read", e))
    }
}

#[async_trait]
impl SessionRecords for SqliteStore {
    async fn session(&self, id: &SessionId) -> Result<Option<SessionRow>> {
        let read = sqlx::query_as("SELECT id, CAST(body AS BLOB) FROM session WHERE id = ?");
        self.body(read.bind(id.as_str()).fetch_optional(&self.readers).await)
    }

    async fn open_sessions(&self) -> Result<Vec<SessionRow>> {
        let read =
            sqlx::query_as("SELECT id, CAST(body AS BLOB) FROM session WHERE open ORDER BY number");
        self.bodies(read.fetch_all(&self.readers).await)
    }
}

#[async_trait]
impl TestRecords for SqliteStore {
    async fn timings(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        limit: usize,
    ) -> Result<Vec<Timing>> {
        let read = sqlx::query_as(
            "SELECT 'the time at ' || seq, CAST(body AS BLOB) FROM timing WHERE repo = ? AND builder = ? AND step = ? ORDER BY seq DESC LIMIT ?",
        );
        let read = read.bind(repo.as_str()).bind(builder.as_str());
        let read = read.bind(step.as_str()).bind(to_limit(limit));
        self.bodies(read.fetch_all(&self.readers).await)
    }

    async fn tested(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Tested>> {
        let read = sqlx::query_as(
            "SELECT 'the tests at ' || seq, CAST(body AS BLOB) FROM tested WHERE repo = ? AND builder = ? AND step = ? AND number < ?
             ORDER BY number DESC, seq DESC LIMIT ?",
        );
        let read = read.bind(repo.as_str()).bind(builder.as_str());
        let read = read.bind(step.as_str()).bind(to_i64(before));
        let read = read.bind(to_limit(limit));
        self.bodies(read.fetch_all(&self.readers).await)
    }
}

#[async_trait]
impl Records for SqliteStore {
    async fn rebuild(&self) -> Result<()> {
        let mut writer = self.writer()?.lock().await;
        let rebuilt = writer.with(async |db| {
            let mut transaction = db.begin_with("BEGIN IMMEDIATE").await?;
            refold(&mut transaction).await?;
            Ok(transaction.commit().await?)
        });
        let rebuilt = rebuilt.await;
        rebuilt.map_err(|e| self.trouble("rebuild the rows of", e))
    }
}
