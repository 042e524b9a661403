//! The event log in the file.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use build_core::clock::Timestamp;
use build_core::event::{
    Admitted, Batch, KindSet, Memo, MemoKey, Numbering, Page, Recorded, Seq, StreamHead, StreamId,
    StreamKind, Term, Version, ended_term,
};
use build_core::{Error, ErrorKind, Result};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Executor, QueryBuilder, Row, Sqlite};
use tokio::time::sleep;

use super::health::HeadFile;
use super::rows::{Rows, Trouble};
use super::{INSERT_ROWS, SqliteOptions, SqliteStore, open, packs, to_i64, to_limit, to_seq};
use crate::store::again;
use crate::store::log::EventLog;
use crate::store::memory_log::grown;

/// Events looked at in one page for those of the wanted kinds.
const LOOK: usize = 10_000;
/// How often a file that another process writes to is looked at for news.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The connection that writes, and what this process knows of open streams.
pub(super) struct Writer {
    /// `None` while something is written, and after that failed: a connection whose transaction
    /// did not end as it was told to (a full disk, an error of the device, no memory) may refuse
    /// everything from then on. The next one who writes gets another one.
    connection: Option<SqliteConnection>,
    path: PathBuf,
    options: SqliteOptions,
    noted: HeadFile,
    /// Of streams that were written to in this term: nobody else has moved them since.
    heads: HashMap<StreamId, StreamHead>,
}

impl Writer {
    pub(super) fn new(connection: SqliteConnection, path: &Path, options: SqliteOptions) -> Self {
        Self {
            connection: Some(connection),
            path: path.to_owned(),
            options,
            noted: HeadFile::open(path),
            heads: HashMap::new(),
        }
    }

    /// Copies the write-ahead log into the file, which is whole by itself then.
    async fn close(&mut self) -> Result<(), sqlx::Error> {
        let Some(mut connection) = self.connection.take() else {
            return Ok(());
        };
        let copy = "PRAGMA wal_checkpoint(TRUNCATE)";
        let copied = connection.execute(copy).await.map(drop);
        connection.close().await.and(copied)
    }

    /// Uses the connection, a new one after an error; also after `act` was dropped half-way.
    pub(super) async fn with<T>(
        &mut self,
        act: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.heads.clear();
                open::writer_again(&self.path, &self.options).await?
            }
        };
        let done = act(&mut connection).await;
        #[cfg(feature = "sim")]
        if build_core::plant::grows(build_core::plant::ProcessPlant::KeptConnection) {
            self.connection = Some(connection);
            return done;
        }
        if let Err(Trouble::Sql(error)) = &done {
            tracing::debug!(%error, "the connection that writes is replaced");
            // What was begun is rolled back with it; that it ends is all that is wanted.
            let _ = connection.close_hard().await;
            self.heads.clear();
        } else {
            self.connection = Some(connection);
        }
        done
    }

    /// One transaction for the whole group. When it fails or is given up, nothing is known of
    /// streams: whether it was written is not certain.
    async fn commit(
        &mut self,
        term: Term,
        group: Vec<Batch>,
    ) -> Result<(Seq, Vec<Result<Seq>>), Trouble> {
        let mut known = std::mem::take(&mut self.heads);
        let committed = self.with(async |db| {
            let done = commit(db, term, group, &mut known).await?;
            Ok((done, known))
        });
        let (done, known) = committed.await?;
        self.heads = known;
        self.noted.write(done.0);
        Ok(done)
    }
}

/// One transaction for the whole group; `known` streams need not be asked for, and are known
/// afterwards.
async fn commit(
    db: &mut SqliteConnection,
    term: Term,
    group: Vec<Batch>,
    known: &mut HashMap<StreamId, StreamHead>,
) -> Result<(Seq, Vec<Result<Seq>>), Trouble> {
    let mut transaction = db.begin_with("BEGIN IMMEDIATE").await?;
    let read = sqlx::query_as("SELECT term, (SELECT coalesce(max(seq), 0) FROM event) FROM farm");
    let (now, head): (i64, i64) = read.fetch_one(&mut *transaction).await?;
    let now = Term(u64::try_from(now).unwrap_or(0));
    if now != term {
        return Err(ended_term(term, now).into());
    }
    let mut heads = HashMap::new();
    let mut missing = Vec::new();
    let touched: HashSet<_> = group.iter().flat_map(Numbering::touched).collect();
    for stream in touched {
        match known.get(stream) {
            Some(head) => drop(heads.insert(stream.clone(), *head)),
            None => missing.push(stream.clone()),
        }
    }
    heads.extend(heads_of(&mut transaction, &missing).await?);
    let mut numbering = Numbering::new(to_seq(head), heads);
    let mut written = Vec::with_capacity(group.len());
    let mut answers = Vec::with_capacity(group.len());
    for batch in group {
        answers.push(numbering.admit(batch).map(|admitted| {
            let head = admitted.head;
            written.push(admitted);
            head
        }));
    }
    let end = numbering.head();
    write(&mut transaction, written).await?;
    transaction.commit().await?;
    for (stream, head) in numbering.into_heads() {
        match head.is_open {
            true => drop(known.insert(stream, head)),
            false => drop(known.remove(&stream)),
        }
    }
    Ok((end, answers))
}

async fn write(db: &mut SqliteConnection, written: Vec<Admitted>) -> Result<(), Trouble> {
    let (mut events, mut begins, mut closes, mut memos) = (vec![], vec![], vec![], vec![]);
    for batch in written {
        events.extend(batch.events);
        begins.extend(batch.begins);
        closes.extend(batch.closes);
        memos.extend(batch.memos);
    }
    // What begins and ends in one group was never open for anybody.
    let ended: HashSet<&StreamId> = closes.iter().collect();
    let born: HashSet<&StreamId> = begins.iter().collect();
    insert_events(db, &events).await?;
    let opens: Vec<_> = begins.iter().filter(|s| !ended.contains(s)).collect();
    for chunk in opens.chunks(INSERT_ROWS) {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO open_stream (stream) ");
        insert.push_values(chunk, |mut values, stream| {
            values.push_bind(stream.to_string());
        });
        insert.build().execute(&mut *db).await?;
    }
    let over: Vec<_> = closes.iter().filter(|s| !born.contains(s)).collect();
    for chunk in over.chunks(INSERT_ROWS) {
        let mut delete = QueryBuilder::<Sqlite>::new("DELETE FROM open_stream WHERE stream IN (");
        push_list(&mut delete, chunk.iter().map(ToString::to_string));
        delete.build().execute(&mut *db).await?;
    }
    write_memos(db, memos).await?;
    let mut rows = Rows::default();
    rows.fold(db, &events).await?;
    rows.save(db).await
}

async fn insert_events(db: &mut SqliteConnection, events: &[Recorded]) -> Result<(), Trouble> {
    for chunk in events.chunks(INSERT_ROWS) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO event (seq, stream, version, at, by, kind, v, must, body) ",
        );
        insert.push_values(chunk, |mut values, event| {
            values
                .push_bind(to_i64(event.seq))
                .push_bind(event.stream.to_string())
                .push_bind(version(event.version))
                .push_bind(event.at.as_micros())
                .push_bind(event.by.to_string())
                .push_bind(event.kind.as_str())
                .push_bind(i64::from(event.v))
                .push_bind(event.must)
                .push_bind(event.body.get());
        });
        insert.build().execute(&mut *db).await?;
    }
    Ok(())
}

/// Of several changes of a memo the last one counts.
async fn write_memos(db: &mut SqliteConnection, memos: Vec<Memo>) -> Result<(), Trouble> {
    let last: HashMap<_, _> = memos.into_iter().map(|m| (m.key, m.value)).collect();
    let (mut set, mut removed) = (Vec::new(), Vec::new());
    for (key, value) in last {
        match value {
            Some(value) => set.push((key, value)),
            None => removed.push(key),
        }
    }
    for chunk in set.chunks(INSERT_ROWS) {
        let mut save = QueryBuilder::<Sqlite>::new("INSERT INTO memo (key, value) ");
        save.push_values(chunk, |mut values, (key, value)| {
            values.push_bind(key.as_str()).push_bind(value.as_ref());
        });
        save.push(" ON CONFLICT (key) DO UPDATE SET value = excluded.value");
        save.build().execute(&mut *db).await?;
    }
    for chunk in removed.chunks(INSERT_ROWS) {
        let mut delete = QueryBuilder::<Sqlite>::new("DELETE FROM memo WHERE key IN (");
        push_list(&mut delete, chunk.iter().map(ToString::to_string));
        delete.build().execute(&mut *db).await?;
    }
    Ok(())
}

fn push_list(query: &mut QueryBuilder<Sqlite>, values: impl Iterator<Item = String>) {
    let mut list = query.separated(", ");
    for value in values {
        list.push_bind(value);
    }
    query.push(")");
}

fn version(version: Version) -> i64 {
    i64::try_from(version.0).unwrap_or(i64::MAX)
}

/// How far these streams are; those that have no events are left out.
async fn heads_of(
    db: &mut SqliteConnection,
    streams: &[StreamId],
) -> Result<HashMap<StreamId, StreamHead>, Trouble> {
    let mut heads = HashMap::new();
    for chunk in streams.chunks(INSERT_ROWS) {
        let names: Vec<String> = chunk.iter().map(ToString::to_string).collect();
        let mut read = QueryBuilder::<Sqlite>::new(
            "SELECT stream, max(version), EXISTS (SELECT 1 FROM open_stream o WHERE o.stream = e.stream)
             FROM (SELECT stream, version FROM event WHERE stream IN (",
        );
        push_list(&mut read, names.iter().cloned());
        read.push(" UNION ALL SELECT stream, version FROM packed WHERE stream IN (");
        push_list(&mut read, names.into_iter());
        read.push(") e GROUP BY stream");
        let found: Vec<(String, i64, bool)> = read.build_query_as().fetch_all(&mut *db).await?;
        for (stream, version, is_open) in found {
            let version = Version(u64::try_from(version).unwrap_or(0));
            heads.insert(stream.parse()?, StreamHead { version, is_open });
        }
    }
    Ok(heads)
}

/// An event as it stands in its table.
pub(super) fn event(row: &SqliteRow) -> Result<Recorded, Trouble> {
    let stored = |e: Error| Error::caused_by(ErrorKind::Corrupt, "read a stored event", e);
    let json = |e| Error::caused_by(ErrorKind::Corrupt, "read a stored event", e);
    let stream: &str = row.try_get("stream")?;
    let by: &str = row.try_get("by")?;
    let kind: String = row.try_get("kind")?;
    let body: String = row.try_get("body")?;
    let version: i64 = row.try_get("version")?;
    let v: i64 = row.try_get("v")?;
    Ok(Recorded {
        seq: to_seq(row.try_get("seq")?),
        stream: stream.parse().map_err(stored)?,
        version: Version(u64::try_from(version).unwrap_or(0)),
        at: Timestamp::from_micros(row.try_get("at")?),
        by: by.parse().map_err(stored)?,
        kind: kind.try_into().map_err(stored)?,
        v: u16::try_from(v).unwrap_or(u16::MAX),
        must: row.try_get("must")?,
        body: serde_json::value::RawValue::from_string(body).map_err(json)?,
    })
}

fn events(rows: &[SqliteRow]) -> Result<Vec<Recorded>, Trouble> {
    rows.iter().map(event).collect()
}

const COLUMNS: &str = "SELECT seq, stream, version, at, by, kind, v, must, body FROM ";

/// The streams of some kinds, as a condition.
fn push_kinds<'k>(query: &mut QueryBuilder<Sqlite>, kinds: impl Iterator<Item = &'k StreamKind>) {
    query.push("(FALSE");
    for kind in kinds {
        // `0` comes directly behind `/`.
        query.push(" OR (stream >= ").push_bind(format!("{kind}/"));
        query.push(" AND stream < ").push_bind(format!("{kind}0"));
        query.push(")");
    }
    query.push(")");
}

pub(super) async fn page_of(
    db: &mut SqliteConnection,
    kinds: &KindSet,
    after: Seq,
    limit: usize,
) -> Result<Page<Recorded>, Trouble> {
    if packs::end(db).await? > after
        && let Some(packed) = packs::behind(db, after).await?
    {
        return Ok(wanted(packed, kinds, after, limit));
    }
    let mut read = QueryBuilder::<Sqlite>::new(COLUMNS);
    let Some(named) = kinds.named() else {
        read.push("event WHERE seq > ").push_bind(to_i64(after));
        read.push(" ORDER BY seq LIMIT ").push_bind(to_limit(limit));
        let items = events(&read.build().fetch_all(db).await?)?;
        let upto = items.last().map_or(after, |event| event.seq);
        return Ok(Page { items, upto });
    };
    let end = sqlx::query_scalar(
        "SELECT coalesce(max(seq), 0) FROM (SELECT seq FROM event WHERE seq > ? ORDER BY seq LIMIT ?)",
    );
    let end = end.bind(to_i64(after)).bind(to_limit(LOOK));
    let end = to_seq(end.fetch_one(&mut *db).await?).max(after);
    read.push("event WHERE seq > ").push_bind(to_i64(after));
    read.push(" AND seq <= ").push_bind(to_i64(end));
    read.push(" AND ");
    push_kinds(&mut read, named);
    read.push(" ORDER BY seq LIMIT ").push_bind(to_limit(limit));
    let items = events(&read.build().fetch_all(db).await?)?;
    let upto = match items.last() {
        Some(last) if items.len() >= limit => last.seq,
        _ => end,
    };
    Ok(Page { items, upto })
}

/// The events of some kinds among those of a pack.
fn wanted(packed: Vec<Recorded>, kinds: &KindSet, after: Seq, limit: usize) -> Page<Recorded> {
    let mut page = Page {
        items: Vec::new(),
        upto: after,
    };
    for event in packed {
        if page.items.len() >= limit {
            break;
        }
        page.upto = event.seq;
        if kinds.contains_stream(&event.stream) {
            page.items.push(event);
        }
    }
    page
}

pub(super) async fn stream_of(
    db: &mut SqliteConnection,
    of: &StreamId,
    after: Version,
    limit: usize,
) -> Result<Vec<Recorded>, Trouble> {
    let mut found = packs::of_stream(db, of, after, limit).await?;
    let left = limit - found.len();
    if left > 0 {
        let read = sqlx::query(
            "SELECT seq, stream, version, at, by, kind, v, must, body FROM event
             WHERE stream = ? AND version > ? ORDER BY version LIMIT ?",
        );
        let read = read.bind(of.to_string()).bind(version(after));
        found.extend(events(&read.bind(to_limit(left)).fetch_all(db).await?)?);
    }
    Ok(found)
}

async fn open_of(
    db: &mut SqliteConnection,
    kinds: &[StreamKind],
) -> Result<Vec<Recorded>, Trouble> {
    let mut packed = QueryBuilder::<Sqlite>::new(
        "SELECT DISTINCT stream FROM packed WHERE stream IN (SELECT stream FROM open_stream WHERE ",
    );
    push_kinds(&mut packed, kinds.iter());
    packed.push(")");
    let packed: Vec<String> = packed.build_query_scalar().fetch_all(&mut *db).await?;
    let mut found = Vec::new();
    for stream in packed {
        let stream = stream.parse()?;
        found.extend(packs::of_stream(db, &stream, Version(0), usize::MAX).await?);
    }
    // Of several streams they come one after the other.
    found.sort_by_key(|event| event.seq);
    let mut read = QueryBuilder::<Sqlite>::new(COLUMNS);
    read.push("event WHERE stream IN (SELECT stream FROM open_stream WHERE ");
    push_kinds(&mut read, kinds.iter());
    read.push(") ORDER BY seq");
    found.extend(events(&read.build().fetch_all(db).await?)?);
    Ok(found)
}

async fn memos_of(db: &mut SqliteConnection, prefix: &MemoKey) -> Result<Vec<Memo>, Trouble> {
    let read = sqlx::query_as(
        "SELECT key, value FROM memo WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1 ORDER BY key",
    );
    let found: Vec<(String, Vec<u8>)> = read.bind(prefix.as_str()).fetch_all(db).await?;
    let memo = |(key, value)| Ok(Memo::set(MemoKey::new(key)?, value));
    found.into_iter().map(memo).collect()
}

pub(super) async fn head_of<'a>(
    db: impl Executor<'a, Database = Sqlite>,
) -> Result<Seq, sqlx::Error> {
    // The last event is never packed.
    let head = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM event");
    Ok(to_seq(head.fetch_one(db).await?))
}

/// Reads at one point in time, whatever is packed meanwhile.
macro_rules! reading {
    ($store:expr, |$db:ident| $read:expr) => {{
        let read = async {
            let mut transaction = $store.readers.begin().await?;
            let $db = &mut *transaction;
            let found = $read.await?;
            transaction.commit().await?;
            Ok::<_, Trouble>(found)
        };
        read.await.map_err(|e| $store.trouble("read", e))
    }};
}

#[async_trait]
impl EventLog for SqliteStore {
    async fn begin_term(&self) -> Result<Term> {
        let mut writer = self.writer()?.lock().await;
        writer.heads.clear();
        let begun = writer.with(async |db| {
            // Of a statement that is its own transaction it is not heard whether that ended well.
            let mut transaction = db.begin_with("BEGIN IMMEDIATE").await?;
            let begin = sqlx::query_scalar("UPDATE farm SET term = term + 1 RETURNING term");
            let term: i64 = begin.fetch_one(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(term)
        });
        let term: Result<i64, _> = begun.await;
        let term = term.map_err(|e| self.trouble("begin to write", e))?;
        Ok(Term(u64::try_from(term).unwrap_or(0)))
    }

    async fn append(&self, term: Term, group: Vec<Batch>) -> Vec<Result<Seq>> {
        let count = group.len();
        let all = |error: &Error| (0..count).map(|_| Err(again(error))).collect();
        let writer = match self.writer() {
            Ok(writer) => writer,
            Err(error) => return all(&error),
        };
        let mut writer = writer.lock().await;
        match writer.commit(term, group).await {
            Ok((head, answers)) => {
                self.head.send_replace(head);
                answers
            }
            Err(trouble) => all(&self.trouble("append to", trouble)),
        }
    }

    async fn head(&self) -> Result<Seq> {
        let head = head_of(&self.readers).await;
        head.map_err(|e| self.failed("read", e))
    }

    async fn heads(&self, of: &[StreamId]) -> Result<Vec<StreamHead>> {
        let found = reading!(self, |db| heads_of(db, of))?;
        let head = |id| found.get(id).copied().unwrap_or_default();
        Ok(of.iter().map(head).collect())
    }

    async fn read_stream(
        &self,
        of: &StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<Recorded>> {
        reading!(self, |db| stream_of(db, of, after, limit))
    }

    async fn read_open(&self, kinds: &[StreamKind]) -> Result<Vec<Recorded>> {
        reading!(self, |db| open_of(db, kinds))
    }

    async fn read(&self, kinds: &KindSet, after: Seq, limit: usize) -> Result<Page<Recorded>> {
        reading!(self, |db| page_of(db, kinds, after, limit))
    }

    async fn longer(&self, than: Seq) -> Result<Seq> {
        if self.writer.is_some() {
            return grown(&self.head, than).await;
        }
        loop {
            let head = self.head().await?;
            if head > than {
                return Ok(head);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn pack(&self, before: Timestamp, floor: Seq) -> Result<usize> {
        let mut writer = self.writer()?.lock().await;
        let packing = writer.with(async |db| {
            let mut transaction = db.begin_with("BEGIN IMMEDIATE").await?;
            let events = packs::next(&mut transaction, before, floor).await?;
            packs::save(&mut transaction, &events).await?;
            transaction.commit().await?;
            Ok(events.len())
        });
        let packed: Result<_, Trouble> = packing.await;
        packed.map_err(|e| self.trouble("pack the events of", e))
    }

    async fn close(&self) -> Result<()> {
        self.readers.close().await;
        let Some(writer) = &self.writer else {
            return Ok(());
        };
        let mut writer = writer.lock().await;
        let closed = writer.close().await;
        closed.map_err(|e| self.failed("close", e))
    }

    async fn memos(&self, prefix: &MemoKey) -> Result<Vec<Memo>> {
        reading!(self, |db| memos_of(db, prefix))
    }
}
