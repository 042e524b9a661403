//! The bookkeeping of one reader.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::entry::{Entry, EntryState};
use super::feed::{OnPoison, Phase};
use super::input::{CallKind, Input, Notice, Step};
use super::place::{Aside, Cursor, Kept, Place};
use super::{CURSOR_EVERY, GIVEN_UP_ENTRIES, OPEN_ENTRIES};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Memo;
use crate::ids::{EffectKey, ReaderName, Topic};

/// The state of one reader: what it has read, what it has to do, and what of that is durable.
///
/// [`Machine::handle`] with what happened gives what is to be done. After a crash at any point
/// [`Machine::restore`] with the memos goes on.
#[derive(Debug)]
pub struct Machine {
    pub(super) name: ReaderName,
    pub(super) on_poison: OnPoison,
    pub(super) place: Place,
    pub(super) state: Option<Bytes>,
    pub(super) phase: Phase,
    /// Entries that are to be made, by number.
    pub(super) open: BTreeMap<u64, Entry>,
    /// Their numbers.
    pub(super) keys: BTreeMap<EffectKey, u64>,
    pub(super) topics: BTreeMap<Topic, BTreeSet<u64>>,
    /// When trying ends.
    pub(super) ends: BTreeSet<(Timestamp, u64)>,
    pub(super) given_up: BTreeMap<EffectKey, Entry>,
    /// Calls without an answer: of which entry, and whether it asks.
    pub(super) calls: BTreeMap<u64, (u64, CallKind)>,
    pub(super) called: u64,
    pub(super) writes: Writes,
    pub(super) fetch_failures: u32,
    pub(super) fetch_at: Option<Timestamp>,
    pub(super) stopping: bool,
    /// The feed has grown while a page was fetched.
    pub(super) grown: bool,
    pub(super) woken_for: Option<Timestamp>,
    pub(super) steps: Vec<Step>,
    #[cfg(any(test, feature = "testing"))]
    pub(super) plant: Option<crate::plant::Plant>,
}

/// What is on its way into the store.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// Entries whose memo differs from what is written, or was given to be.
    pub(super) dirty: BTreeSet<EffectKey>,
    pub(super) asides: Vec<(u64, Aside)>,
    /// Since when the place differs from what is written.
    pub(super) moved: Option<Timestamp>,
    pub(super) state: bool,
    /// Whether the place goes into the next commit, however short that is ago.
    pub(super) place_now: bool,
    /// Entries that are called once their state is durable.
    pub(super) to_call: BTreeSet<u64>,
    pub(super) writing: Option<Writing>,
    pub(super) batches: u64,
    pub(super) failures: u32,
    pub(super) again_at: Option<Timestamp>,
}

/// A commit without an answer.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) batch: u64,
    pub(super) keys: BTreeSet<EffectKey>,
    pub(super) asides: Vec<(u64, Aside)>,
    pub(super) place: bool,
    pub(super) state: bool,
    pub(super) to_call: BTreeSet<u64>,
}

impl Machine {
    /// A reader with what it kept; without memos, one that has read nothing.
    ///
    /// `memos` are those under [`super::memo_prefixes`]; others are passed over.
    ///
    /// # Errors
    /// Those of [`Kept::decode`]: a reader does not go on with half of what it kept.
    pub fn restore(
        name: ReaderName,
        on_poison: OnPoison,
        memos: &[Memo],
        now: Timestamp,
    ) -> Result<Self> {
        let mut machine = Self::new(name, on_poison, now);
        let [place_key, state_key, ..] = super::memo_prefixes(&machine.name);
        let entries = format!("outbox/{}/", machine.name);
        for memo in memos {
            let key = memo.key.as_str();
            if memo.key == state_key {
                machine.state.clone_from(&memo.value);
                continue;
            }
            if memo.key != place_key && !key.starts_with(&entries) {
                continue;
            }
            match Kept::decode(memo)? {
                Some(Kept::Place(place)) => machine.place = place,
                Some(Kept::Entry(entry)) if key[entries.len()..] == *entry.effect.key.as_str() => {
                    machine.restore_entry(*entry, now);
                }
                Some(_) => {
                    let text = format!("the memo {key} holds another entry");
                    return Err(Error::new(ErrorKind::Corrupt, text));
                }
                None => {}
            }
        }
        if machine.place.stopped.is_some() {
            machine.phase = Phase::Stopped;
        }
        if std::mem::take(&mut machine.place.parked) {
            machine.place.moved = now;
            machine.writes.moved = Some(now);
        }
        Ok(machine)
    }

    fn new(name: ReaderName, on_poison: OnPoison, now: Timestamp) -> Self {
        Self {
            name,
            on_poison,
            place: Place::new(now),
            state: None,
            phase: Phase::Ready,
            open: BTreeMap::new(),
            keys: BTreeMap::new(),
            topics: BTreeMap::new(),
            given_up: BTreeMap::new(),
            calls: BTreeMap::new(),
            called: 0,
            writes: Writes::default(),
            fetch_failures: 0,
            fetch_at: None,
            stopping: false,
            grown: false,
            ends: BTreeSet::new(),
            woken_for: None,
            steps: Vec::new(),
            #[cfg(any(test, feature = "testing"))]
            plant: None,
        }
    }

    /// Whether it has read nothing and kept nothing.
    pub fn is_new(&self) -> bool {
        self.place.next == 1 && self.place.cursor == Cursor::default()
    }

    /// Begins at a cursor, which is written with the first commit. For one that is new.
    pub fn begin_at(&mut self, cursor: Cursor, now: Timestamp) {
        self.place.cursor = cursor;
        self.write_place(now);
    }

    /// Takes what happened into account and says what is to be done.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Step> {
        self.take_in(input, now);
        self.give_up_the_late(now);
        self.read_on(now);
        self.begin_calls(now);
        self.commit(now);
        self.wake(now);
        std::mem::take(&mut self.steps)
    }

    /// Whose bookkeeping it is.
    pub fn name(&self) -> &ReaderName {
        &self.name
    }

    /// What the reader wanted to know of what it has read. What is durable may be older.
    pub fn state(&self) -> Option<&Bytes> {
        self.state.as_ref()
    }

    /// Whether everything was read, as last told, so that there is nothing to do but to wait for
    /// more.
    pub fn is_at_end(&self) -> bool {
        matches!(self.phase, Phase::AtEnd)
    }

    /// How far it has come. What is durable may be older.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Entries that are to be made, in order, then those that were given up.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.open.values().chain(self.given_up.values())
    }

    /// Entries that were given up.
    pub fn given_up(&self) -> impl Iterator<Item = &Entry> {
        self.given_up.values()
    }

    /// Whether everything that was begun has ended and is durable.
    pub fn is_idle(&self) -> bool {
        let writes = &self.writes;
        self.calls.is_empty()
            && writes.writing.is_none()
            && writes.dirty.is_empty()
            && writes.asides.is_empty()
            && (writes.moved.is_none() || !(self.stopping || writes.place_now))
            && !matches!(self.phase, Phase::Fetching)
            && !self.phase.is_taking()
    }

    /// Whether it has read the feed to its end, as last told, and nothing is left to be made.
    pub fn is_caught_up(&self) -> bool {
        matches!(self.phase, Phase::AtEnd) && self.open.is_empty() && self.is_idle()
    }

    /// Whether a page may be read.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < OPEN_ENTRIES && self.given_up.len() < GIVEN_UP_ENTRIES
    }

    /// Plants a bug, so that a test can show that it is found.
    #[cfg(any(test, feature = "testing"))]
    pub fn plant(&mut self, plant: Option<crate::plant::Plant>) {
        self.plant = plant;
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn is_planted(&self, plant: crate::plant::Plant) -> bool {
        self.plant == Some(plant)
    }

    pub(super) fn tell(&mut self, notice: Notice) {
        self.steps.push(Step::Tell(notice));
    }

    fn take_in(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Changed => self.changed(),
            Input::Fetched(page) => self.fetched(page, now),
            Input::FetchFailed(text) => self.fetch_failed(text, now),
            Input::Taken(taken) => self.taken(taken, now),
            Input::TakeFailed(failure) => self.take_failed(failure, now),
            Input::Committed { batch } => self.committed(batch, now),
            Input::CommitFailed { batch, text } => self.commit_failed(batch, &text, now),
            Input::Answered { call, answer } => self.answered(call, answer, now),
            Input::Retry { key, until } => self.retry(key.as_ref(), until, now),
            Input::Forget { key } => {
                if self.given_up.remove(&key).is_some() {
                    self.writes.dirty.insert(key);
                }
            }
            // It may come early, when the clock was set back: then it is asked for again.
            Input::Tick => self.woken_for = None,
            Input::Park { end } => {
                if self.place.park(end, now) {
                    self.write_place(now);
                    self.tell(Notice::Parked);
                }
            }
            Input::Stop => self.stopping = true,
        }
    }

    fn wake(&mut self, now: Timestamp) {
        let heads = self.heads().map(super::entry::Entry::ready_at);
        let heads = heads.flatten().filter(|at| *at > now);
        let ends = self
            .ends
            .range((now, u64::MAX)..)
            .map(|(at, _)| *at)
            .take(1);
        let own = [
            self.writes.again_at,
            self.writes.moved.map(|since| since + CURSOR_EVERY),
            self.phase.again_at(),
            self.fetch_at,
        ];
        let all = heads.chain(ends).chain(own.into_iter().flatten());
        let wake = all.filter(|at| *at > now).min();
        if wake != self.woken_for {
            self.woken_for = wake;
            self.steps.extend(wake.map(Step::WakeAt));
        }
    }

    /// The first entry of each topic: the only one that may be tried.
    pub(super) fn heads(&self) -> impl Iterator<Item = &Entry> {
        let firsts = self.topics.values().filter_map(BTreeSet::first);
        firsts.filter_map(|nth| self.open.get(nth))
    }

    fn restore_entry(&mut self, mut entry: Entry, now: Timestamp) {
        if matches!(entry.state, EntryState::GivenUp { .. }) {
            self.given_up.insert(entry.effect.key.clone(), entry);
            return;
        }
        if let EntryState::Trying { since } = entry.state {
            Self::recover(&mut entry, since, now);
        }
        self.insert(entry);
    }
}
