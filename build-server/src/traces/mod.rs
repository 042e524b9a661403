//! Each build as a trace, sent to a collector of OpenTelemetry: a reader of the event log.
//!
//! A build is one trace, made from its events once it has ended: so a coordinator that was killed
//! in between loses nothing of it, and what it says is what the log says. Its spans:
//!
//! | Span | From | To |
//! |---|---|---|
//! | the build | it was asked for | its end |
//! | waiting for a machine | it was asked for | the first machine is granted |
//! | each machine | it is granted | it is given back; the end of the build at the latest |
//! | each step | its first command | the end of its last command |
//! | each command, in its step | it is started | its end |
//!
//! Attributes have the names of OpenTelemetry's conventions for CI/CD (`cicd.pipeline.run.id` is the
//! build, `vcs.ref.head.revision` its commit), so collectors know what they see; a line of the
//! farm's own log names the build that it is about, and so finds its trace. Ids are made from the
//! build's: a trace that is sent a second time after a crash is the same trace.
//!
//! What is sent is names, times and results: no output, no environment, no address of a repository.

mod collector;
mod spans;

use std::sync::Arc;

use async_trait::async_trait;
use build_core::Result;
use build_core::event::{KindSet, Recorded, StreamKind};
use build_core::ids::{BuildId, ReaderName, SinkName};
use build_core::reader::Taken;
use serde::{Deserialize, Serialize};

pub use self::collector::Collector;
use crate::outcomes::once_ended;
use crate::readers::{Follower, LedgerMemos, LogFeed, Reader};
use crate::store::Ledger;

/// The name of the reader, and where its effects go.
pub const READER: &str = "traces";

/// Reads which builds have ended.
pub struct TraceReader(ReaderName);

/// The body of each effect.
#[derive(Debug, Serialize, Deserialize)]
struct Ended {
    build: BuildId,
}

/// A reader that sends each build which ends from now on to `collector`. After a crash a trace may
/// be sent a second time, with the same ids; a collector that is away gets it later, within a day.
pub fn follower(ledger: &Ledger, collector: Collector) -> Follower<TraceReader> {
    let feed = LogFeed::new(ledger.events().clone(), KindSet::of([StreamKind::BUILD]));
    let reader = TraceReader(ReaderName::new(READER).expect("a plain word"));
    let sink = collector.reading(ledger.events().clone());
    Follower::new(reader, feed, Arc::new(LedgerMemos::new(ledger)))
        .from_end()
        .sink(SinkName::new(READER).expect("a plain word"), sink)
}

#[async_trait]
impl Reader for TraceReader {
    type Feed = LogFeed;

    fn name(&self) -> &ReaderName {
        &self.0
    }

    async fn take(&mut self, items: &[Recorded]) -> Result<Taken> {
        let ended = |build, _| Ended { build };
        let effects = items
            .iter()
            .filter_map(|event| once_ended(event, READER, ended).transpose());
        Ok(effects.collect::<Result<Vec<_>>>()?.into())
    }
}
