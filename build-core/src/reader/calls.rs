//! The outbox: which entry is tried when, and what comes of it.

use std::time::Duration;

use super::effect::Effect;
use super::entry::{Entry, EntryState};
use super::feed::Phase;
use super::input::{Answer, Call, CallKind, Notice, Step};
use super::machine::Machine;
use super::{CALLS, LONGEST_PAUSE};
use crate::clock::Timestamp;
use crate::ids::EffectKey;
use crate::retry::pause_after;

impl Machine {
    /// An effect follows. `again`: from a feed that begins anew, so that it may have been made.
    pub(super) fn add(&mut self, effect: Effect, again: bool) {
        if let Some(nth) = self.keys.get(&effect.key) {
            if let Some(entry) = self.open.get_mut(nth).filter(|_| again) {
                // It follows again, behind everything that followed again before it.
                entry.again = self.place.next;
                self.place.next += 1;
                self.writes.dirty.insert(effect.key);
            }
            return;
        }
        self.given_up.remove(&effect.key);
        if effect.replaces {
            self.replace(&effect);
        }
        let nth = self.place.next;
        self.place.next += 1;
        self.writes.dirty.insert(effect.key.clone());
        self.insert(Entry::new(nth, effect, again));
    }

    fn replace(&mut self, newer: &Effect) {
        let of_topic = self.topics.get(&newer.topic).into_iter().flatten();
        let untouched = |nth: &&u64| self.open.get(nth).is_some_and(Entry::is_untouched);
        let replaced: Vec<u64> = of_topic.filter(untouched).copied().collect();
        for nth in replaced {
            self.remove(nth);
        }
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        let (nth, effect) = (entry.nth, &entry.effect);
        self.keys.insert(effect.key.clone(), nth);
        self.ends.insert((effect.until, nth));
        let topic = self.topics.entry(effect.topic.clone()).or_default();
        topic.insert(nth);
        self.open.insert(nth, entry);
    }

    /// Takes an entry out of what is to be made; its memo goes with the next commit.
    fn remove(&mut self, nth: u64) -> Option<Entry> {
        let entry = self.open.remove(&nth)?;
        let effect = &entry.effect;
        self.keys.remove(&effect.key);
        self.ends.remove(&(effect.until, nth));
        if let Some(topic) = self.topics.get_mut(&effect.topic) {
            topic.remove(&nth);
            if topic.is_empty() {
                self.topics.remove(&effect.topic);
            }
        }
        self.writes.dirty.insert(effect.key.clone());
        Some(entry)
    }

    /// Whether a newer entry makes this one superfluous.
    fn is_superseded(&self, entry: &Entry) -> bool {
        let topic = self.topics.get(&entry.effect.topic);
        let place = entry.nth.max(entry.again);
        let newer = topic.into_iter().flat_map(|t| t.range(place + 1..));
        let mut newer = newer.filter_map(|nth| self.open.get(nth));
        newer.any(|other| other.effect.replaces)
    }

    /// Calls whatever may be called.
    pub(super) fn begin_calls(&mut self, now: Timestamp) {
        if self.stopping {
            return;
        }
        // One that was replaced gives its turn to the next of its topic.
        while self.begin_some_calls(now) {}
    }

    fn begin_some_calls(&mut self, now: Timestamp) -> bool {
        let is_called = |nth| self.calls.values().any(|(called, _)| *called == nth);
        let is_ready = |entry: &&Entry| entry.ready_at().is_some_and(|at| at <= now);
        let ready = self.heads().filter(is_ready).map(|entry| entry.nth);
        let mut ready: Vec<u64> = ready.filter(|nth| !is_called(*nth)).collect();
        ready.sort_unstable();
        let mut replaced = false;
        for nth in ready {
            let Some(entry) = self.open.get(&nth) else {
                continue;
            };
            let asks = entry.is_to_be_asked();
            #[cfg(any(test, feature = "testing"))]
            let asks = asks && !self.is_planted(crate::plant::Plant::NeverAsks);
            if !asks && self.is_superseded(entry) {
                self.remove(nth);
                replaced = true;
                continue;
            }
            let full = self.calls.len() + self.writes.to_call.len() + self.being_written() >= CALLS;
            if full {
                break;
            }
            self.begin_call(nth, asks, now);
        }
        replaced
    }

    fn being_written(&self) -> usize {
        let writing = self.writes.writing.as_ref();
        writing.map_or(0, |writing| writing.to_call.len())
    }

    fn begin_call(&mut self, nth: u64, asks: bool, now: Timestamp) {
        let Some(entry) = self.open.get_mut(&nth) else {
            return;
        };
        entry.attempts = entry.attempts.saturating_add(1);
        if asks {
            self.call(nth, CallKind::Ask);
            return;
        }
        entry.state = EntryState::Trying { since: now };
        let key = entry.effect.key.clone();
        self.writes.dirty.insert(key);
        self.writes.to_call.insert(nth);
        #[cfg(any(test, feature = "testing"))]
        if self.is_planted(crate::plant::Plant::EffectFirst) {
            self.writes.to_call.remove(&nth);
            self.call(nth, CallKind::Make);
        }
    }

    pub(super) fn call(&mut self, nth: u64, kind: CallKind) {
        let Some(entry) = self.open.get(&nth) else {
            return;
        };
        self.called += 1;
        self.calls.insert(self.called, (nth, kind));
        self.steps.push(Step::Call(Box::new(Call {
            number: self.called,
            kind,
            attempt: entry.attempts,
            effect: entry.effect.clone(),
        })));
    }

    pub(super) fn answered(&mut self, call: u64, answer: Answer, now: Timestamp) {
        let Some((nth, kind)) = self.calls.remove(&call) else {
            return;
        };
        match (kind, answer) {
            (_, Answer::Made) => {
                self.remove(nth);
            }
            (CallKind::Ask, Answer::NotMade) => {
                if let Some(entry) = self.open.get_mut(&nth) {
                    entry.in_doubt = false;
                    entry.state = EntryState::Due;
                }
            }
            (CallKind::Make, Answer::NotMade) => {
                self.rest(nth, "it was not made".into(), false, None, now);
            }
            (
                kind,
                Answer::Failed {
                    text,
                    in_doubt,
                    pause,
                },
            ) => self.rest(nth, text, in_doubt || kind == CallKind::Ask, pause, now),
            (_, Answer::Refused(text)) => self.give_up(nth, text, now),
        }
    }

    fn rest(
        &mut self,
        nth: u64,
        text: String,
        in_doubt: bool,
        pause: Option<Duration>,
        now: Timestamp,
    ) {
        let Some(entry) = self.open.get_mut(&nth) else {
            return;
        };
        let wanted = pause.unwrap_or_default().min(LONGEST_PAUSE);
        let mut pause = pause_after(entry.attempts).max(wanted);
        // The receiver may still be working on the call; it is not when it was only asked.
        if in_doubt && !entry.in_doubt {
            pause = pause.max(entry.effect.how.settle());
        }
        entry.in_doubt = in_doubt;
        entry.state = EntryState::Resting {
            until: now + pause,
            text,
        };
        let key = entry.effect.key.clone();
        self.writes.dirty.insert(key);
    }

    /// What was being tried when the process ended: nobody knows whether it was made.
    pub(super) fn recover(entry: &mut Entry, since: Timestamp, now: Timestamp) {
        entry.in_doubt = true;
        let pause = pause_after(entry.attempts).max(entry.effect.how.settle());
        entry.state = EntryState::Resting {
            // A clock that was set back must not make it wait for longer than that.
            until: since.min(now) + pause,
            text: "the process ended while it was tried".into(),
        };
    }

    pub(super) fn give_up_the_late(&mut self, now: Timestamp) {
        let late = self.ends.range(..=(now, u64::MAX)).map(|(_, nth)| *nth);
        let late: Vec<u64> = late.collect();
        for nth in late {
            let is_called = self.calls.values().any(|(called, _)| *called == nth);
            let Some(entry) = self.open.get(&nth).filter(|_| !is_called) else {
                continue;
            };
            if matches!(entry.state, EntryState::Trying { .. }) {
                continue;
            }
            let why = entry.state.text().unwrap_or("its turn did not come");
            let text = format!("not made by {}: {why}", entry.effect.until);
            self.give_up(nth, text, now);
        }
    }

    fn give_up(&mut self, nth: u64, mut text: String, now: Timestamp) {
        let Some(mut entry) = self.remove(nth) else {
            return;
        };
        if entry.in_doubt {
            text.push_str(" (it may have been made)");
        }
        let key = entry.effect.key.clone();
        self.tell(Notice::GivenUp {
            key: key.clone(),
            text: text.clone(),
        });
        entry.state = EntryState::GivenUp { at: now, text };
        self.given_up.insert(key, entry);
    }

    pub(super) fn retry(&mut self, key: Option<&EffectKey>, until: Timestamp, now: Timestamp) {
        let wanted = |k: &EffectKey| key.is_none_or(|key| key == k);
        let chosen = self.given_up.keys().filter(|k| wanted(k)).cloned();
        let chosen: Vec<EffectKey> = chosen.collect();
        let mut again: Vec<Entry> = Vec::new();
        for key in chosen {
            again.extend(self.given_up.remove(&key));
        }
        again.sort_unstable_by_key(|entry| entry.nth);
        for mut entry in again {
            entry.nth = self.place.next;
            self.place.next += 1;
            entry.attempts = 0;
            entry.state = EntryState::Due;
            entry.effect.until = until;
            self.writes.dirty.insert(entry.effect.key.clone());
            self.write_place(now);
            self.insert(entry);
        }
        if key.is_none() && matches!(self.phase, Phase::Stopped) {
            self.place.stopped = None;
            self.phase = Phase::Ready;
            self.write_place(now);
        }
    }
}
