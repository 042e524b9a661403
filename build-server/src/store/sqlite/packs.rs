//! Events of what ended long ago, packed: a tenth of their size, still readable one build at a
//! time, still the truth that rows are folded from.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use build_core::clock::Timestamp;
use build_core::event::{Recorded, Seq};
use build_core::ids::BuildId;
use build_core::{Error, ErrorKind, Result};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Executor, Sqlite};

use super::rows::Trouble;
use super::{from_json, head_of, to_i64, to_json, to_limit, to_seq};

/// Builds in one pack: the more, the smaller each gets and the longer one takes to read.
const BUILDS: usize = 64;
/// Bytes of events from which on a pack is full: reading one stays a matter of milliseconds.
const BYTES: usize = 1 << 20;
/// Positions looked at in one step on the way to builds that can be packed.
const LOOK: usize = 4096;

/// Events of whole builds, oldest build first.
#[derive(Default)]
pub(super) struct Draft {
    builds: BTreeMap<Seq, BuildId>,
    events: Vec<Recorded>,
    bytes: usize,
}

impl Draft {
    pub(super) fn len(&self) -> usize {
        self.builds.len()
    }

    fn is_full(&self) -> bool {
        self.builds.len() >= BUILDS || self.bytes >= BYTES
    }

    fn add(&mut self, build: &BuildId, events: Vec<Recorded>, bytes: usize) {
        let Some(first) = events.first() else {
            return;
        };
        self.builds.insert(first.seq, build.clone());
        self.events.extend(events);
        self.bytes += bytes;
    }

    /// Puts the pack in the place of its events.
    pub(super) async fn save(mut self, db: &mut SqliteConnection) -> Result<(), Trouble> {
        self.events.sort_by_key(|event| event.seq);
        let saved = sqlx::query("INSERT INTO pack (body) VALUES (?)");
        let saved = saved.bind(squeeze(&self.events)?).execute(&mut *db).await?;
        let number = saved.last_insert_rowid();
        for build in self.builds.values() {
            sqlx::query("INSERT INTO packed (build, pack) VALUES (?, ?)")
                .bind(build.as_str())
                .bind(number)
                .execute(&mut *db)
                .await?;
            sqlx::query("DELETE FROM event WHERE build = ?")
                .bind(build.as_str())
                .execute(&mut *db)
                .await?;
        }
        Ok(())
    }
}

/// The oldest builds and sessions that have ended and of which nothing was heard since `before`,
/// as many as one pack takes. Never the last one of the log: that tells where the log ends.
pub(super) async fn next(db: &mut SqliteConnection, before: Timestamp) -> Result<Draft, Trouble> {
    let head = head_of(&mut *db).await?;
    let (mut draft, mut after) = (Draft::default(), Seq(0));
    while let Some((last, newest)) = stretch(db, after).await? {
        for build in begun_in(db, after, last).await? {
            let events = of_build(db, &build).await?;
            let is_old = |(e, _): &(Recorded, usize)| e.at < before && e.seq != head;
            if !events.iter().all(is_old) || is_open(db, &build).await? {
                continue;
            }
            let bytes = events.iter().map(|(_, bytes)| bytes).sum();
            draft.add(&build, events.into_iter().map(|(e, _)| e).collect(), bytes);
            if draft.is_full() {
                return Ok(draft);
            }
        }
        // Later ones are younger still, apart from what clocks that were set did.
        if newest >= before {
            break;
        }
        after = last;
    }
    Ok(draft)
}

/// Where the next [`LOOK`] events after `after` end, and when the last of them happened.
async fn stretch(
    db: &mut SqliteConnection,
    after: Seq,
) -> Result<Option<(Seq, Timestamp)>, Trouble> {
    let read = sqlx::query_as(
        "SELECT max(seq), max(at) FROM (SELECT seq, at FROM event WHERE seq > ? ORDER BY seq LIMIT ?)",
    );
    let read = read.bind(to_i64(after)).bind(to_limit(LOOK));
    let (last, newest): (Option<i64>, Option<i64>) = read.fetch_one(db).await?;
    let end = last.zip(newest);
    Ok(end.map(|(last, newest)| (to_seq(last), Timestamp::from_micros(newest))))
}

/// The builds and sessions of which the first event is in a stretch, oldest first.
async fn begun_in(
    db: &mut SqliteConnection,
    after: Seq,
    last: Seq,
) -> Result<Vec<BuildId>, Trouble> {
    // By the events that are left: builds that were packed long ago are not looked at.
    let read = sqlx::query_scalar(
        "SELECT id FROM (
           SELECT number, id FROM build
             WHERE number IN (SELECT seq FROM event WHERE seq > ?1 AND seq <= ?2)
           UNION ALL SELECT number, id FROM session
             WHERE number IN (SELECT seq FROM event WHERE seq > ?1 AND seq <= ?2)
         ) ORDER BY number",
    );
    let read = read.bind(to_i64(after)).bind(to_i64(last));
    let ids: Vec<String> = read.fetch_all(db).await?;
    let ids = ids.into_iter().map(|id| Ok(BuildId::new(id)?));
    ids.collect()
}

async fn is_open(db: &mut SqliteConnection, build: &BuildId) -> Result<bool, Trouble> {
    let read = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM build WHERE id = ?1 AND open
           UNION ALL SELECT 1 FROM session WHERE id = ?1 AND open)",
    );
    Ok(read.bind(build.as_str()).fetch_one(db).await?)
}

/// The events of a build, each with its size.
async fn of_build(
    db: &mut SqliteConnection,
    build: &BuildId,
) -> Result<Vec<(Recorded, usize)>, Trouble> {
    let read = sqlx::query_as("SELECT seq, at, body FROM event WHERE build = ? ORDER BY seq");
    let rows: Vec<(i64, i64, String)> = read.bind(build.as_str()).fetch_all(db).await?;
    let events = rows.into_iter().map(|(seq, at, body)| {
        let event = Recorded {
            seq: to_seq(seq),
            at: Timestamp::from_micros(at),
            build: build.clone(),
            event: from_json(&body)?,
        };
        Ok((event, body.len()))
    });
    events.collect()
}

/// The events of a build that was packed; `None` when it was not.
pub(super) async fn find<'a>(
    db: impl Executor<'a, Database = Sqlite>,
    build: &BuildId,
) -> Result<Option<Vec<Recorded>>, Trouble> {
    let read = sqlx::query_scalar(
        "SELECT body FROM pack WHERE number = (SELECT pack FROM packed WHERE build = ?)",
    );
    let body: Option<Vec<u8>> = read.bind(build.as_str()).fetch_optional(db).await?;
    let Some(body) = body else {
        return Ok(None);
    };
    let mut events = unfold(&body)?;
    events.retain(|event| event.build == *build);
    Ok(Some(events))
}

/// The first pack after `after`: its number and its events.
pub(super) async fn after(
    db: &mut SqliteConnection,
    after: i64,
) -> Result<Option<(i64, Vec<Recorded>)>, Trouble> {
    let read =
        sqlx::query_as("SELECT number, body FROM pack WHERE number > ? ORDER BY number LIMIT 1");
    let pack: Option<(i64, Vec<u8>)> = read.bind(after).fetch_optional(db).await?;
    let pack = pack.map(|(number, body)| Ok::<_, Trouble>((number, unfold(&body)?)));
    pack.transpose()
}

fn squeeze(events: &[Recorded]) -> Result<Vec<u8>> {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
    for event in events {
        let line = to_json(event)? + "\n";
        packer.write_all(line.as_bytes())?;
    }
    Ok(packer.finish()?)
}

fn unfold(body: &[u8]) -> Result<Vec<Recorded>> {
    let mut text = String::new();
    let read = ZlibDecoder::new(body).read_to_string(&mut text);
    read.map_err(|e| Error::caused_by(ErrorKind::Corrupt, "read packed events", e))?;
    text.lines().map(from_json).collect()
}
