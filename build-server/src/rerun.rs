//! Failed tests are run again once: a reader of the event log.
//!
//! When a build has failed by tests alone, and the past does not say that they are broken, the
//! same commit is built once more when machines are idle. The page of the first build then says
//! whether they failed again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::engine::BuildState;
use build_core::event::{BuildEvent, Outcome, Recorded, StreamId, Version};
use build_core::ids::{BuildId, EffectKey, ReaderName, SinkName, Topic};
use build_core::reader::{Call, Effect, How, Taken};
use build_core::{Error, ErrorKind, Result};
use serde_json::value::to_raw_value;

use crate::coordinator::Handle;
use crate::flakes::is_worth_a_rerun;
use crate::readers::{LogFeed, Made, Reader, Sink};
use crate::store::{EventLog, Records};

/// The name of the reader, and of its sink.
pub const READER: &str = "rerun";
/// How long a re-run may be begun late.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// Events of a build that are read at a time.
const PAGE: usize = 1_000;

/// Reads what builds fail and says which are to be run again.
pub struct RerunReader {
    name: ReaderName,
    events: Arc<dyn EventLog>,
    records: Arc<dyn Records>,
}

impl RerunReader {
    /// Looks at the builds of this log.
    pub fn new(events: Arc<dyn EventLog>, records: Arc<dyn Records>) -> Self {
        Self {
            name: ReaderName::new(READER).expect("a plain word"),
            events,
            records,
        }
    }

    /// The build as it is, folded from its stream.
    async fn fold(&self, build: &BuildId) -> Result<Option<BuildState>> {
        let stream = StreamId::from(build.clone());
        let mut state: Option<BuildState> = None;
        let mut after = Version(0);
        loop {
            let events = self.events.read_stream(&stream, after, PAGE).await?;
            let Some(last) = events.last() else {
                return Ok(state);
            };
            after = last.version;
            for event in &events {
                match &mut state {
                    Some(state) => state.apply(event)?,
                    None => state = Some(BuildState::new(event)?),
                }
            }
        }
    }

    async fn is_due(&self, build: &BuildId) -> Result<bool> {
        let Some(row) = self.records.build(build).await? else {
            return Ok(false);
        };
        // Most builds that fail are ruled out by their rows alone.
        if row.item.rerun_of.is_some() || row.item.worktree {
            return Ok(false);
        }
        let may = self.fold(build).await?.is_some_and(|state| state.may_be_rerun());
        Ok(may && is_worth_a_rerun(&*self.records, &row).await?)
    }
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
            let Some(BuildEvent::Finished { outcome: Outcome::Failed { .. } }) = event.read() else {
                continue;
            };
            if let Some(build) = event.stream.build()
                && self.is_due(build).await?
            {
                effects.push(effect(build, event)?);
            }
        }
        Ok(effects.into())
    }
}

/// The first build names the effect: there is one re-run of it.
pub(crate) fn effect(build: &BuildId, event: &Recorded) -> Result<Effect> {
    let body = to_raw_value(build)
        .map_err(|e| Error::caused_by(ErrorKind::Bug, "name a build", e))?;
    Ok(Effect {
        key: EffectKey::new(build.as_str())?,
        topic: Topic::new(build.as_str())?,
        // The rows show it as soon as it is written, and nothing is under way beyond that.
        how: How::probe(Duration::ZERO),
        to: SinkName::new(READER)?,
        body,
        until: event.at + PATIENCE,
        replaces: false,
    })
}

/// Asks for the re-runs.
pub struct RerunSink(Handle);

impl RerunSink {
    /// Asks a coordinator.
    pub fn new(handle: Handle) -> Self {
        Self(handle)
    }

    async fn ask(&self, build: &BuildId) -> Result<Made> {
        let Some(row) = self.0.records().build(build).await? else {
            return Ok(Made::Never(format!("{build} is not known any more")));
        };
        if row.rerun.is_some() {
            return Ok(Made::Yes);
        }
        self.0.submit_found(row.item.rerun(build), &row.builder).await?;
        Ok(Made::Yes)
    }

    async fn look(&self, build: &BuildId) -> Result<Made> {
        let row = self.0.records().build(build).await?;
        Ok(match row.is_some_and(|row| row.rerun.is_some()) {
            true => Made::Yes,
            false => Made::No(String::new().into()),
        })
    }
}

fn build_of(call: &Call) -> Result<BuildId> {
    serde_json::from_str(call.effect.body.get())
        .map_err(|e| Error::caused_by(ErrorKind::Invalid, "read the name of a build", e))
}

#[async_trait]
impl Sink for RerunSink {
    async fn make(&self, call: &Call) -> Made {
        let asked = async { self.ask(&build_of(call)?).await };
        asked.await.unwrap_or_else(|error| Made::Perhaps(error.chain().to_string().into()))
    }

    async fn is_made(&self, call: &Call) -> Made {
        let looked = async { self.look(&build_of(call)?).await };
        looked.await.unwrap_or_else(|error| Made::Perhaps(error.chain().to_string().into()))
    }
}
