//! Events as others read them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::rfc3339;
use crate::clock::Timestamp;
use crate::event::{EventKind, Principal, Recorded, Seq, StreamId, Version};

/// One event. Its body is as the log has it, by the format of its kind and version
/// (`docs/protocol/events.md`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Where it stands in the log.
    pub seq: Seq,
    /// What it belongs to: `build/ID`, `session/ID`, `KIND/NAME`.
    pub stream: StreamId,
    /// Where it stands in its stream.
    pub version: Version,
    /// When it happened.
    #[serde(with = "rfc3339")]
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

/// From where on events are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventQuery {
    /// Behind this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

impl From<Recorded> for Event {
    fn from(recorded: Recorded) -> Self {
        let Recorded {
            seq,
            stream,
            version,
            at,
            by,
            kind,
            v,
            must,
            body,
        } = recorded;
        Self {
            seq,
            stream,
            version,
            at,
            by,
            kind,
            v,
            must,
            body,
        }
    }
}

impl From<Event> for Recorded {
    fn from(event: Event) -> Self {
        let Event {
            seq,
            stream,
            version,
            at,
            by,
            kind,
            v,
            must,
            body,
        } = event;
        Self {
            seq,
            stream,
            version,
            at,
            by,
            kind,
            v,
            must,
            body,
        }
    }
}
