//! Old events, packed: a tenth of their size, still the truth, read in order and by stream.
//!
//! A pack is every event of a range of positions, whatever streams they belong to and whether
//! these are open; packs follow each other, and behind the last one come the events that are not
//! packed. Bodies stay as they were written.

use std::collections::BTreeMap;

use build_core::Result;
use build_core::clock::Timestamp;
use build_core::event::{PACK_EVENTS, Packer, Recorded, Seq, StreamId, Version};
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

use super::rows::Trouble;
use super::{INSERT_ROWS, event, to_i64, to_limit, to_seq};

/// The oldest events that may be packed, as many as one pack takes: of before `before`, not
/// behind `floor`, and never the last one of the log, which tells where the log ends. Of a clock
/// that was set nothing is left behind: what stands before an old event is old too.
pub(super) async fn next(
    db: &mut SqliteConnection,
    before: Timestamp,
    floor: Seq,
) -> Result<Vec<Recorded>, Trouble> {
    let read = sqlx::query(
        "SELECT seq, stream, version, at, by, kind, v, must, body FROM event
         WHERE seq <= ? AND seq < (SELECT max(seq) FROM event) ORDER BY seq LIMIT ?",
    );
    let read = read.bind(to_i64(floor)).bind(to_limit(PACK_EVENTS));
    let rows = read.fetch_all(db).await?;
    let mut events: Vec<Recorded> = rows.iter().map(event).collect::<Result<_, Trouble>>()?;
    events.truncate(Packer::default().count(&events, before));
    Ok(events)
}

/// Puts a pack in the place of its events.
pub(super) async fn save(db: &mut SqliteConnection, events: &[Recorded]) -> Result<(), Trouble> {
    let Some(last) = events.last().map(|event| event.seq) else {
        return Ok(());
    };
    sqlx::query("INSERT INTO pack (last, body) VALUES (?, ?)")
        .bind(to_i64(last))
        .bind(Packer::default().squeeze(events)?)
        .execute(&mut *db)
        .await?;
    let streams: BTreeMap<&StreamId, Version> = events
        .iter()
        .map(|event| (&event.stream, event.version))
        .collect();
    let streams: Vec<_> = streams.into_iter().collect();
    for chunk in streams.chunks(INSERT_ROWS) {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO packed (stream, version, pack) ");
        insert.push_values(chunk, |mut values, (stream, version)| {
            values
                .push_bind(stream.to_string())
                .push_bind(i64::try_from(version.0).unwrap_or(i64::MAX))
                .push_bind(to_i64(last));
        });
        insert.build().execute(&mut *db).await?;
    }
    sqlx::query("DELETE FROM event WHERE seq <= ?")
        .bind(to_i64(last))
        .execute(&mut *db)
        .await?;
    Ok(())
}

/// The first pack that goes on behind `after`, from there on; `None` when none does.
pub(super) async fn behind(
    db: &mut SqliteConnection,
    after: Seq,
) -> Result<Option<Vec<Recorded>>, Trouble> {
    let read = sqlx::query_scalar("SELECT body FROM pack WHERE last > ? ORDER BY last LIMIT 1");
    let body: Option<Vec<u8>> = read.bind(to_i64(after)).fetch_optional(db).await?;
    let Some(body) = body else {
        return Ok(None);
    };
    let mut events = Packer::default().unfold(&body)?;
    events.retain(|event| event.seq > after);
    Ok(Some(events))
}

/// At most `limit` packed events of a stream after `after`.
pub(super) async fn of_stream(
    db: &mut SqliteConnection,
    stream: &StreamId,
    after: Version,
    limit: usize,
) -> Result<Vec<Recorded>, Trouble> {
    let read = sqlx::query_scalar(
        "SELECT pack FROM packed WHERE stream = ? AND version > ? ORDER BY version",
    );
    let after_number = i64::try_from(after.0).unwrap_or(i64::MAX);
    let read = read.bind(stream.to_string()).bind(after_number);
    let packs: Vec<i64> = read.fetch_all(&mut *db).await?;
    let mut found = Vec::new();
    for pack in packs {
        if found.len() >= limit {
            break;
        }
        let read = sqlx::query_scalar("SELECT body FROM pack WHERE last = ?");
        let body: Vec<u8> = read.bind(pack).fetch_one(&mut *db).await?;
        let events = Packer::default().unfold(&body)?.into_iter();
        found.extend(events.filter(|event| event.stream == *stream && event.version > after));
    }
    found.truncate(limit);
    Ok(found)
}

/// Where the last pack ends.
pub(super) async fn end(db: &mut SqliteConnection) -> Result<Seq, Trouble> {
    let read = sqlx::query_scalar("SELECT coalesce(max(last), 0) FROM pack");
    Ok(to_seq(read.fetch_one(db).await?))
}
