//! The world outside, with its own record of what was done to it.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::ids::EffectKey;
use crate::reader::{Effect, How};

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// Which effect.
    pub key: EffectKey,
    /// When.
    pub at: Timestamp,
}

/// All receivers of a trial.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    record: Vec<Landed>,
    tokens: BTreeSet<EffectKey>,
}

impl Receivers {
    /// A call arrives. One whose token is known changes nothing.
    pub fn land(&mut self, effect: &Effect, at: Timestamp) {
        if effect.how == How::Token && !self.tokens.insert(effect.key.clone()) {
            return;
        }
        let key = effect.key.clone();
        self.record.push(Landed { key, at });
    }

    /// Whether an effect is seen.
    pub fn shows(&self, key: &EffectKey) -> bool {
        self.record.iter().any(|landed| landed.key == *key)
    }

    /// Everything that was done, in order.
    pub fn record(&self) -> &[Landed] {
        &self.record
    }
}
