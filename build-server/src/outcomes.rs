//! Tells how builds end, as they end: a reader of the event log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::event::{BuildEvent, KindSet, Outcome, Recorded, StreamKind};
use build_core::ids::{BuildId, EffectKey, ReaderName, SinkName, Topic};
use build_core::reader::{Call, Effect, How, Taken};
use build_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use crate::coordinator::Handle;
use crate::readers::{Follower, LedgerMemos, LogFeed, Made, Reader, Sink};
use crate::record::BuildRow;
use crate::store::Records;

/// The name of the reader, and where its effects go.
pub const READER: &str = "outcomes";
/// Old ends are nobody's news.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads how builds end.
pub struct OutcomeReader(ReaderName);

/// How a build ended: the body of each effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ended {
    build: BuildId,
    outcome: Outcome,
}

/// Says it.
struct Says<F> {
    records: Arc<dyn Records>,
    say: F,
}

/// A reader that calls `say` for each build that ends from now on, in order, with its row where
/// there is one. After a crash an end may be told a second time; none is left out.
pub fn follower(
    handle: &Handle,
    say: impl Fn(&BuildId, &Outcome, Option<&BuildRow>) + Send + Sync + 'static,
) -> Follower<OutcomeReader> {
    let events = handle.ledger().events().clone();
    let feed = LogFeed::new(events, KindSet::of([StreamKind::BUILD]));
    let reader = OutcomeReader(ReaderName::new(READER).expect("a plain word"));
    let says = Says {
        records: handle.records().clone(),
        say,
    };
    Follower::new(reader, feed, Arc::new(LedgerMemos::new(handle.ledger())))
        .from_end()
        .sink(SinkName::new(READER).expect("a plain word"), says)
}

/// What is to be done once a build has ended: made at least once, within a day, by the sink that is
/// called like its reader. `None` for every other event.
pub(crate) fn once_ended<B: Serialize>(
    event: &Recorded,
    reader: &str,
    body: impl FnOnce(BuildId, Outcome) -> B,
) -> Result<Option<Effect>> {
    let (Some(build), Some(BuildEvent::Finished { outcome })) =
        (event.stream.build(), event.read())
    else {
        return Ok(None);
    };
    Ok(Some(Effect {
        key: EffectKey::new(build)?,
        topic: Topic::new(reader)?,
        how: How::AtLeastOnce,
        to: SinkName::new(reader)?,
        body: to_raw_value(&body(build.clone(), outcome))
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "write how a build has ended", e))?,
        until: event.at + PATIENCE,
        replaces: false,
    }))
}

#[async_trait]
impl Reader for OutcomeReader {
    type Feed = LogFeed;

    fn name(&self) -> &ReaderName {
        &self.0
    }

    async fn take(&mut self, items: &[Recorded]) -> Result<Taken> {
        let ended = |build, outcome| Ended { build, outcome };
        let effects = items
            .iter()
            .filter_map(|event| once_ended(event, READER, ended).transpose());
        Ok(effects.collect::<Result<Vec<_>>>()?.into())
    }
}

#[async_trait]
impl<F> Sink for Says<F>
where
    F: Fn(&BuildId, &Outcome, Option<&BuildRow>) + Send + Sync + 'static,
{
    async fn make(&self, call: &Call) -> Made {
        let ended: Ended = match serde_json::from_str(call.effect.body.get()) {
            Ok(ended) => ended,
            Err(error) => return Made::Never(format!("read an outcome: {error}")),
        };
        match self.records.build(&ended.build).await {
            Ok(row) => {
                (self.say)(&ended.build, &ended.outcome, row.as_ref());
                Made::Yes
            }
            Err(error) => error.into(),
        }
    }
}
