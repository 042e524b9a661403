//! What happens, as it happens: events and output.

use std::collections::VecDeque;
use std::sync::Arc;

use build_core::buildlet::ByteStream;
use build_core::event::{KindSet, Recorded, Seq, StreamId, Version};
use build_core::ids::BuildId;
use build_core::plan::Unit;
use build_core::{Error, ErrorKind, Result};
use futures::StreamExt;
use tokio::sync::watch;

use super::{EventStream, Handle, READ_EVENTS};
use crate::record::Run;
use crate::store::EventLog;

impl Handle {
    /// The events of a stream, such as a build, from the first after `after`, then live, until
    /// nothing more happens in it or the coordinator ends.
    pub fn events(&self, stream: impl Into<StreamId>, after: Seq) -> EventStream {
        self.follow(Some(stream.into()), after)
    }

    /// The events of all streams from the first after `after`, then live, until the
    /// coordinator ends.
    pub fn all_events(&self, after: Seq) -> EventStream {
        self.follow(None, after)
    }

    fn follow(&self, stream: Option<StreamId>, after: Seq) -> EventStream {
        let follower = Follower {
            events: self.ledger.events().clone(),
            head: self.head.clone(),
            alive: self.alive.clone(),
            stream,
            after,
            version: Version(0),
            read: VecDeque::new(),
        };
        futures::stream::try_unfold(follower, Follower::step).boxed()
    }

    /// The output of one attempt (default: the latest there is) of a unit from byte `offset` on;
    /// with `follow` until it ends, else as far as it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the unit has not been started.
    pub async fn log(
        &self,
        build: &BuildId,
        unit: &Unit,
        attempt: Option<u32>,
        offset: u64,
        follow: bool,
    ) -> Result<ByteStream> {
        loop {
            let run = self.find_run(build, unit, attempt).await?;
            let follow = follow && run.end.is_none();
            // A unit that was recorded as started is about to be written; after a restart its
            // log is there already but not yet written again.
            if !follow || self.logs.begins(&run.exec).await {
                return self.logs.read(build, &run.exec, offset, follow).await;
            }
        }
    }

    async fn find_run(&self, build: &BuildId, unit: &Unit, attempt: Option<u32>) -> Result<Run> {
        let row = self.records.build(build).await?;
        let runs = row.map(|row| row.runs).unwrap_or_default();
        let mut wanted = runs.into_iter().rev().filter(|run| run.unit == *unit);
        let run = wanted.find(|run| attempt.is_none_or(|n| n == run.attempt));
        run.ok_or_else(|| {
            let text = format!("build {build} has no log of {unit}");
            Error::new(ErrorKind::NotFound, text)
        })
    }
}

/// Somebody who reads the log of events and then waits for more.
struct Follower {
    events: Arc<dyn EventLog>,
    head: watch::Receiver<Seq>,
    alive: watch::Receiver<()>,
    stream: Option<StreamId>,
    after: Seq,
    /// How far the stream was read.
    version: Version,
    read: VecDeque<Recorded>,
}

impl Follower {
    async fn step(mut self) -> Result<Option<(Recorded, Self)>> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                return Ok(Some((event, self)));
            }
            // Marked first: what is recorded while we read wakes us.
            self.head.mark_unchanged();
            let is_over = self.is_over().await?;
            if self.read_more().await? {
                continue;
            }
            if is_over || !self.grows().await {
                return Ok(None);
            }
        }
    }

    /// Returns when there may be more; whether the coordinator still runs.
    async fn grows(&mut self) -> bool {
        tokio::select! {
            biased;
            grown = self.head.changed() => grown.is_ok(),
            // Nobody ever says anything: it ends.
            _ = self.alive.changed() => false,
        }
    }

    /// Reads on; whether there was anything.
    async fn read_more(&mut self) -> Result<bool> {
        let Some(stream) = &self.stream else {
            let page = self
                .events
                .read(&KindSet::all(), self.after, READ_EVENTS)
                .await?;
            self.read = page.items.into();
            return Ok(!self.read.is_empty());
        };
        let read = self
            .events
            .read_stream(stream, self.version, READ_EVENTS)
            .await?;
        let Some(last) = read.last() else {
            return Ok(false);
        };
        self.version = last.version;
        let new = read.into_iter().filter(|event| event.seq > self.after);
        self.read = new.collect();
        Ok(true)
    }

    /// Asked before reading, so that nothing is missed when it says yes.
    async fn is_over(&self) -> Result<bool> {
        let Some(stream) = &self.stream else {
            return Ok(false);
        };
        let heads = self.events.heads(std::slice::from_ref(stream)).await?;
        Ok(heads.first().is_none_or(|head| !head.is_open))
    }
}
