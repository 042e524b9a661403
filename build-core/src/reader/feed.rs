//! Reading: pages, and items that a reader cannot look at.

use std::collections::VecDeque;

use super::input::{Notice, PageEnds, Step, TakeFailure, Taken};
use super::machine::Machine;
use super::place::{Aside, Cursor};
use super::{BODY_BYTES, EFFECTS_PER_TAKE, STATE_BYTES};
use crate::clock::Timestamp;
use crate::retry::pause_after;

/// Failures to look at the same items before they are halved.
const FAILURES: u32 = 3;
/// Panics before they are.
const PANICS: u32 = 2;

/// What becomes of a reader that cannot look at an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPoison {
    /// The item is set aside, which is told, and the reader goes on.
    SetAside,
    /// The reader stops until somebody says otherwise.
    Stop,
}

/// What the reader does with its feed.
#[derive(Debug)]
pub(super) enum Phase {
    /// There may be more to read.
    Ready,
    Fetching,
    Looking(Looking),
    /// Everything was read.
    AtEnd,
    /// At an item it cannot look at.
    Stopped,
}

/// A page in hand.
#[derive(Debug)]
pub(super) struct Looking {
    page: PageEnds,
    /// What is still to be looked at, in order, without gaps.
    ranges: VecDeque<(usize, usize)>,
    is_asked: bool,
    failures: u32,
    panics: u32,
    again_at: Option<Timestamp>,
    /// The feed has grown since.
    more: bool,
}

impl Phase {
    pub(super) fn again_at(&self) -> Option<Timestamp> {
        match self {
            Self::Looking(looking) => looking.again_at,
            _ => None,
        }
    }

    pub(super) fn is_taking(&self) -> bool {
        matches!(self, Self::Looking(looking) if looking.is_asked)
    }
}

impl Machine {
    pub(super) fn changed(&mut self) {
        match &mut self.phase {
            Phase::AtEnd => self.phase = Phase::Ready,
            Phase::Looking(looking) => looking.more = true,
            // A page that is being read was perhaps complete before.
            Phase::Fetching => self.grown = true,
            Phase::Ready | Phase::Stopped => {}
        }
    }

    pub(super) fn fetched(&mut self, page: PageEnds, now: Timestamp) {
        if !matches!(self.phase, Phase::Fetching) {
            return;
        }
        self.fetch_failures = 0;
        let more = std::mem::take(&mut self.grown) || !page.is_last;
        if page.ends.is_empty() {
            self.move_to(page.next, now);
            self.phase = if more { Phase::Ready } else { Phase::AtEnd };
            return;
        }
        let all = (0, page.ends.len());
        self.phase = Phase::Looking(Looking {
            page,
            ranges: VecDeque::from([all]),
            is_asked: false,
            failures: 0,
            panics: 0,
            again_at: None,
            more,
        });
    }

    pub(super) fn fetch_failed(&mut self, text: String, now: Timestamp) {
        if !matches!(self.phase, Phase::Fetching) {
            return;
        }
        self.phase = Phase::Ready;
        self.fetch_failures += 1;
        self.fetch_at = Some(now + pause_after(self.fetch_failures));
        if self.fetch_failures == FAILURES {
            self.tell(Notice::Troubled { text });
        }
    }

    pub(super) fn read_on(&mut self, now: Timestamp) {
        if self.stopping {
            return;
        }
        let room = self.has_room();
        match &mut self.phase {
            Phase::Ready if room && self.fetch_at.is_none_or(|at| at <= now) => {
                self.fetch_at = None;
                self.phase = Phase::Fetching;
                let after = self.place.cursor.clone();
                self.steps.push(Step::Fetch { after });
            }
            Phase::Looking(looking)
                if room && !looking.is_asked && looking.again_at.is_none_or(|at| at <= now) =>
            {
                if let Some(&(from, to)) = looking.ranges.front() {
                    looking.again_at = None;
                    looking.is_asked = true;
                    self.steps.push(Step::Take { from, to });
                }
            }
            _ => {}
        }
    }

    pub(super) fn taken(&mut self, taken: Taken, now: Timestamp) {
        if !self.phase.is_taking() {
            return;
        }
        if let Some(text) = refusal(&taken) {
            self.take_failed(TakeFailure::Failed(text), now);
            return;
        }
        let Some((cursor, is_reset)) = self.pass() else {
            return;
        };
        if let Some(state) = taken.state {
            self.state = Some(state);
            self.writes.state = true;
            self.write_place(now);
        }
        if !taken.effects.is_empty() {
            // The number of the next entry goes with the entries, even where the cursor stands.
            self.write_place(now);
        }
        for effect in taken.effects {
            self.add(effect, is_reset);
        }
        self.move_to(cursor, now);
    }

    /// The first range is done with: the cursor behind it.
    fn pass(&mut self) -> Option<(Cursor, bool)> {
        let Phase::Looking(looking) = &mut self.phase else {
            return None;
        };
        let (_, to) = looking.ranges.pop_front()?;
        looking.is_asked = false;
        looking.failures = 0;
        looking.panics = 0;
        let is_reset = looking.page.is_reset;
        if looking.ranges.is_empty() {
            let next = looking.page.next.clone();
            let more = looking.more;
            self.phase = if more { Phase::Ready } else { Phase::AtEnd };
            return Some((next, is_reset));
        }
        let behind = looking.page.ends.get(to.checked_sub(1)?)?.clone();
        Some((behind, is_reset))
    }

    fn move_to(&mut self, cursor: Cursor, now: Timestamp) {
        if self.place.cursor == cursor {
            return;
        }
        self.place.cursor = cursor;
        self.place.moved = now;
        self.place.parked = false;
        self.writes.moved.get_or_insert(now);
    }

    pub(super) fn take_failed(&mut self, failure: TakeFailure, now: Timestamp) {
        let Phase::Looking(looking) = &mut self.phase else {
            return;
        };
        if !std::mem::take(&mut looking.is_asked) {
            return;
        }
        let text = match failure {
            TakeFailure::NotNow(text) => {
                looking.failures += 1;
                let failures = looking.failures;
                looking.again_at = Some(now + pause_after(failures));
                if failures == FAILURES {
                    self.tell(Notice::Troubled { text });
                }
                return;
            }
            TakeFailure::Panicked(text) => {
                looking.panics += 1;
                format!("it panicked: {text}")
            }
            TakeFailure::Failed(text) => {
                looking.failures += 1;
                text
            }
        };
        if looking.failures < FAILURES && looking.panics < PANICS {
            let pause = pause_after(looking.failures + looking.panics);
            looking.again_at = Some(now + pause);
            return;
        }
        let Some((from, to)) = looking.ranges.pop_front() else {
            return;
        };
        looking.failures = 0;
        looking.panics = 0;
        if to - from > 1 {
            let middle = from + (to - from) / 2;
            looking.ranges.push_front((middle, to));
            looking.ranges.push_front((from, middle));
            return;
        }
        looking.ranges.push_front((from, to));
        self.poisoned(from, text, now);
    }

    /// The item at `nth` is the one that cannot be looked at.
    fn poisoned(&mut self, nth: usize, text: String, now: Timestamp) {
        let Phase::Looking(looking) = &self.phase else {
            return;
        };
        let Some(behind) = looking.page.ends.get(nth).cloned() else {
            return;
        };
        match self.on_poison {
            OnPoison::Stop => {
                let text = format!("at the item before position {}: {text}", behind.at);
                self.phase = Phase::Stopped;
                self.place.stopped = Some(text.clone());
                self.write_place(now);
                self.tell(Notice::Stopped { text });
            }
            OnPoison::SetAside => {
                if let Some((cursor, _)) = self.pass() {
                    self.move_to(cursor, now);
                }
                self.place.set_aside += 1;
                let aside = Aside {
                    behind: behind.clone(),
                    at: now,
                    text: text.clone(),
                };
                self.writes.asides.push((self.place.set_aside, aside));
                self.write_place(now);
                self.tell(Notice::SetAside { behind, text });
            }
        }
    }

    /// The place is written with the next commit.
    pub(super) fn write_place(&mut self, now: Timestamp) {
        self.writes.moved = Some(now);
        self.writes.place_now = true;
    }
}

/// Why effects cannot be accepted.
fn refusal(taken: &Taken) -> Option<String> {
    let effects = &taken.effects;
    let state = taken.state.as_ref().map_or(0, bytes::Bytes::len);
    if state > STATE_BYTES {
        return Some(format!(
            "its state has {state} bytes; at most {STATE_BYTES} may be"
        ));
    }
    if effects.len() > EFFECTS_PER_TAKE {
        let count = effects.len();
        return Some(format!(
            "{count} effects follow from it; at most {EFFECTS_PER_TAKE} may"
        ));
    }
    let long = effects.iter().find(|e| e.body.get().len() > BODY_BYTES)?;
    let bytes = long.body.get().len();
    Some(format!(
        "the body of {} has {bytes} bytes; at most {BODY_BYTES} may be",
        long.key
    ))
}
