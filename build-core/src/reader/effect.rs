//! What a reader wants done.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::ids::{EffectKey, SinkName, Topic};

/// Something to be done once in the world outside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Effect {
    /// Which effect it is. While an entry of this key is open, another one changes nothing.
    pub key: EffectKey,
    /// What it is about: effects of a topic are made one after another, in order. When one is
    /// given up, the next has its turn.
    pub topic: Topic,
    /// How it is made once.
    pub how: How,
    /// Whereto it goes.
    pub to: SinkName,
    /// What the sink needs to know, in its own terms.
    pub body: Box<RawValue>,
    /// When trying ends.
    pub until: Timestamp,
    /// Whether entries of the topic that were not begun are superfluous with this one. One that
    /// was begun is brought to its end, for it may have been made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
}

/// How an effect is made once although processes die and connections break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum How {
    /// In doubt the receiver's state is looked at, once the receiver can no longer be working on
    /// the call before. Exactly once, as far as the receiver keeps its limit.
    Probe {
        /// How long after a call the receiver may still act on it, in microseconds.
        settle_us: u64,
    },
    /// The receiver knows the key again and does nothing the second time. Exactly once; in order
    /// as far as a call without an answer does not arrive after the next one of its topic.
    Token,
    /// The receiver cannot tell. In doubt it is made again: twice is better than never.
    AtLeastOnce,
}

impl How {
    /// Made once by asking first, in doubt, when `settle` has passed since the last call.
    pub fn probe(settle: Duration) -> Self {
        let settle_us = u64::try_from(settle.as_micros()).unwrap_or(u64::MAX);
        Self::Probe { settle_us }
    }

    /// How long to wait in doubt before asking.
    pub fn settle(self) -> Duration {
        match self {
            Self::Probe { settle_us } => Duration::from_micros(settle_us),
            Self::Token | Self::AtLeastOnce => Duration::ZERO,
        }
    }

    /// Whether the receiver can be asked.
    pub fn is_probe(self) -> bool {
        matches!(self, Self::Probe { .. })
    }
}
