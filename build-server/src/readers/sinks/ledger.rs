//! Events as effects.

use async_trait::async_trait;
use build_core::clock::Timestamp;
use build_core::event::{Batch, EventKind, NewEvent, Principal, StreamId, Version};
use build_core::reader::Call;
use build_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::readers::sink::{Made, Sink};
use crate::store::Ledger;

/// Appends events to a stream that belongs to the reader: the body of each effect is an
/// [`Entry`]. Stream and version are the token: what is there already was appended before.
#[derive(Clone)]
pub struct LedgerSink(Ledger);

/// Events to be appended to one stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Whereto.
    pub stream: StreamId,
    /// The version it has before.
    pub after: Version,
    /// Whether it is over with them.
    #[serde(default)]
    pub closes: bool,
    /// The events, in order.
    pub events: Vec<EntryEvent>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntryEvent {
    /// When it happened.
    pub at: Timestamp,
    /// Who did it.
    pub by: Principal,
    /// What sort of event it is.
    pub kind: EventKind,
    /// Version of the format of its body.
    pub v: u16,
    /// Whether a program that does not understand it must leave the stream alone.
    pub must: bool,
    /// What it tells.
    pub body: Box<RawValue>,
}

impl LedgerSink {
    /// Appends through a client of its own.
    pub fn new(ledger: &Ledger) -> Self {
        Self(ledger.client())
    }

    /// Whether the stream already holds these events there.
    async fn is_written(&self, entry: &Entry) -> Result<bool> {
        let count = entry.events.len();
        let log = self.0.events();
        let there = log.read_stream(&entry.stream, entry.after, count).await?;
        let same = there.iter().zip(&entry.events).all(|(there, own)| {
            there.kind == own.kind && there.at == own.at && there.body.get() == own.body.get()
        });
        Ok(there.len() == count && same)
    }

    async fn append(&self, call: &Call) -> Result<Made> {
        let entry: Entry = serde_json::from_str(call.effect.body.get())
            .map_err(|e| Error::caused_by(ErrorKind::Invalid, "read events to append", e))?;
        let new = |event: &EntryEvent| NewEvent {
            stream: entry.stream.clone(),
            at: event.at,
            by: event.by.clone(),
            kind: event.kind.clone(),
            v: event.v,
            must: event.must,
            body: event.body.clone(),
        };
        let batch = Batch {
            expects: vec![(entry.stream.clone(), entry.after)],
            events: entry.events.iter().map(new).collect(),
            closes: entry
                .closes
                .then(|| entry.stream.clone())
                .into_iter()
                .collect(),
            memos: Vec::new(),
        };
        match self.0.append(batch).await {
            Ok(_) => Ok(Made::Yes),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                match self.is_written(&entry).await? {
                    true => Ok(Made::Yes),
                    false => Ok(Made::Never(error.chain().to_string())),
                }
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Sink for LedgerSink {
    async fn make(&self, call: &Call) -> Made {
        self.append(call).await.unwrap_or_else(Made::from)
    }
}
