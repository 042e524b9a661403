//! A kind of streams of one's own, and a reader of it: the water in harbours, and a bell.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use build_core::clock::{Clock, SystemClock};
use build_core::event::{Batch, Encoded, Event, EventKind, KindSet, NewEvent, Principal, Recorded, StreamId, StreamKind, Version};
use build_core::ids::ReaderName;
use build_core::reader::{Call, Taken};
use build_core::Result;
use build_server::readers::{Follower, LedgerMemos, LogFeed, Made, Reader, Sink, effect};
use build_server::store::Ledger;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The kind: its streams are called `tide/HARBOUR`.
pub const TIDE: StreamKind = StreamKind::known("tide");

/// What happens in a harbour.
#[derive(Debug, Serialize, Deserialize)]
pub enum Tide {
    High { cm: u32 },
}

impl Event for Tide {
    const STREAM: StreamKind = TIDE;

    fn encode(&self) -> Result<Encoded> {
        let Self::High { cm } = self;
        // Nobody else needs to understand it.
        Encoded::new(EventKind::known("high"), 1, false, cm)
    }

    fn decode(kind: &EventKind, v: u16, body: &RawValue) -> Option<Self> {
        let cm = serde_json::from_str(body.get()).ok()?;
        (kind.as_str() == "high" && v == 1).then_some(Self::High { cm })
    }
}

/// Records high water in a harbour that is at `version`.
pub async fn high_water(ledger: &Ledger, harbour: &StreamId, version: u64, cm: u32) -> Result<()> {
    let by = Principal::person("warden");
    let event = NewEvent::new(harbour.clone(), SystemClock.now(), by, &Tide::High { cm })?;
    let batch = Batch { expects: vec![(harbour.clone(), Version(version))], events: vec![event], ..Batch::default() };
    ledger.append(batch).await.map(drop)
}

/// Rings for every high water, once.
struct Bell(ReaderName);

#[async_trait]
impl Reader for Bell {
    type Feed = LogFeed;

    fn name(&self) -> &ReaderName {
        &self.0
    }

    async fn take(&mut self, events: &[Recorded]) -> Result<Taken> {
        let mut effects = Vec::new();
        for event in events {
            if let Some(Tide::High { cm }) = event.read() {
                let key = format!("{}-{}", event.stream.to_string().replace('/', "-"), event.version.0);
                effects.push(effect(&key, "bell", "tower", &cm)?);
            }
        }
        Ok(effects.into())
    }
}

/// Where the bell hangs; it knows what it was rung for.
#[derive(Clone, Default)]
pub struct Tower(Arc<Mutex<Vec<String>>>);

impl Tower {
    pub fn rung(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Sink for Tower {
    async fn make(&self, call: &Call) -> Made {
        let key = call.effect.key.to_string();
        let mut rung = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !rung.contains(&key) {
            rung.push(key);
        }
        Made::Yes
    }
}

/// The reader with everything it needs: it reads tides in the log of the ledger, and keeps how far
/// it is beside them.
pub fn bell(ledger: &Ledger, tower: Tower) -> Result<Follower<impl Reader>> {
    let feed = LogFeed::new(ledger.events().clone(), KindSet::of([TIDE]));
    let memos = Arc::new(LedgerMemos::new(ledger));
    Ok(Follower::new(Bell(ReaderName::new("bell")?), feed, memos).sink("tower".parse()?, tower))
}
