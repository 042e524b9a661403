//! An effect in the outbox, and where it stands.

use serde::{Deserialize, Serialize};

use super::effect::Effect;
use crate::clock::Timestamp;

/// An effect that was committed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its place among the effects of its reader, from 1.
    pub nth: u64,
    /// Its place when it was derived once more, by a feed that began anew: what is older than that
    /// does not make it superfluous. 0: it was not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub again: u64,
    /// Where it stands.
    pub state: EntryState,
    /// How often the receiver was called, questions included.
    #[serde(default)]
    pub attempts: u32,
    /// Whether it may have been made although nobody said so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_doubt: bool,
    /// What is to be done.
    pub effect: Effect,
}

/// Where an entry stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EntryState {
    /// To be made when its turn has come.
    Due,
    /// About to be made, or made: only the receiver knows.
    Trying {
        /// Since when.
        since: Timestamp,
    },
    /// It failed and is tried again.
    Resting {
        /// When.
        until: Timestamp,
        /// Why it failed, one sentence.
        text: String,
    },
    /// It is not tried any more, until somebody says so.
    GivenUp {
        /// Since when.
        at: Timestamp,
        /// Why, one sentence.
        text: String,
    },
    /// It was made. Never stored: the entry is removed.
    Done,
    /// A newer one made it superfluous. Never stored: the entry is removed.
    Replaced,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl EntryState {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Trying { .. } => "trying",
            Self::Resting { .. } => "resting",
            Self::GivenUp { .. } => "given up",
            Self::Done => "done",
            Self::Replaced => "replaced",
        }
    }

    /// Why it failed the last time, if it did.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Resting { text, .. } | Self::GivenUp { text, .. } => Some(text),
            _ => None,
        }
    }
}

impl Entry {
    /// An entry that nobody has tried yet. From a page that begins anew it is `in_doubt`: it may
    /// have been made before.
    pub(super) fn new(nth: u64, effect: Effect, in_doubt: bool) -> Self {
        Self {
            nth,
            again: 0,
            state: EntryState::Due,
            attempts: 0,
            in_doubt: in_doubt && effect.how.is_probe(),
            effect,
        }
    }

    /// The entry as a memo.
    pub(super) fn encode(&self) -> bytes::Bytes {
        super::place::encode(self)
    }

    /// Whether it can be taken back: it was not made, and it is not being made.
    pub(super) fn is_untouched(&self) -> bool {
        let waits = matches!(self.state, EntryState::Due | EntryState::Resting { .. });
        waits && !self.in_doubt
    }

    /// Whether the receiver is to be asked before it is made.
    pub(super) fn is_to_be_asked(&self) -> bool {
        self.in_doubt && self.effect.how.is_probe()
    }

    /// When it may be tried next, as far as it decides itself.
    pub(super) fn ready_at(&self) -> Option<Timestamp> {
        match &self.state {
            EntryState::Due => Some(Timestamp::from_micros(i64::MIN)),
            EntryState::Resting { until, .. } => Some(*until),
            _ => None,
        }
    }
}
