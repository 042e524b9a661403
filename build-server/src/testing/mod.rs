//! For tests of what is built on the seams, and of parts that somebody else brings.
//!
//! Each seam has a contract, a function that checks what every implementation promises:
//! [`event_log`], [`records`], [`blobs`] and [`damaged_blob`], [`logs`], [`pool`] and
//! [`pool_after_restart`], [`source`], and for readers [`memos`] and [`feed`]. They panic and say
//! which promise was broken. [`append`] writes events without counting versions.
//!
//! Each seam has a twin in memory: [`FakePool`], [`MemoryRepository`] (a source of work),
//! [`MemoryCheckouts`] and [`Steps`] (a recipe); stores have
//! [`Store::memory`](crate::store::Store::memory), time has
//! [`ManualClock`](build_core::clock::ManualClock). [`FakeFarm`] is a whole farm for a test.

mod blobs;
mod event_log;
mod fake_farm;
mod fake_pool;
mod logs;
mod memory_checkouts;
mod memory_repository;
mod memos;
mod pool;
mod records;
mod source;
mod steps;

use std::collections::BTreeMap;
use std::time::Duration;

use build_core::Result;
use build_core::clock::Timestamp;
use build_core::event::{
    Batch, BuildEvent, NewEvent, Principal, Recorded, Seq, SessionEvent, StreamId, Version,
};
use build_core::ids::BuildId;

use crate::store::EventLog;

pub use self::blobs::{blobs, damaged_blob};
pub use self::event_log::{event_log, everything};
pub use self::fake_farm::{Built, FakeFarm, next_second};
pub use self::fake_pool::{FakeLease, FakePool};
pub use self::logs::logs;
pub use self::memory_checkouts::MemoryCheckouts;
pub use self::memory_repository::MemoryRepository;
pub use self::memos::{feed, memos};
pub use self::pool::{pool, pool_after_restart};
pub use self::records::records;
pub use self::source::source;
pub use self::steps::Steps;

/// Longest wait for what must happen: more than anything in a test takes on a loaded machine.
pub const SOON: Duration = Duration::from_secs(60);

/// An event of a build, done by the farm.
///
/// # Panics
/// When it has no form in JSON, which none has.
pub fn event(build: &BuildId, at: Timestamp, event: &BuildEvent) -> NewEvent {
    let written = NewEvent::new(build, at, Principal::farm(), event);
    written.expect("events have a form in JSON")
}

/// What an event tells, of a session as if it were a build's.
pub fn told(recorded: &Recorded) -> Option<BuildEvent> {
    match recorded.stream {
        StreamId::Session(_) => recorded.read().and_then(SessionEvent::into_build),
        _ => recorded.read(),
    }
}

/// A batch that goes on wherever its streams are, and closes builds and sessions that end in it
/// and hold no machine.
///
/// # Errors
/// When the log cannot be read.
pub async fn batch(log: &dyn EventLog, events: Vec<NewEvent>) -> Result<Batch> {
    let mut open: BTreeMap<StreamId, (Version, Vec<Recorded>)> = BTreeMap::new();
    for event in &events {
        if !open.contains_key(&event.stream) {
            let (stream, all) = (event.stream.clone(), usize::MAX);
            let before = log.read_stream(&stream, Version(0), all).await?;
            let version = before.last().map_or(Version(0), |event| event.version);
            open.insert(stream, (version, before));
        }
    }
    let expects = open
        .iter()
        .map(|(stream, (version, _))| (stream.clone(), *version));
    let expects = expects.collect();
    for event in &events {
        if let Some((_, known)) = open.get_mut(&event.stream) {
            known.push(event.clone().recorded(Seq(0), Version(0)));
        }
    }
    let is_over = |events: &[Recorded]| {
        let count = |kind| events.iter().filter(|e| e.kind.as_str() == kind).count();
        count("finished") > 0 && count("leased") == count("lease_ended")
    };
    let closes = open.iter().filter(|(_, (_, events))| is_over(events));
    Ok(Batch {
        closes: closes.map(|(stream, _)| stream.clone()).collect(),
        expects,
        events,
        memos: Vec::new(),
    })
}

/// Writes events in one batch, in a term of its own: it ends everybody else's.
///
/// # Errors
/// When the log cannot be written.
pub async fn append(log: &dyn EventLog, events: Vec<NewEvent>) -> Result<Seq> {
    let batch = batch(log, events).await?;
    let term = log.begin_term().await?;
    let mut answers = log.append(term, vec![batch]).await;
    answers.pop().unwrap_or(Ok(Seq(0)))
}
