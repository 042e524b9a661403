//! What is written together, and under which conditions.

use std::collections::{BTreeMap, HashMap};

use super::memo::Memo;
use super::recorded::{NewEvent, Recorded, Seq, Version};
use super::stream::StreamId;
use crate::error::{Error, ErrorKind, Result};

/// Who may write at present: a later term ends all earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// Events and memos that are written together or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Every stream that the events touch, with the version it must have before.
    pub expects: Vec<(StreamId, Version)>,
    /// The events, in order.
    pub events: Vec<NewEvent>,
    /// Streams that are over from then on.
    pub closes: Vec<StreamId>,
    /// Memos that change.
    pub memos: Vec<Memo>,
}

impl Batch {
    /// Whether nothing is written by it.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.closes.is_empty() && self.memos.is_empty()
    }
}

/// How far a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamHead {
    /// Of its last event; 0 when it has none.
    pub version: Version,
    /// Whether something may still happen: it has begun, and nobody closed it.
    pub is_open: bool,
}

/// Some items, and how far was looked for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, P = Seq> {
    /// What was found, in order.
    pub items: Vec<T>,
    /// How far was looked: the next page begins behind it. Where the page began when there is
    /// nothing behind it yet.
    pub upto: P,
}

/// What of a group of batches may be written, and as what: the rules of every log, without IO.
///
/// ```
/// use std::collections::HashMap;
/// use build_core::event::{Batch, Numbering, Seq, Version};
/// # fn main() -> build_core::Result<()> {
/// let stream = "tide/harbour".parse()?;
/// let mut numbering = Numbering::new(Seq(7), HashMap::new());
/// let batch = Batch { expects: vec![(stream, Version(3))], ..Batch::default() };
/// assert!(numbering.admit(batch).is_err(), "the stream is new");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Numbering {
    head: Seq,
    heads: HashMap<StreamId, StreamHead>,
    #[cfg(any(test, feature = "testing"))]
    skips_versions: bool,
}

/// A batch that may be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    /// Its events with their positions.
    pub events: Vec<Recorded>,
    /// The streams that begin with it.
    pub begins: Vec<StreamId>,
    /// The streams that end with it.
    pub closes: Vec<StreamId>,
    /// The memos that change.
    pub memos: Vec<Memo>,
    /// Where the log ends after it.
    pub head: Seq,
}

impl Numbering {
    /// Goes on behind `head`. `heads` holds every stream that the batches to come expect
    /// something of; one that is missing is new.
    pub fn new(head: Seq, heads: HashMap<StreamId, StreamHead>) -> Self {
        Self {
            head,
            heads,
            #[cfg(any(test, feature = "testing"))]
            skips_versions: false,
        }
    }

    /// The streams that a batch touches.
    pub fn touched(batch: &Batch) -> impl Iterator<Item = &StreamId> {
        let expected = batch.expects.iter().map(|(stream, _)| stream);
        let written = batch.events.iter().map(|event| &event.stream);
        expected.chain(written).chain(&batch.closes)
    }

    /// Numbers the events of the next batch.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] naming the stream that is not where the batch expects it: somebody
    /// else has written to it. [`ErrorKind::Bug`] when the batch touches a stream of which it
    /// expects nothing. Nothing has changed then.
    pub fn admit(&mut self, batch: Batch) -> Result<Admitted> {
        let mut versions = BTreeMap::new();
        for (stream, expected) in &batch.expects {
            let known = self.heads.get(stream).copied().unwrap_or_default();
            if known.version != *expected && !self.skips_versions() {
                return Err(moved(stream, *expected, known.version));
            }
            versions.insert(stream.clone(), known.version);
        }
        let expects = |stream: &StreamId| match versions.contains_key(stream) {
            true => Ok(()),
            false => {
                let text = format!("a batch writes to {stream} and does not say what it expects");
                Err(Error::new(ErrorKind::Bug, text))
            }
        };
        batch
            .events
            .iter()
            .try_for_each(|event| expects(&event.stream))?;
        batch.closes.iter().try_for_each(expects)?;

        let mut begins = Vec::new();
        let mut events = Vec::with_capacity(batch.events.len());
        for event in batch.events {
            let version = versions.entry(event.stream.clone()).or_default();
            *version = version.next();
            self.head = Seq(self.head.0 + 1);
            if *version == Version(1) {
                begins.push(event.stream.clone());
            }
            events.push(event.recorded(self.head, *version));
        }
        for (stream, version) in versions {
            let known = self.heads.entry(stream).or_default();
            known.is_open |= known.version == Version(0) && version > Version(0);
            known.version = version;
        }
        for stream in &batch.closes {
            if let Some(known) = self.heads.get_mut(stream) {
                known.is_open = false;
            }
        }
        Ok(Admitted {
            events,
            begins,
            closes: batch.closes,
            memos: batch.memos,
            head: self.head,
        })
    }

    /// Where the log ends.
    pub fn head(&self) -> Seq {
        self.head
    }

    /// The streams as they are after what was admitted.
    pub fn into_heads(self) -> HashMap<StreamId, StreamHead> {
        self.heads
    }

    /// Plants a bug, so that a test can show that it is found.
    #[cfg(any(test, feature = "testing"))]
    pub fn plant(&mut self, plant: Option<crate::plant::Plant>) {
        self.skips_versions = plant == Some(crate::plant::Plant::UncheckedVersion);
    }

    #[cfg(any(test, feature = "testing"))]
    fn skips_versions(&self) -> bool {
        self.skips_versions
    }

    #[cfg(not(any(test, feature = "testing")))]
    #[expect(clippy::unused_self, reason = "a bug can be planted in tests only")]
    fn skips_versions(&self) -> bool {
        false
    }
}

/// A stream is not where somebody expected it.
fn moved(stream: &StreamId, expected: Version, known: Version) -> Error {
    let text = format!(
        "stream {stream} is at version {}, not at {}: somebody else has written to it",
        known.0, expected.0
    );
    Error::new(ErrorKind::Conflict, text)
}

/// A term that has ended.
pub fn ended_term(term: Term, now: Term) -> Error {
    let text = format!(
        "the event log is written by term {}, and this is term {}: another coordinator has taken over",
        now.0, term.0
    );
    Error::new(ErrorKind::Conflict, text)
}
