//! The event log and its rows in one SQLite file.
//!
//! One connection writes; whoever finds it free commits everything that waits in one durable
//! transaction (group commit), events and rows together. Readers have connections of their own
//! and, by the write-ahead log, never wait for the writer.

mod board;
mod open;
mod packs;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use build_core::clock::Timestamp;
use build_core::event::{NewEvent, Recorded, Seq};
use build_core::ids::{BuildId, BuilderName, RepoName, StepName};
use build_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Connection, Executor, QueryBuilder, Row, Sqlite};
use tokio::sync::oneshot;

use self::rows::{Rows, Trouble};
use super::memory::fenced;
use super::{
    BoardFilter, BoardPage, BoardPlace, BuildFilter, EventLog, BuildPage, KnownRepo, Records,
};
use crate::record::{BuildRow, SessionRow, Tested, Timing};

/// Events folded at a time while rows are rebuilt.
const REBUILD_BATCH: usize = 10_000;
/// Events in one statement: four values each, far below SQLite's limit of 32,766.
const INSERT_ROWS: usize = 500;

/// How the file is opened.
#[derive(Clone, Debug, Default)]
pub struct SqliteOptions {
    max_bytes: Option<u64>,
}

impl SqliteOptions {
    /// Appends fail as on a full disk when the file would become larger. Unset: the disk is the limit.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }
}

/// Events and rows in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    /// `None` when opened to read.
    writer: Option<tokio::sync::Mutex<SqliteConnection>>,
    waiting: Mutex<Vec<Waiting>>,
    readers: SqlitePool,
}

/// A batch that waits for the next commit.
struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Result<Seq>>,
}

struct Batch {
    expected: Seq,
    events: Vec<NewEvent>,
}

fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::caused_by(ErrorKind::Bug, "write a record", e))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|e| Error::caused_by(ErrorKind::Corrupt, "read a stored record", e))
}

fn to_i64(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

fn to_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn to_seq(number: i64) -> Seq {
    Seq(u64::try_from(number).unwrap_or(0))
}

async fn head_of<'a>(db: impl Executor<'a, Database = Sqlite>) -> Result<Seq, sqlx::Error> {
    let head = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM event");
    Ok(to_seq(head.fetch_one(db).await?))
}

impl SqliteStore {
    /// Opens the file, made when missing, and brings its schema up to date.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the file is damaged or no database, [`ErrorKind::Denied`] when
    /// it cannot be written, [`ErrorKind::Unsupported`] when a newer version has written it.
    pub async fn open(path: &Path, options: SqliteOptions) -> Result<Self> {
        let writer = open::writer(path, options.max_bytes).await?;
        Ok(Self {
            path: path.into(),
            writer: Some(tokio::sync::Mutex::new(writer)),
            waiting: Mutex::default(),
            readers: open::readers(path).await?,
        })
    }

    /// Opens the file beside a process that owns it; nothing can be appended.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such file; otherwise as [`SqliteStore::open`].
    pub async fn open_to_read(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.into(),
            writer: None,
            waiting: Mutex::default(),
            readers: open::readers(path).await?,
        })
    }

    fn failed(&self, what: &str, error: sqlx::Error) -> Error {
        open::failed(&self.path, what, error)
    }

    fn trouble(&self, what: &str, trouble: Trouble) -> Error {
        match trouble {
            Trouble::Sql(error) => self.failed(what, error),
            Trouble::Record(error) => error,
        }
    }

    fn writer(&self) -> Result<&tokio::sync::Mutex<SqliteConnection>> {
        self.writer.as_ref().ok_or_else(|| {
            let text = format!("{} was opened to read", self.path.display());
            Error::new(ErrorKind::Denied, text)
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // Nothing panics while it holds this lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits all that waits and answers each.
    async fn commit_waiting(&self, writer: &mut SqliteConnection) {
        let waiting = std::mem::take(&mut *self.waiting());
        let (answers, batches): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|w| (w.answer, w.batch)).unzip();
        let count = batches.len();
        let results = match self.commit(writer, batches).await {
            Ok(results) => results,
            Err(error) => (0..count).map(|_| Err(again(&error))).collect(),
        };
        for (answer, result) in answers.into_iter().zip(results) {
            // The caller may have gone; then nobody asks.
            let _ = answer.send(result);
        }
    }

    /// One transaction for all batches. A batch that is fenced off fails alone.
    async fn commit(
        &self,
        writer: &mut SqliteConnection,
        batches: Vec<Batch>,
    ) -> Result<Vec<Result<Seq>>> {
        let named = |e| self.failed("append to", e);
        let begun = writer.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(named)?;
        let head = head_of(&mut *transaction).await.map_err(named)?;
        let (events, answers) = number(head, batches);
        self.insert(&mut transaction, &events).await?;
        let mut rows = Rows::default();
        let folded = rows.fold(&mut transaction, &events).await;
        folded.map_err(|e| self.trouble("append to", e))?;
        let saved = rows.save(&mut transaction).await;
        saved.map_err(|e| self.trouble("append to", e))?;
        transaction.commit().await.map_err(named)?;
        Ok(answers)
    }

    async fn insert(&self, db: &mut SqliteConnection, events: &[Recorded]) -> Result<()> {
        for chunk in events.chunks(INSERT_ROWS) {
            let bodies = chunk.iter().map(|e| to_json(&e.event));
            let bodies: Vec<_> = bodies.collect::<Result<_>>()?;
            let mut insert =
                QueryBuilder::<Sqlite>::new("INSERT INTO event (seq, at, build, body) ");
            insert.push_values(chunk.iter().zip(bodies), |mut values, (event, body)| {
                values
                    .push_bind(to_i64(event.seq))
                    .push_bind(event.at.as_micros())
                    .push_bind(event.build.as_str())
                    .push_bind(body);
            });
            let done = insert.build().execute(&mut *db).await;
            done.map_err(|e| self.failed("append to", e))?;
        }
        Ok(())
    }

    fn events(&self, rows: Result<Vec<SqliteRow>, sqlx::Error>) -> Result<Vec<Recorded>> {
        let rows = rows.map_err(|e| self.failed("read", e))?;
        rows.iter().map(|row| self.event(row)).collect()
    }

    fn event(&self, row: &SqliteRow) -> Result<Recorded> {
        let named = |e| self.failed("read", e);
        let body: &str = row.try_get("body").map_err(named)?;
        let build: &str = row.try_get("build").map_err(named)?;
        Ok(Recorded {
            seq: to_seq(row.try_get("seq").map_err(named)?),
            at: Timestamp::from_micros(row.try_get("at").map_err(named)?),
            build: BuildId::new(build)?,
            event: from_json(body)?,
        })
    }

    fn bodies<T: DeserializeOwned>(
        &self,
        rows: Result<Vec<String>, sqlx::Error>,
    ) -> Result<Vec<T>> {
        let rows = rows.map_err(|e| self.failed("read", e))?;
        rows.iter().map(|body| from_json(body)).collect()
    }

    async fn refold(&self, db: &mut SqliteConnection) -> Result<()> {
        let named = |e| self.failed("rebuild the rows of", e);
        let empty =
            "DELETE FROM build; DELETE FROM timing; DELETE FROM session; DELETE FROM tested;
            DELETE FROM line; DELETE FROM cell; DELETE FROM branch;";
        db.execute(empty).await.map_err(named)?;
        let mut pack = 0;
        while let Some((number, events)) = packs::after(db, pack)
            .await
            .map_err(|e| self.trouble("read", e))?
        {
            pack = number;
            self.fold(db, &events).await?;
        }
        let mut after = Seq(0);
        loop {
            let read = sqlx::query(
                "SELECT seq, at, build, body FROM event WHERE seq > ? ORDER BY seq LIMIT ?",
            );
            let read = read.bind(to_i64(after)).bind(to_limit(REBUILD_BATCH));
            let events = self.events(read.fetch_all(&mut *db).await)?;
            let Some(last) = events.last() else {
                return Ok(());
            };
            after = last.seq;
            self.fold(db, &events).await?;
        }
    }

    async fn fold(&self, db: &mut SqliteConnection, events: &[Recorded]) -> Result<()> {
        let named = |e| self.trouble("rebuild the rows of", e);
        let mut rows = Rows::default();
        rows.fold(db, events).await.map_err(named)?;
        rows.save(db).await.map_err(named)
    }
}

/// Gives each event its position; batches that do not continue the log are answered with an error.
fn number(mut head: Seq, batches: Vec<Batch>) -> (Vec<Recorded>, Vec<Result<Seq>>) {
    let mut events = Vec::new();
    let mut answers = Vec::with_capacity(batches.len());
    for batch in batches {
        if batch.expected != head {
            answers.push(Err(fenced(batch.expected, head)));
            continue;
        }
        for NewEvent { at, build, event } in batch.events {
            head = Seq(head.0 + 1);
            events.push(Recorded {
                seq: head,
                at,
                build,
                event,
            });
        }
        answers.push(Ok(head));
    }
    (events, answers)
}

/// The same error for another caller; the causes become text.
fn again(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.chain());
    match error.hint() {
        Some(hint) => copy.with_hint(hint),
        None => copy,
    }
}

#[async_trait]
impl EventLog for SqliteStore {
    async fn append(&self, expected: Seq, batch: Vec<NewEvent>) -> Result<Seq> {
        let writer = self.writer()?;
        let (answer, mut answered) = oneshot::channel();
        let events = batch;
        let batch = Batch { expected, events };
        self.waiting().push(Waiting { batch, answer });
        tokio::select! {
            biased;
            done = &mut answered => return done.unwrap_or_else(|_| Err(abandoned())),
            mut writer = writer.lock() => self.commit_waiting(&mut writer).await,
        }
        // Committed just now, or by the one before, which took this batch along.
        answered.await.unwrap_or_else(|_| Err(abandoned()))
    }

    async fn head(&self) -> Result<Seq> {
        let head = head_of(&self.readers).await;
        head.map_err(|e| self.failed("read", e))
    }

    async fn read(&self, after: Seq, limit: usize) -> Result<Vec<Recorded>> {
        let read = sqlx::query(
            "SELECT seq, at, build, body FROM event WHERE seq > ? ORDER BY seq LIMIT ?",
        );
        let read = read.bind(to_i64(after)).bind(to_limit(limit));
        self.events(read.fetch_all(&self.readers).await)
    }

    async fn read_build(
        &self,
        build: &BuildId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Recorded>> {
        let read = sqlx::query(
            "SELECT seq, at, build, body FROM event WHERE build = ? AND seq > ? ORDER BY seq LIMIT ?",
        );
        let read = read.bind(build.as_str()).bind(to_i64(after));
        let read = read.bind(to_limit(limit));
        let events = self.events(read.fetch_all(&self.readers).await)?;
        if !events.is_empty() {
            return Ok(events);
        }
        let packed = packs::find(&self.readers, build).await;
        let packed = packed.map_err(|e| self.trouble("read", e))?;
        let rest = packed.into_iter().flatten().filter(|e| e.seq > after);
        Ok(rest.take(limit).collect())
    }

    async fn read_open(&self) -> Result<Vec<Recorded>> {
        let read = sqlx::query(
            "SELECT seq, at, build, body FROM event WHERE build IN
               (SELECT id FROM build WHERE open UNION ALL SELECT id FROM session WHERE open)
             ORDER BY seq",
        );
        self.events(read.fetch_all(&self.readers).await)
    }

    async fn pack(&self, before: Timestamp) -> Result<usize> {
        let named = |e| self.failed("pack the events of", e);
        let mut writer = self.writer()?.lock().await;
        let begun = writer.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(named)?;
        let draft = packs::next(&mut transaction, before).await;
        let draft = draft.map_err(|e| self.trouble("pack the events of", e))?;
        let packed = draft.len();
        if packed > 0 {
            let saved = draft.save(&mut transaction).await;
            saved.map_err(|e| self.trouble("pack the events of", e))?;
        }
        transaction.commit().await.map_err(named)?;
        Ok(packed)
    }
}

fn abandoned() -> Error {
    let text = "append to the event log was given up by the one that committed for all";
    Error::new(ErrorKind::Unavailable, text)
}

#[async_trait]
impl Records for SqliteStore {
    async fn build(&self, id: &BuildId) -> Result<Option<BuildRow>> {
        let read = sqlx::query_scalar("SELECT body FROM build WHERE id = ?").bind(id.as_str());
        let rows = read.fetch_all(&self.readers).await;
        Ok(self.bodies(rows)?.pop())
    }

    async fn builds(
        &self,
        which: &BuildFilter,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<BuildPage> {
        let limit = limit.max(1);
        let mut read = QueryBuilder::<Sqlite>::new("SELECT body FROM build WHERE number < ");
        read.push_bind(before.map_or(i64::MAX, to_i64));
        let state = which.state.map(|s| s.as_str().to_owned());
        let equal = [
            (" AND repo = ", which.repo.as_ref().map(ToString::to_string)),
            (" AND branch = ", which.branch.clone()),
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
        let rows = read.build_query_scalar().fetch_all(&self.readers).await;
        let mut builds: Vec<BuildRow> = self.bodies(rows)?;
        let more = builds.len() > limit;
        builds.truncate(limit);
        let next = builds.last().filter(|_| more).map(|row| row.number);
        Ok(BuildPage { builds, next })
    }

    async fn open(&self) -> Result<Vec<BuildRow>> {
        let read = sqlx::query_scalar("SELECT body FROM build WHERE open ORDER BY number");
        self.bodies(read.fetch_all(&self.readers).await)
    }

    async fn active(&self) -> Result<Vec<BuildRow>> {
        // By the index, which tells the state: rows of those that wait are not read.
        let read = sqlx::query_scalar(
            "SELECT body FROM build INDEXED BY build_open_state
             WHERE open AND (state < 'queued' OR state > 'queued') ORDER BY number",
        );
        self.bodies(read.fetch_all(&self.readers).await)
    }

    async fn queued(&self, limit: usize) -> Result<Vec<BuildRow>> {
        let read = sqlx::query_scalar(
            "SELECT body FROM build INDEXED BY build_open_state
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

    async fn board(
        &self,
        which: &BoardFilter,
        before: Option<BoardPlace>,
        limit: usize,
    ) -> Result<BoardPage> {
        let limit = limit.max(1);
        let lines = board::lines(&self.readers, which, before, limit.saturating_add(1)).await;
        let lines = lines.map_err(|e| self.trouble("read", e))?;
        Ok(super::board::page(lines, limit))
    }

    async fn repos(&self) -> Result<Vec<KnownRepo>> {
        let repos = board::repos(&self.readers).await;
        repos.map_err(|e| self.trouble("read", e))
    }

    async fn session(&self, id: &BuildId) -> Result<Option<SessionRow>> {
        let read = sqlx::query_scalar("SELECT body FROM session WHERE id = ?").bind(id.as_str());
        let rows = read.fetch_all(&self.readers).await;
        Ok(self.bodies(rows)?.pop())
    }

    async fn open_sessions(&self) -> Result<Vec<SessionRow>> {
        let read = sqlx::query_scalar("SELECT body FROM session WHERE open ORDER BY number");
        self.bodies(read.fetch_all(&self.readers).await)
    }

    async fn timings(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        limit: usize,
    ) -> Result<Vec<Timing>> {
        let read = sqlx::query_scalar(
            "SELECT body FROM timing WHERE repo = ? AND builder = ? AND step = ? ORDER BY seq DESC LIMIT ?",
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
        let read = sqlx::query_scalar(
            "SELECT body FROM tested WHERE repo = ? AND builder = ? AND step = ? AND number < ?
             ORDER BY number DESC, seq DESC LIMIT ?",
        );
        let read = read.bind(repo.as_str()).bind(builder.as_str());
        let read = read.bind(step.as_str()).bind(to_i64(before));
        let read = read.bind(to_limit(limit));
        self.bodies(read.fetch_all(&self.readers).await)
    }

    async fn rebuild(&self) -> Result<()> {
        let named = |e| self.failed("rebuild the rows of", e);
        let mut writer = self.writer()?.lock().await;
        let begun = writer.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(named)?;
        self.refold(&mut transaction).await?;
        transaction.commit().await.map_err(named)
    }
}
