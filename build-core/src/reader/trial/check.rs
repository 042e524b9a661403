//! What must hold.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Fact, effects_of};
use super::world::World;
use crate::ids::{EffectKey, ReaderName, Topic};
use crate::reader::{Effect, EntryState, How, Kept, Machine};

impl World {
    pub(super) fn check_end(&mut self) -> Result<(), String> {
        let kept = self.kept()?;
        let poisoned = self.facts.iter().filter(|fact| fact.is_poison).count() as u64;
        // A feed that begins anew shows its poison again.
        if kept.set_aside < poisoned {
            return Err(format!(
                "{poisoned} items cannot be looked at, {} are set aside",
                kept.set_aside
            ));
        }
        let effects = self.facts.iter().filter(|fact| !fact.is_poison);
        let effects: Vec<Effect> = effects.flat_map(effects_of).collect();
        let mut counts: BTreeMap<&EffectKey, usize> = BTreeMap::new();
        for landed in self.receivers.record() {
            *counts.entry(&landed.key).or_default() += 1;
        }
        for (nth, effect) in effects.iter().enumerate() {
            let count = counts.get(&effect.key).copied().unwrap_or_default();
            if count > 1 && effect.how != How::AtLeastOnce {
                return Err(format!("{} was made {count} times", effect.key));
            }
            let later = &effects[nth + 1..];
            let may_be_replaced = later.iter().any(|e| e.replaces && e.topic == effect.topic);
            if count == 0 && !may_be_replaced && !kept.given_up.contains(&effect.key) {
                return Err(format!("{} was lost", effect.key));
            }
        }
        if !self.was_rewritten() {
            self.check_order(&effects)?;
        }
        let report = self.report();
        report.given_up = kept.given_up.len();
        report.set_aside = kept.set_aside;
        Ok(())
    }

    /// What a reader wanted to know is never older than its cursor.
    pub(super) fn check_state(&self, machine: &Machine) -> Result<(), String> {
        let state = machine
            .state()
            .map_or("0".into(), |state| String::from_utf8_lossy(state));
        let looked = |fact: &&Fact| !fact.is_poison && fact.at <= machine.place().cursor.at;
        let last = self
            .facts
            .iter()
            .rev()
            .find(looked)
            .map_or(0, |fact| fact.at);
        match self.was_rewritten() || state == last.to_string() {
            true => Ok(()),
            false => Err(format!("the state is of {state}, the cursor behind {last}")),
        }
    }

    /// Effects of a topic came first in the order of their facts.
    fn check_order(&self, effects: &[Effect]) -> Result<(), String> {
        let places = effects.iter().enumerate();
        let places: BTreeMap<&EffectKey, (usize, &Topic)> =
            places.map(|(nth, e)| (&e.key, (nth, &e.topic))).collect();
        let mut seen: BTreeSet<&EffectKey> = BTreeSet::new();
        let mut last: BTreeMap<&Topic, usize> = BTreeMap::new();
        for landed in self.receivers.record() {
            let Some(&(nth, topic)) = places.get(&landed.key) else {
                return Err(format!("{} follows from nothing", landed.key));
            };
            if !seen.insert(&landed.key) {
                continue;
            }
            if last.insert(topic, nth).is_some_and(|before| before > nth) {
                return Err(format!("{} of {topic} was overtaken", landed.key));
            }
        }
        Ok(())
    }

    fn kept(&self) -> Result<Found, String> {
        let mut kept = Found::default();
        let own = Kept::place_key(&ReaderName::new("trial").expect("plain"));
        for (key, memo) in &self.memos {
            match Kept::decode(memo).map_err(|e| e.to_string())? {
                Some(Kept::Place(place)) if *key == own => kept.set_aside = place.set_aside,
                Some(Kept::Entry(entry)) => {
                    if !matches!(entry.state, EntryState::GivenUp { .. }) {
                        return Err(format!("{key} is {} at the end", entry.state.as_str()));
                    }
                    kept.given_up.insert(entry.effect.key.clone());
                }
                Some(Kept::Aside(_)) => kept.asides += 1,
                Some(Kept::State(_)) => {}
                _ => return Err(format!("{key} is nobody's")),
            }
        }
        if kept.asides != kept.set_aside {
            return Err(format!(
                "{} items are set aside, not {}",
                kept.asides, kept.set_aside
            ));
        }
        Ok(kept)
    }
}

#[derive(Default)]
struct Found {
    given_up: BTreeSet<EffectKey>,
    set_aside: u64,
    asides: u64,
}
