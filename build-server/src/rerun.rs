//! Runs builds again that failed by their tests: a reader of the event log.
//!
//! What the past says of the failed tests decides whether another run may tell something. The
//! effect is a wish whose key is made of the build, so there is one run however often it is asked
//! for.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::clock::Clock;
use build_core::event::{BuildEvent, KindSet, Outcome, Recorded, StreamKind, Version};
use build_core::ids::{BuildId, EffectKey, ReaderName, SinkName, Topic};
use build_core::reader::{Call, Effect, How, Taken};
use build_core::rerun::rerun_of;
use build_core::{Error, ErrorKind, Result};
use serde_json::value::to_raw_value;

use crate::coordinator::Handle;
use crate::flakes::is_worth_a_rerun;
use crate::readers::{Follower, LedgerMemos, LogFeed, Made, Reader, Sink};
use crate::source::Checkouts;
use crate::store::{Blobs, EventLog, Records};

/// The name of the reader.
pub const READER: &str = "rerun";
/// Where its effects go.
const SINK: &str = "rerun";
/// An end that is older says nothing that anybody waits for.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads how builds end and says which are run again.
pub struct RerunReader {
    name: ReaderName,
    events: Arc<dyn EventLog>,
    records: Arc<dyn Records>,
    blobs: Arc<dyn Blobs>,
    checkouts: Arc<dyn Checkouts>,
    clock: Arc<dyn Clock>,
}

/// Asks the farm for another run.
struct Asks {
    handle: Handle,
    events: Arc<dyn EventLog>,
}

/// The reader of the farm of `handle`, to be run.
pub(crate) fn follower(handle: &Handle, clock: Arc<dyn Clock>) -> Follower<RerunReader> {
    let events = handle.ledger().events().clone();
    let feed = LogFeed::new(events.clone(), KindSet::of([StreamKind::BUILD]));
    let reader = RerunReader {
        name: ReaderName::new(READER).expect("a plain word"),
        events: events.clone(),
        records: handle.records().clone(),
        blobs: handle.blobs().clone(),
        checkouts: handle.checkouts().clone(),
        clock: clock.clone(),
    };
    let asks = Asks {
        handle: handle.clone(),
        events,
    };
    Follower::new(reader, feed, Arc::new(LedgerMemos::new(handle.ledger())))
        .any_clock(clock)
        .sink(SinkName::new(SINK).expect("a plain word"), asks)
}

impl RerunReader {
    async fn effect(&self, event: &Recorded) -> Result<Option<Effect>> {
        let Some(build) = event.stream.build() else {
            return Ok(None);
        };
        let failed = matches!(
            event.read(),
            Some(BuildEvent::Finished {
                outcome: Outcome::Failed { .. }
            })
        );
        let until = event.at + PATIENCE;
        if !failed || until <= self.clock.now() {
            return Ok(None);
        }
        let events = read(&*self.events, build).await?;
        if rerun_of(&events)?.is_none() {
            return Ok(None);
        }
        let worth = match self.records.build(build).await? {
            Some(row) => {
                let (records, blobs) = (&*self.records, &*self.blobs);
                is_worth_a_rerun(records, blobs, &*self.checkouts, &row).await?
            }
            None => false,
        };
        if !worth {
            return Ok(None);
        }
        let body = to_raw_value(build)
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "write a re-run", e))?;
        Ok(Some(Effect {
            key: EffectKey::new(build)?,
            topic: Topic::new(build)?,
            how: How::Token,
            to: SinkName::new(SINK)?,
            body,
            until,
            replaces: false,
        }))
    }
}

async fn read(events: &dyn EventLog, build: &BuildId) -> Result<Vec<Recorded>> {
    let stream = build.into();
    events.read_stream(&stream, Version(0), usize::MAX).await
}

#[async_trait]
impl Reader for RerunReader {
    type Feed = LogFeed;

    fn name(&self) -> &ReaderName {
        &self.name
    }

    async fn take(&mut self, items: &[Recorded]) -> Result<Taken> {
        let mut effects = Vec::new();
        for event in items {
            effects.extend(self.effect(event).await?);
        }
        Ok(effects.into())
    }
}

impl Asks {
    async fn ask(&self, call: &Call) -> Result<Made> {
        let build: BuildId = serde_json::from_str(call.effect.body.get())
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, "read a re-run", e))?;
        match rerun_of(&read(&*self.events, &build).await?)? {
            Some(wish) => self.handle.ask(wish).await.map(|()| Made::Yes),
            None => Ok(Made::Never(format!("build {build} is not to be run again"))),
        }
    }
}

#[async_trait]
impl Sink for Asks {
    async fn make(&self, call: &Call) -> Made {
        match self.ask(call).await {
            Ok(made) => made,
            // It may have been asked for: the key of the wish tells.
            Err(error) => Made::Perhaps(error.chain().to_string().into()),
        }
    }
}
