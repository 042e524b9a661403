//! Events on their way into the log, and the effects that wait for them.

use std::collections::{BTreeMap, BTreeSet};

use super::input::Effect;
use crate::clock::Timestamp;
use crate::engine::CommandKey;
use crate::event::{Batch, Memo, NewEvent, Version};
use crate::retry::pause_after;

/// Events of one append; more are written by the next one.
const BATCH_EVENTS: usize = 4096;

/// An event on its way, with what is written together with it.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// `None`: memos alone.
    pub(super) event: Option<NewEvent>,
    /// The version that its stream has with it.
    pub(super) version: Version,
    /// Whether nothing follows in its stream.
    pub(super) closes: bool,
    pub(super) memos: Vec<Memo>,
}

/// Events get numbers here, from 1 in order; an effect waits for one of them.
#[derive(Default)]
pub(super) struct Outbox {
    pushed: u64,
    durable: u64,
    waiting: std::collections::VecDeque<Pending>,
    /// How many of `waiting` are being written, and the number of the append.
    writing: Option<(usize, u64)>,
    appends: u64,
    held: BTreeMap<u64, Vec<Effect>>,
    /// Events that are written in one append with the next one.
    joined: BTreeSet<u64>,
    ready: Vec<Effect>,
    failures: u32,
    trouble: Option<(String, Timestamp)>,
    #[cfg(any(test, feature = "testing"))]
    drops_events: bool,
}

impl Pending {
    /// Memos without an event. What was remembered before them is written before them.
    pub(super) fn memos(memos: Vec<Memo>) -> Self {
        Self {
            event: None,
            version: Version(0),
            closes: false,
            memos,
        }
    }
}

impl Outbox {
    /// Adds an event; the answer is its number.
    pub(super) fn push(&mut self, event: Pending) -> u64 {
        self.waiting.push_back(event);
        self.pushed += 1;
        self.pushed
    }

    /// Adds an event that is in the log exactly when the one before it is.
    pub(super) fn push_joined(&mut self, event: Pending) -> u64 {
        self.joined.insert(self.pushed);
        self.push(event)
    }

    /// Holds an effect until event number `mark` is durable.
    pub(super) fn hold(&mut self, mark: u64, effect: Effect) {
        if self.is_recorded(mark) {
            self.ready.push(effect);
        } else {
            self.held.entry(mark).or_default().push(effect);
        }
    }

    /// Whether event number `mark` is durable.
    pub(super) fn is_recorded(&self, mark: u64) -> bool {
        mark <= self.durable
    }

    /// Takes back a command that is still held: what it follows from was overtaken.
    pub(super) fn withdraw(&mut self, mark: u64, key: &CommandKey) {
        if let Some(held) = self.held.get_mut(&mark) {
            held.retain(
                |effect| !matches!(effect, Effect::Do(command, _) if command.key() == *key),
            );
        }
    }

    pub(super) fn recorded(&mut self, batch: u64) {
        let Some((events, _)) = self.writing.take_if(|(_, number)| *number == batch) else {
            return;
        };
        self.waiting.drain(..events);
        self.durable += events as u64;
        self.joined = self.joined.split_off(&(self.durable + 1));
        let still = self.held.split_off(&(self.durable + 1));
        let free = std::mem::replace(&mut self.held, still);
        self.ready.extend(free.into_values().flatten());
        self.failures = 0;
        self.trouble = None;
    }

    pub(super) fn failed(&mut self, batch: u64, text: String, now: Timestamp) {
        if self
            .writing
            .take_if(|(_, number)| *number == batch)
            .is_some()
        {
            #[cfg(any(test, feature = "testing"))]
            if self.drops_events && self.waiting.pop_front().is_some() {
                self.durable += 1;
            }
            self.failures += 1;
            self.trouble = Some((text, now + pause_after(self.failures)));
        }
    }

    /// The effects that are due, with the next append when it is time.
    pub(super) fn take(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = std::mem::take(&mut self.ready);
        let resting = self.retry_at().is_some_and(|at| at > now);
        if self.writing.is_none() && !self.waiting.is_empty() && !resting {
            let mut events = self.waiting.len().min(BATCH_EVENTS);
            while self.joined.contains(&(self.durable + events as u64)) {
                events += 1;
            }
            self.appends += 1;
            self.writing = Some((events, self.appends));
            effects.push(Effect::Append {
                batch: self.appends,
                append: self.batch_of(events),
            });
        }
        effects
    }

    /// The first `count` events as a batch: each stream is to be where its first one goes on.
    fn batch_of(&self, count: usize) -> Batch {
        let mut batch = Batch::default();
        let mut seen = BTreeSet::new();
        for pending in self.waiting.iter().take(count) {
            batch.memos.extend(pending.memos.iter().cloned());
            let Some(event) = &pending.event else {
                continue;
            };
            let stream = &event.stream;
            if seen.insert(stream) {
                let before = Version(pending.version.0.saturating_sub(1));
                batch.expects.push((stream.clone(), before));
            }
            if pending.closes {
                batch.closes.push(stream.clone());
            }
            batch.events.push(event.clone());
        }
        batch
    }

    /// When a failed append is tried again.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        let resting = self.trouble.as_ref().filter(|_| self.writing.is_none());
        resting.map(|(_, at)| *at)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn plant(&mut self, plant: Option<crate::plant::Plant>) {
        self.drops_events = plant == Some(crate::plant::Plant::DroppedEvent);
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_ref().map(|(text, _)| text.as_str())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{BuildEvent, Outcome, Principal};
    use crate::ids::BuildId;

    fn event(n: u64) -> Pending {
        let finished = BuildEvent::Finished {
            outcome: Outcome::Passed,
        };
        let (at, by) = (Timestamp::default(), Principal::farm());
        Pending {
            event: NewEvent::new(BuildId::from_bits(n), at, by, &finished).ok(),
            version: Version(2),
            closes: true,
            memos: Vec::new(),
        }
    }

    fn appended(outbox: &mut Outbox) -> usize {
        let effects = outbox.take(Timestamp::default());
        let Some(Effect::Append { batch, append }) = effects.into_iter().next() else {
            return 0;
        };
        outbox.recorded(batch);
        assert_eq!(append.expects.len(), append.events.len());
        assert_eq!(append.expects[0].1, Version(1));
        append.events.len()
    }

    #[test]
    fn joined_events_are_never_in_two_appends() {
        for joined in [BATCH_EVENTS, BATCH_EVENTS - 1, BATCH_EVENTS + 1] {
            let mut outbox = Outbox::default();
            for n in 0..2 * BATCH_EVENTS {
                match n == joined {
                    true => outbox.push_joined(event(n as u64)),
                    false => outbox.push(event(n as u64)),
                };
            }
            let first = appended(&mut outbox);
            assert_eq!(first, BATCH_EVENTS + usize::from(joined == BATCH_EVENTS));
            assert_eq!(appended(&mut outbox), 2 * BATCH_EVENTS - first);
        }
    }
}
