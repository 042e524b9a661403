//! What the readers of a farm have to do.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;
use crate::ids::{EffectKey, ReaderName, SinkName, Topic};
use crate::reader::{Entry, EntryState, Place};

/// Every reader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    /// The readers.
    pub readers: Vec<ReaderStatus>,
}

/// Where a reader is, and what it has to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderStatus {
    /// Which reader.
    pub reader: ReaderName,
    /// How far it has read.
    pub position: u64,
    /// When it read something.
    #[serde(with = "rfc3339")]
    pub moved: Timestamp,
    /// Items that it could not look at.
    pub set_aside: u64,
    /// Why it reads no further, when it stopped at an item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Whether events are packed without regard to it.
    pub parked: bool,
    /// What it has to do, in order, then what it gave up.
    pub entries: Vec<OutboxEntry>,
}

impl ReaderStatus {
    /// The report of a reader.
    pub fn new(reader: ReaderName, place: &Place, entries: Vec<OutboxEntry>) -> Self {
        Self {
            reader,
            position: place.cursor.at,
            moved: place.moved,
            set_aside: place.set_aside,
            stopped: place.stopped.clone(),
            parked: place.parked,
            entries,
        }
    }
}

/// One effect that is not made, or of which that is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// Which effect.
    pub key: EffectKey,
    /// What it is about.
    pub topic: Topic,
    /// Whereto it goes.
    pub to: SinkName,
    /// Where it stands.
    pub state: EntryWord,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// When it is tried next.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "rfc3339::option"
    )]
    pub next: Option<Timestamp>,
    /// When trying ends.
    #[serde(with = "rfc3339")]
    pub until: Timestamp,
}

/// Where an effect stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryWord {
    /// Its turn comes.
    Due,
    /// It is being made.
    Trying,
    /// It failed and is tried again.
    Resting,
    /// It is not tried any more.
    GivenUp,
    /// It was made; its entry is about to go.
    Done,
    /// A newer one made it superfluous; its entry is about to go.
    Replaced,
}

impl EntryWord {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Trying => "trying",
            Self::Resting => "resting",
            Self::GivenUp => "given up",
            Self::Done => "done",
            Self::Replaced => "replaced",
        }
    }
}

impl From<&Entry> for OutboxEntry {
    fn from(entry: &Entry) -> Self {
        let (state, next) = match entry.state {
            EntryState::Due => (EntryWord::Due, None),
            EntryState::Trying { .. } => (EntryWord::Trying, None),
            EntryState::Resting { until, .. } => (EntryWord::Resting, Some(until)),
            EntryState::GivenUp { .. } => (EntryWord::GivenUp, None),
            EntryState::Done => (EntryWord::Done, None),
            EntryState::Replaced => (EntryWord::Replaced, None),
        };
        Self {
            key: entry.effect.key.clone(),
            topic: entry.effect.topic.clone(),
            to: entry.effect.to.clone(),
            state,
            attempts: entry.attempts,
            text: entry.state.text().map(str::to_owned),
            next,
            until: entry.effect.until,
        }
    }
}

/// What is to be tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryEffects {
    /// One effect; everything that was given up when it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<EffectKey>,
}

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetEffect {
    /// Which effect.
    pub key: EffectKey,
}

/// How much was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxChanged {
    /// How many effects.
    pub entries: usize,
}
