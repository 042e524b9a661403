//! The envelope: what the log says of every event, whatever it tells.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::kinds::{EventKind, StreamKind};
use super::principal::Principal;
use super::stream::StreamId;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// Position in the event log, in the order of commits. Grows; positions may be left out.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// Position within a stream: 1 for its first event, no gaps; 0 for a stream without events.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The next one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One event as it stands in the log. Its body stays as it was written, whoever reads it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// Where it stands in the log.
    pub seq: Seq,
    /// What it belongs to.
    pub stream: StreamId,
    /// Where it stands in its stream.
    pub version: Version,
    /// When it happened.
    pub at: Timestamp,
    /// Who did it.
    pub by: Principal,
    /// What sort of event it is, among those of its kind of streams.
    pub kind: EventKind,
    /// Version of the format of its body.
    pub v: u16,
    /// Whether a program that does not understand it must leave the stream alone.
    pub must: bool,
    /// What it tells.
    pub body: Box<RawValue>,
}

/// An event that is not in the log yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewEvent {
    /// What it belongs to.
    pub stream: StreamId,
    /// When it happened; recorded as it is, so that a fold of the log sees what its author saw.
    pub at: Timestamp,
    /// Who did it.
    pub by: Principal,
    /// What sort of event it is, among those of its kind of streams.
    pub kind: EventKind,
    /// Version of the format of its body.
    pub v: u16,
    /// Whether a program that does not understand it must leave the stream alone.
    pub must: bool,
    /// What it tells.
    pub body: Box<RawValue>,
}

/// The events of one kind of streams, as a program knows them.
pub trait Event: Sized {
    /// The kind of streams.
    const STREAM: StreamKind;

    /// The event without its envelope.
    ///
    /// # Errors
    /// [`ErrorKind::Bug`] when it has no form in JSON.
    fn encode(&self) -> Result<Encoded>;

    /// Reads a body. `None` when the kind is not known, was written in a newer version of its
    /// format, or has a shape that is not known.
    fn decode(kind: &EventKind, v: u16, body: &RawValue) -> Option<Self>;
}

/// An event without its envelope.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// [`NewEvent::kind`].
    pub kind: EventKind,
    /// [`NewEvent::v`].
    pub v: u16,
    /// [`NewEvent::must`].
    pub must: bool,
    /// [`NewEvent::body`].
    pub body: Box<RawValue>,
}

impl Encoded {
    /// An event whose body is `value` in JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Bug`] when it has no form in JSON.
    pub fn new(kind: EventKind, v: u16, must: bool, value: &impl Serialize) -> Result<Self> {
        let body = serde_json::value::to_raw_value(value)
            .map_err(|e| Error::caused_by(ErrorKind::Bug, format!("write event {kind}"), e))?;
        Ok(Self {
            kind,
            v,
            must,
            body,
        })
    }
}

impl NewEvent {
    /// An event of a stream, done by somebody.
    ///
    /// # Errors
    /// [`ErrorKind::Bug`] when it has no form in JSON.
    pub fn new(
        stream: impl Into<StreamId>,
        at: Timestamp,
        by: Principal,
        event: &impl Event,
    ) -> Result<Self> {
        Ok(Self::encoded(stream.into(), at, by, event.encode()?))
    }

    /// As [`NewEvent::new`], of an event that was encoded before.
    pub fn encoded(stream: StreamId, at: Timestamp, by: Principal, event: Encoded) -> Self {
        Self {
            stream,
            at,
            by,
            kind: event.kind,
            v: event.v,
            must: event.must,
            body: event.body,
        }
    }

    /// The event as it will stand in the log.
    pub fn recorded(self, seq: Seq, version: Version) -> Recorded {
        Recorded {
            seq,
            stream: self.stream,
            version,
            at: self.at,
            by: self.by,
            kind: self.kind,
            v: self.v,
            must: self.must,
            body: self.body,
        }
    }

    /// What it tells, if this version knows its kind and it is of a stream of such events.
    pub fn read<E: Event>(&self) -> Option<E> {
        (self.stream.kind() == E::STREAM).then(|| E::decode(&self.kind, self.v, &self.body))?
    }
}

impl Recorded {
    /// What it tells, if this version knows its kind and it is of a stream of such events.
    pub fn read<E: Event>(&self) -> Option<E> {
        (self.stream.kind() == E::STREAM).then(|| E::decode(&self.kind, self.v, &self.body))?
    }

    /// Its kind with the kind of its stream: `build.queued`.
    pub fn full_kind(&self) -> String {
        format!("{}.{}", self.stream.kind(), self.kind)
    }
}

impl PartialEq for Recorded {
    /// Bodies are compared as they are written.
    fn eq(&self, other: &Self) -> bool {
        (self.seq, &self.stream, self.version) == (other.seq, &other.stream, other.version)
            && (self.at, &self.by) == (other.at, &other.by)
            && (&self.kind, self.v, self.must) == (&other.kind, other.v, other.must)
            && self.body.get() == other.body.get()
    }
}

impl PartialEq for NewEvent {
    /// Bodies are compared as they are written.
    fn eq(&self, other: &Self) -> bool {
        (&self.stream, self.at, &self.by) == (&other.stream, other.at, &other.by)
            && (&self.kind, self.v, self.must) == (&other.kind, other.v, other.must)
            && self.body.get() == other.body.get()
    }
}
