//! Rows, loaded and saved in bulk in the transaction that appends their events.

use std::collections::{HashMap, HashSet};

use build_core::Result;
use build_core::event::{Recorded, Seq, StreamId, Version};
use build_core::ids::{BuildId, SessionId};
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::log::stream_of;
use super::{INSERT_ROWS, board, to_i64, to_json};
use crate::record::{
    BuildRow, OfStep, RowKey, RowSink, SessionRow, Tested, Timing, row_keys, rows,
};

/// The rows that a group of events touches.
#[derive(Default)]
pub(super) struct Rows {
    builds: HashMap<BuildId, BuildRow>,
    sessions: HashMap<SessionId, SessionRow>,
    /// Those that are to be saved, and those that look different on the board.
    changed: HashSet<BuildId>,
    shown: HashSet<BuildId>,
    changed_sessions: HashSet<SessionId>,
    timings: Vec<OfStep<Timing>>,
    tested: Vec<OfStep<Tested>>,
    reruns: Vec<(BuildId, Seq, BuildId)>,
}

/// What can go wrong here; the caller names the file.
pub(super) enum Trouble {
    Sql(sqlx::Error),
    Record(build_core::Error),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<build_core::Error> for Trouble {
    fn from(error: build_core::Error) -> Self {
        Self::Record(error)
    }
}

impl RowSink for Rows {
    fn build(&mut self, id: &BuildId, seen: bool) -> Option<&mut BuildRow> {
        let row = self.builds.get_mut(id)?;
        self.changed.insert(id.clone());
        if seen {
            self.shown.insert(id.clone());
        }
        Some(row)
    }

    fn add_build(&mut self, row: BuildRow) {
        self.changed.insert(row.id.clone());
        self.shown.insert(row.id.clone());
        self.builds.insert(row.id.clone(), row);
    }

    fn session(&mut self, id: &SessionId) -> Option<&mut SessionRow> {
        let row = self.sessions.get_mut(id)?;
        self.changed_sessions.insert(id.clone());
        Some(row)
    }

    fn add_session(&mut self, row: SessionRow) {
        self.changed_sessions.insert(row.id.clone());
        self.sessions.insert(row.id.clone(), row);
    }

    fn add_timing(&mut self, timing: OfStep<Timing>) {
        self.timings.push(timing);
    }

    fn add_tested(&mut self, tested: OfStep<Tested>) {
        self.tested.push(tested);
    }

    fn add_rerun(&mut self, first: &BuildId, again: &BuildId, number: Seq) {
        self.reruns.push((first.clone(), number, again.clone()));
    }
}

impl Rows {
    /// Folds events, in order, into the rows that are there.
    pub(super) async fn fold(
        &mut self,
        db: &mut SqliteConnection,
        events: &[Recorded],
    ) -> Result<(), Trouble> {
        self.load(db, events).await?;
        events.iter().for_each(|event| rows(self, event));
        Ok(())
    }

    async fn load(
        &mut self,
        db: &mut SqliteConnection,
        events: &[Recorded],
    ) -> Result<(), Trouble> {
        // What begins here has no row yet.
        let begun: HashSet<_> = events
            .iter()
            .filter(|event| event.version.0 == 1)
            .map(|event| &event.stream)
            .collect();
        let mut builds = HashSet::new();
        let mut sessions = HashSet::new();
        for event in events.iter().filter(|event| !begun.contains(&event.stream)) {
            for key in row_keys(event) {
                match key {
                    RowKey::Build(id) => drop(builds.insert(id)),
                    RowKey::Session(id) => drop(sessions.insert(id)),
                }
            }
        }
        let ids: Vec<&str> = builds.iter().map(BuildId::as_str).collect();
        let query = "SELECT CAST(body AS BLOB) FROM build WHERE id IN (";
        let found = load(db, query, &ids).await?;
        let found = found.into_iter().map(|row: BuildRow| (row.id.clone(), row));
        self.builds.extend(found);
        let ids: Vec<&str> = sessions.iter().map(SessionId::as_str).collect();
        let query = "SELECT CAST(body AS BLOB) FROM session WHERE id IN (";
        let found = load(db, query, &ids).await?;
        let found = found
            .into_iter()
            .map(|row: SessionRow| (row.id.clone(), row));
        self.sessions.extend(found);
        let first = events.first().map_or(Seq(0), |event| event.seq);
        let damaged = builds.iter().filter(|id| !self.builds.contains_key(id));
        let damaged: Vec<StreamId> = damaged.map(StreamId::from).collect();
        let lost = sessions.iter().filter(|id| !self.sessions.contains_key(id));
        let lost = lost.map(StreamId::from);
        for stream in damaged.into_iter().chain(lost.collect::<Vec<_>>()) {
            self.fold_again(db, &stream, first).await?;
        }
        Ok(())
    }

    /// A row that is damaged, or lost, follows from the events before `first`.
    async fn fold_again(
        &mut self,
        db: &mut SqliteConnection,
        stream: &StreamId,
        first: Seq,
    ) -> Result<(), Trouble> {
        let mut anew = Self::default();
        let before = stream_of(db, stream, Version(0), usize::MAX).await?;
        let before = before.iter().filter(|event| event.seq < first);
        before.for_each(|event| rows(&mut anew, event));
        if !anew.builds.is_empty() || !anew.sessions.is_empty() {
            tracing::error!(%stream, "a damaged row was folded again from its events");
        }
        // What the events told of steps and tests stands in rows of its own already.
        self.builds.extend(anew.builds);
        self.sessions.extend(anew.sessions);
        self.shown.extend(anew.shown);
        Ok(())
    }

    pub(super) async fn save(self, db: &mut SqliteConnection) -> Result<(), Trouble> {
        let Self {
            builds,
            sessions,
            changed,
            shown,
            changed_sessions,
            ..
        } = self;
        let mut builds: Vec<_> = builds.into_values().collect();
        builds.retain(|row| changed.contains(&row.id));
        // Of several builds of a commit the first one gives its line the number.
        builds.sort_by_key(|row| row.number);
        for chunk in builds.chunks(INSERT_ROWS) {
            save_builds(db, chunk).await?;
        }
        for row in builds.iter().filter(|row| shown.contains(&row.id)) {
            board::save(db, row).await?;
        }
        for row in sessions.into_values() {
            if changed_sessions.contains(&row.id) {
                save_session(db, &row).await?;
            }
        }
        for run in self.timings {
            save_timing(db, &run).await?;
        }
        for run in self.tested {
            save_tested(db, &run).await?;
        }
        for (first, number, again) in self.reruns {
            save_rerun(db, &first, number, &again).await?;
        }
        Ok(())
    }
}

/// The rows that `query`, which ends in an open bracket, finds for these ids.
async fn load<T: DeserializeOwned>(
    db: &mut SqliteConnection,
    query: &'static str,
    ids: &[&str],
) -> Result<Vec<T>, Trouble> {
    let mut found = Vec::new();
    for chunk in ids.chunks(INSERT_ROWS) {
        let mut read = QueryBuilder::<Sqlite>::new(query);
        let mut list = read.separated(", ");
        for id in chunk {
            list.push_bind((*id).to_owned());
        }
        read.push(")");
        let bodies: Vec<Vec<u8>> = read.build_query_scalar().fetch_all(&mut *db).await?;
        // A damaged one is not among them: it follows from its events.
        found.extend(bodies.iter().filter_map(|b| serde_json::from_slice(b).ok()));
    }
    Ok(found)
}

async fn save_builds(db: &mut SqliteConnection, rows: &[BuildRow]) -> Result<(), Trouble> {
    let bodies: Vec<String> = rows.iter().map(to_json).collect::<Result<_>>()?;
    let mut save = QueryBuilder::<Sqlite>::new(
        "INSERT INTO build (number, id, open, state, repo, branch, builder, commit_hash, body) ",
    );
    save.push_values(rows.iter().zip(bodies), |mut values, (row, body)| {
        values
            .push_bind(to_i64(row.number))
            .push_bind(row.id.as_str())
            .push_bind(row.is_open())
            .push_bind(row.state.as_str())
            .push_bind(row.item.repo.as_str())
            .push_bind(row.item.branch.as_ref().map(|b| b.escaped().into_owned()))
            .push_bind(row.builder.as_str())
            .push_bind(row.item.commit.as_str())
            .push_bind(body);
    });
    save.push(
        " ON CONFLICT (number) DO UPDATE SET open = excluded.open, state = excluded.state,
          body = excluded.body",
    );
    save.build().execute(db).await?;
    Ok(())
}

async fn save_session(db: &mut SqliteConnection, row: &SessionRow) -> Result<(), Trouble> {
    let save = sqlx::query(
        "INSERT INTO session (number, id, open, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (number) DO UPDATE SET open = ?3, body = ?4",
    );
    save.bind(to_i64(row.number))
        .bind(row.id.as_str())
        .bind(row.is_open())
        .bind(to_json(row)?)
        .execute(db)
        .await?;
    Ok(())
}

async fn save_timing(db: &mut SqliteConnection, run: &OfStep<Timing>) -> Result<(), Trouble> {
    sqlx::query("INSERT INTO timing (seq, repo, builder, step, body) VALUES (?, ?, ?, ?, ?)")
        .bind(to_i64(run.seq))
        .bind(run.repo.as_str())
        .bind(run.builder.as_str())
        .bind(run.told.step.as_str())
        .bind(to_json(&run.told)?)
        .execute(db)
        .await?;
    Ok(())
}

async fn save_tested(db: &mut SqliteConnection, run: &OfStep<Tested>) -> Result<(), Trouble> {
    sqlx::query(
        "INSERT INTO tested (seq, repo, builder, step, number, body) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(to_i64(run.seq))
    .bind(run.repo.as_str())
    .bind(run.builder.as_str())
    .bind(run.told.step.as_str())
    .bind(to_i64(run.told.number))
    .bind(to_json(&run.told)?)
    .execute(db)
    .await?;
    Ok(())
}

async fn save_rerun(
    db: &mut SqliteConnection,
    first: &BuildId,
    number: Seq,
    again: &BuildId,
) -> Result<(), Trouble> {
    sqlx::query("INSERT INTO rerun (first, number, again) VALUES (?, ?, ?)")
        .bind(first.as_str())
        .bind(to_i64(number))
        .bind(again.as_str())
        .execute(db)
        .await?;
    Ok(())
}
