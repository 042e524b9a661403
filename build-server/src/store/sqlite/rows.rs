//! Rows of builds, folded and saved in the transaction that appends their events.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use build_core::Result;
use build_core::event::{Recorded, Seq};
use build_core::ids::{BuildId, BuilderName, RepoName};
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteConnection;

use super::{board, from_json, to_i64, to_json};
use crate::record::{BuildRow, BuildState, SessionRow, Tested, Timing};
use crate::store::board::BoardCell;

/// The rows that a batch of events touches.
#[derive(Default)]
pub(super) struct Rows {
    builds: HashMap<BuildId, Option<BuildRow>>,
    sessions: HashMap<BuildId, Option<SessionRow>>,
    /// Those that look different on the board.
    shown: HashSet<BuildId>,
    timings: Vec<OfStep<Timing>>,
    tested: Vec<OfStep<Tested>>,
}

/// What an event tells of a step of a builder.
struct OfStep<T> {
    seq: Seq,
    repo: RepoName,
    builder: BuilderName,
    told: T,
}

impl<T> OfStep<T> {
    fn new(row: &BuildRow, event: &Recorded, told: T) -> Self {
        Self {
            seq: event.seq,
            repo: row.item.repo.clone(),
            builder: row.builder.clone(),
            told,
        }
    }
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

impl Rows {
    pub(super) async fn fold(
        &mut self,
        db: &mut SqliteConnection,
        events: &[Recorded],
    ) -> Result<(), Trouble> {
        for event in events {
            if event.build.is_session() {
                self.fold_session(db, event).await?;
                continue;
            }
            if BoardCell::is_changed_by(&event.event) {
                self.shown.insert(event.build.clone());
            }
            let row = self.row(db, &event.build).await?;
            let before = row.as_ref().map(|row| row.state);
            match row {
                None => *row = BuildRow::begin(event),
                Some(row) => {
                    row.apply(event);
                    let timing = row.timing(event);
                    let tested = row.tested(event);
                    let timing = timing.map(|told| OfStep::new(row, event, told));
                    let tested = tested.map(|told| OfStep::new(row, event, told));
                    self.timings.extend(timing);
                    self.tested.extend(tested);
                }
            }
            self.tell_first(db, &event.build, before).await?;
        }
        Ok(())
    }

    async fn row(
        &mut self,
        db: &mut SqliteConnection,
        build: &BuildId,
    ) -> Result<&mut Option<BuildRow>, Trouble> {
        Ok(match self.builds.entry(build.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(load(db, LOAD_BUILD, build).await?),
        })
    }

    /// A build that runs another one again changes that one's row.
    async fn tell_first(
        &mut self,
        db: &mut SqliteConnection,
        build: &BuildId,
        before: Option<BuildState>,
    ) -> Result<(), Trouble> {
        let row = self.builds.get(build).and_then(Option::as_ref);
        let changed = row.filter(|row| Some(row.state) != before);
        let Some((first, rerun)) = changed.and_then(BuildRow::as_rerun) else {
            return Ok(());
        };
        let first = first.clone();
        if let Some(row) = self.row(db, &first).await? {
            row.rerun = Some(rerun);
            self.shown.insert(first);
        }
        Ok(())
    }

    async fn fold_session(
        &mut self,
        db: &mut SqliteConnection,
        event: &Recorded,
    ) -> Result<(), Trouble> {
        let row = match self.sessions.entry(event.build.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(load(db, LOAD_SESSION, &event.build).await?),
        };
        match row {
            None => *row = SessionRow::begin(event),
            Some(row) => row.apply(event),
        }
        Ok(())
    }

    pub(super) async fn save(self, db: &mut SqliteConnection) -> Result<(), Trouble> {
        let mut builds: Vec<_> = self.builds.into_values().flatten().collect();
        // Of several builds of a commit the first one gives its line the number.
        builds.sort_by_key(|row| row.number);
        for row in builds {
            save_build(db, &row).await?;
            if self.shown.contains(&row.id) {
                board::save(db, &row).await?;
            }
        }
        for row in self.sessions.into_values().flatten() {
            save_session(db, &row).await?;
        }
        for run in self.timings {
            save_timing(db, &run).await?;
        }
        for run in self.tested {
            save_tested(db, &run).await?;
        }
        Ok(())
    }
}

const LOAD_BUILD: &str = "SELECT body FROM build WHERE id = ?";
const LOAD_SESSION: &str = "SELECT body FROM session WHERE id = ?";

async fn load<T: DeserializeOwned>(
    db: &mut SqliteConnection,
    query: &'static str,
    id: &BuildId,
) -> Result<Option<T>, Trouble> {
    let body: Option<String> = sqlx::query_scalar(query)
        .bind(id.as_str())
        .fetch_optional(db)
        .await?;
    Ok(body.as_deref().map(from_json).transpose()?)
}

async fn save_build(db: &mut SqliteConnection, row: &BuildRow) -> Result<(), Trouble> {
    let save = sqlx::query(
        "INSERT INTO build (number, id, open, state, repo, branch, builder, commit_hash, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (number) DO UPDATE SET open = ?3, state = ?4, body = ?9",
    );
    save.bind(to_i64(row.number))
        .bind(row.id.as_str())
        .bind(row.is_open())
        .bind(row.state.as_str())
        .bind(row.item.repo.as_str())
        .bind(row.item.branch.as_deref())
        .bind(row.builder.as_str())
        .bind(row.item.commit.as_str())
        .bind(to_json(row)?)
        .execute(db)
        .await?;
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
