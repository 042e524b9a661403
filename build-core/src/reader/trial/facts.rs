//! What the reader reads, and what follows from it.

use std::time::Duration;

use serde_json::value::RawValue;

use super::rng::Rng;
use crate::clock::Timestamp;
use crate::ids::{EffectKey, SinkName, Topic};
use crate::reader::{Effect, How};

/// How long a receiver may act on a call after it was sent.
pub(super) const SETTLE: Duration = Duration::from_secs(5);

/// One item of the feed.
#[derive(Clone, Debug)]
pub struct Fact {
    /// Its position, from 1.
    pub at: u64,
    /// When it became known.
    pub time: Timestamp,
    /// What it says; everything that follows from it is drawn from this.
    pub bits: u64,
    /// Whether nobody can look at it.
    pub is_poison: bool,
}

impl Fact {
    pub(super) fn draw(at: u64, time: Timestamp, rng: &mut Rng) -> Self {
        Self {
            at,
            time,
            bits: rng.bits(),
            is_poison: rng.chance(20),
        }
    }

    /// Whether the receiver refuses what follows for ever.
    pub(super) fn is_refused(&self) -> bool {
        self.bits >> 40 & 63 == 0
    }
}

/// What follows from a fact: the same however often it is asked.
pub fn effects_of(fact: &Fact) -> Vec<Effect> {
    let mut rng = Rng::new(fact.bits);
    let count = rng.below(3);
    let effect = |nth| {
        let how = match rng.below(3) {
            0 => How::probe(SETTLE),
            1 => How::Token,
            _ => How::AtLeastOnce,
        };
        let hours = if rng.chance(30) { 0 } else { 24 * 30 };
        let until = Duration::from_secs(60 + hours * 3600);
        Effect {
            key: EffectKey::new(format!("{}.{nth}", fact.at)).expect("plain"),
            topic: Topic::new(format!("t{}", rng.below(6))).expect("plain"),
            how,
            to: SinkName::new("trial").expect("plain"),
            body: RawValue::from_string(fact.at.to_string()).expect("a number"),
            until: fact.time + until,
            replaces: rng.chance(250),
        }
    };
    (0..count).map(effect).collect()
}
