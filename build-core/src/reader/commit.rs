//! What is written, in one commit after another.

use super::input::{CallKind, Notice, Step};
use super::machine::{Machine, Writing};
use super::place::{Aside, Kept};
use super::{CURSOR_EVERY, entry::Entry};
use crate::clock::Timestamp;
use crate::event::Memo;
use crate::ids::EffectKey;
use crate::retry::pause_after;

impl Machine {
    /// Begins a commit of everything that is not written, unless one is on its way. Memos are
    /// written whole, so that a commit of which nobody knows whether it happened can be repeated.
    pub(super) fn commit(&mut self, now: Timestamp) {
        let writes = &self.writes;
        if writes.writing.is_some() || writes.again_at.is_some_and(|at| at > now) {
            return;
        }
        let is_old = |since| self.stopping || now.since(since) >= CURSOR_EVERY;
        let place_due = writes.place_now || writes.moved.is_some_and(is_old);
        if writes.dirty.is_empty() && writes.asides.is_empty() && !place_due {
            return;
        }
        let mut writing = Writing {
            batch: writes.batches + 1,
            keys: std::mem::take(&mut self.writes.dirty),
            asides: std::mem::take(&mut self.writes.asides),
            state: std::mem::take(&mut self.writes.state),
            place: self.writes.moved.take().is_some() | self.writes.place_now,
            to_call: std::mem::take(&mut self.writes.to_call),
        };
        self.writes.place_now = false;
        self.writes.again_at = None;
        self.writes.batches += 1;
        self.split_if_planted(&mut writing);
        let memos = self.memos(&writing);
        let batch = writing.batch;
        self.writes.writing = Some(writing);
        self.steps.push(Step::Commit { batch, memos });
    }

    #[cfg(not(any(test, feature = "testing")))]
    #[expect(
        clippy::unused_self,
        reason = "the same call with and without planted bugs"
    )]
    fn split_if_planted(&self, _writing: &mut Writing) {}

    #[cfg(any(test, feature = "testing"))]
    fn split_if_planted(&mut self, writing: &mut Writing) {
        if writing.place && self.is_planted(crate::plant::Plant::CursorFirst) {
            self.writes.dirty = std::mem::take(&mut writing.keys);
            self.writes.to_call = std::mem::take(&mut writing.to_call);
        }
    }

    fn memos(&self, writing: &Writing) -> Vec<Memo> {
        let entry = |key: &EffectKey| Memo {
            key: Kept::entry_key(&self.name, key),
            value: self.entry(key).map(Entry::encode),
        };
        let aside = |(nth, aside): &(u64, Aside)| {
            let key = Kept::aside_key(&self.name, *nth);
            Memo::set(key, Kept::Aside(aside.clone()).encode())
        };
        let place = writing.place.then(|| {
            let key = Kept::place_key(&self.name);
            Memo::set(key, Kept::Place(self.place.clone()).encode())
        });
        let entries = writing.keys.iter().map(entry);
        let asides = writing.asides.iter().map(aside);
        let state = self.state.clone().filter(|_| writing.state);
        let state = state.map(|state| Memo::set(Kept::state_key(&self.name), state));
        place
            .into_iter()
            .chain(state)
            .chain(entries)
            .chain(asides)
            .collect()
    }

    fn entry(&self, key: &EffectKey) -> Option<&Entry> {
        let open = self.keys.get(key).and_then(|nth| self.open.get(nth));
        open.or_else(|| self.given_up.get(key))
    }

    pub(super) fn committed(&mut self, batch: u64, _now: Timestamp) {
        let writing = self
            .writes
            .writing
            .take_if(|writing| writing.batch == batch);
        let Some(writing) = writing else {
            return;
        };
        self.writes.failures = 0;
        for nth in writing.to_call {
            self.call(nth, CallKind::Make);
        }
    }

    pub(super) fn commit_failed(&mut self, batch: u64, text: &str, now: Timestamp) {
        let writing = self
            .writes
            .writing
            .take_if(|writing| writing.batch == batch);
        let Some(writing) = writing else {
            return;
        };
        let writes = &mut self.writes;
        writes.failures = writes.failures.saturating_add(1);
        writes.again_at = Some(now + pause_after(writes.failures));
        writes.dirty.extend(writing.keys);
        writes.to_call.extend(writing.to_call);
        writes.state |= writing.state;
        let newer = std::mem::replace(&mut writes.asides, writing.asides);
        writes.asides.extend(newer);
        if writing.place {
            writes.moved.get_or_insert(now);
            writes.place_now = true;
        }
        if writes.failures == 3 {
            let text = format!("cannot write how far it is: {text}");
            self.tell(Notice::Troubled { text });
        }
    }
}
