//! Events on their way into the log, and the effects that wait for them.

use std::collections::BTreeMap;

use super::input::Effect;
use crate::clock::Timestamp;
use crate::engine::CommandKey;
use crate::event::NewEvent;
use crate::retry::pause_after;

/// Events of one append; more are written by the next one.
const BATCH_EVENTS: usize = 4096;

/// Events get numbers here, from 1 in order; an effect waits for one of them.
#[derive(Default)]
pub(super) struct Outbox {
    pushed: u64,
    durable: u64,
    waiting: std::collections::VecDeque<NewEvent>,
    /// How many of `waiting` are being written, and the number of the append.
    writing: Option<(usize, u64)>,
    appends: u64,
    held: BTreeMap<u64, Vec<Effect>>,
    ready: Vec<Effect>,
    failures: u32,
    trouble: Option<(String, Timestamp)>,
    #[cfg(any(test, feature = "testing"))]
    drops_events: bool,
}

impl Outbox {
    /// Adds an event; the answer is its number.
    pub(super) fn push(&mut self, event: NewEvent) -> u64 {
        self.waiting.push_back(event);
        self.pushed += 1;
        self.pushed
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
            held.retain(|effect| !matches!(effect, Effect::Do(command) if command.key() == *key));
        }
    }

    pub(super) fn recorded(&mut self, batch: u64) {
        let Some((events, _)) = self.writing.take_if(|(_, number)| *number == batch) else {
            return;
        };
        self.waiting.drain(..events);
        self.durable += events as u64;
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
            let events = self.waiting.len().min(BATCH_EVENTS);
            self.appends += 1;
            self.writing = Some((events, self.appends));
            effects.push(Effect::Append {
                batch: self.appends,
                events: self.waiting.iter().take(events).cloned().collect(),
            });
        }
        effects
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
