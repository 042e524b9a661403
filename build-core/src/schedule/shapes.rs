//! Waiters that need the same and machines that have the same, and which of them fit.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::hash::BuildHasher;

use super::capacity::Draw;
use super::lanes::LaneAt;
use super::machine::{Labels, Machine};
use super::policy::{Policy, Reason};
use super::queue::Order;
use super::waiter::Waiter;
use crate::ids::HostType;

/// Position of a need in [`Shapes`].
pub(super) type NeedAt = u32;
/// Position of a kind in [`Shapes`].
pub(super) type KindAt = u32;

/// Needs without waiters that are kept at least, and the factor over those with waiters at
/// which the rest is forgotten: work with odd labels comes and goes.
const KEPT_NEEDS: usize = 1024;

/// What equal waiters need, and where those waiters are.
pub(super) struct Need {
    /// Any of them: stands for all when the policy is asked.
    pub(super) example: Waiter,
    /// Those that no quota is for.
    pub(super) queue: BTreeSet<(Order, u32)>,
    /// Lanes of the others that no quota holds back, as far as known, each by its first waiter.
    ready: BTreeSet<(Order, LaneAt)>,
    /// Lanes with waiters.
    lanes: u32,
    /// Kinds of machines that fit.
    pub(super) kinds: Vec<KindAt>,
}

/// Who is first among those that need the same.
#[derive(Clone, Copy)]
pub(super) enum Head {
    /// The first waiter of a lane.
    Lane(LaneAt),
    /// A waiter that no quota is for.
    Waiter(u32),
}

impl Need {
    fn first(&self) -> Option<(Order, Head)> {
        let waiter = self.queue.first().map(|(o, at)| (*o, Head::Waiter(*at)));
        match (waiter, self.ready.first()) {
            (Some((order, _)), Some((first, _))) if order < *first => waiter,
            (_, Some((order, at))) => Some((*order, Head::Lane(*at))),
            (waiter, None) => waiter,
        }
    }

    fn has_waiters(&self) -> bool {
        self.lanes > 0 || !self.queue.is_empty()
    }
}

/// What equal machines have, and those of them that are free.
pub(super) struct Kind {
    pub(super) example: Machine,
    pub(super) free: BTreeSet<u32>,
    /// For each need that fits and has waiters, its first lane's place or an earlier one. Entries
    /// that are too early are corrected when they come up.
    heads: BinaryHeap<Reverse<(Order, NeedAt)>>,
}

#[derive(Default)]
pub(super) struct Shapes {
    pub(super) needs: Vec<Need>,
    pub(super) kinds: Vec<Kind>,
    /// Needs by the hash of what makes them equal: nothing is copied to look one up.
    needs_by_hash: HashMap<u64, Vec<NeedAt>>,
    kinds_by_key: HashMap<(HostType, Labels, Vec<Draw>), KindAt>,
    with_waiters: usize,
}

impl Shapes {
    /// The shape of a waiter.
    pub(super) fn need(&mut self, waiter: &Waiter, policy: &dyn Policy) -> NeedAt {
        let hash = self.hash(waiter);
        let known = self.needs_by_hash.get(&hash).into_iter().flatten();
        for at in known {
            if is_same_need(&self.needs[*at as usize].example, waiter) {
                return *at;
            }
        }
        let fits = |kind: &Kind| policy.fits(waiter, &kind.example).is_ok();
        let kinds = (0u32..)
            .zip(&self.kinds)
            .filter(|(_, k)| fits(k))
            .map(|(at, _)| at)
            .collect();
        let at = self.needs.len() as NeedAt;
        self.needs.push(Need {
            example: waiter.clone(),
            queue: BTreeSet::new(),
            ready: BTreeSet::new(),
            lanes: 0,
            kinds,
        });
        self.needs_by_hash.entry(hash).or_default().push(at);
        at
    }

    /// The shape of a machine.
    pub(super) fn kind(&mut self, machine: &Machine, policy: &dyn Policy) -> KindAt {
        let key = (
            machine.host_type().clone(),
            machine.labels().clone(),
            machine.draws().to_vec(),
        );
        if let Some(at) = self.kinds_by_key.get(&key) {
            return *at;
        }
        let at = self.kinds.len() as KindAt;
        let mut heads = BinaryHeap::new();
        for (need_at, need) in (0u32..).zip(&mut self.needs) {
            if policy.fits(&need.example, machine).is_ok() {
                need.kinds.push(at);
                heads.extend(need.first().map(|(order, _)| Reverse((order, need_at))));
            }
        }
        self.kinds.push(Kind {
            example: machine.clone(),
            free: BTreeSet::new(),
            heads,
        });
        self.kinds_by_key.insert(key, at);
        at
    }

    fn hash(&self, waiter: &Waiter) -> u64 {
        let key = (&waiter.host_type, &waiter.needs, &waiter.tags);
        self.needs_by_hash.hasher().hash_one(key)
    }

    /// Adds a waiter that no quota is for.
    pub(super) fn enter(&mut self, at: NeedAt, order: Order, waiter: u32) {
        self.come(at, order);
        self.change(at, |need| {
            need.queue.insert((order, waiter));
        });
    }

    /// Takes it out.
    pub(super) fn leave(&mut self, at: NeedAt, order: Order, waiter: u32) {
        self.change(at, |need| {
            need.queue.remove(&(order, waiter));
        });
    }

    /// A need has one more lane with waiters.
    pub(super) fn add_lane(&mut self, at: NeedAt) {
        self.change(at, |need| need.lanes += 1);
    }

    /// It has one less.
    pub(super) fn remove_lane(&mut self, at: NeedAt) {
        self.change(at, |need| need.lanes -= 1);
    }

    fn change(&mut self, at: NeedAt, change: impl FnOnce(&mut Need)) {
        let need = &mut self.needs[at as usize];
        let before = need.has_waiters();
        change(need);
        match (before, need.has_waiters()) {
            (false, true) => self.with_waiters += 1,
            (true, false) => self.with_waiters -= 1,
            _ => {}
        }
    }

    /// Tells the kinds of somebody who comes before everybody else with the same need.
    fn come(&mut self, at: NeedAt, order: Order) {
        let need = &self.needs[at as usize];
        if need.first().is_none_or(|(first, _)| order < first) {
            for kind in &need.kinds {
                self.kinds[*kind as usize].heads.push(Reverse((order, at)));
            }
        }
    }

    /// Nobody waits.
    pub(super) fn clear(&mut self) {
        for need in &mut self.needs {
            need.queue.clear();
            need.ready.clear();
            need.lanes = 0;
        }
        for kind in &mut self.kinds {
            kind.heads.clear();
        }
        self.with_waiters = 0;
    }

    /// A lane may be served from now on.
    pub(super) fn ready(&mut self, at: NeedAt, order: Order, lane: LaneAt) {
        self.come(at, order);
        self.needs[at as usize].ready.insert((order, lane));
    }

    /// A lane that may be served has another first waiter, further back: kinds are told when it
    /// comes up.
    pub(super) fn move_back(&mut self, at: NeedAt, from: Order, to: Order, lane: LaneAt) {
        let ready = &mut self.needs[at as usize].ready;
        ready.remove(&(from, lane));
        ready.insert((to, lane));
    }

    /// It may not any more, or not at this place.
    pub(super) fn not_ready(&mut self, at: NeedAt, order: Order, lane: LaneAt) {
        self.needs[at as usize].ready.remove(&(order, lane));
    }

    /// The first of all that fit a kind: its place, and who it is.
    pub(super) fn first(&mut self, kind: KindAt) -> Option<(Order, Head)> {
        let heads = &mut self.kinds[kind as usize].heads;
        loop {
            let Reverse((order, at)) = *heads.peek()?;
            match self.needs[at as usize].first() {
                Some((first, head)) if first == order => return Some((order, head)),
                later => {
                    let later = later.map(|(first, _)| Reverse((first, at)));
                    // Equal entries become one.
                    while heads.peek() == Some(&Reverse((order, at))) {
                        heads.pop();
                    }
                    heads.extend(later);
                }
            }
        }
    }

    /// Whether so many shapes have no waiters that they should be forgotten.
    pub(super) fn is_crowded(&self) -> bool {
        self.needs.len() > KEPT_NEEDS + 2 * self.with_waiters
    }

    /// Forgets the shapes without waiters; the answer says where the others are now.
    pub(super) fn compact(&mut self) -> Vec<Option<NeedAt>> {
        let mut moved = Vec::with_capacity(self.needs.len());
        let mut kept = 0;
        for need in &self.needs {
            let stays = need.has_waiters();
            moved.push(stays.then_some(kept));
            kept += NeedAt::from(stays);
        }
        self.needs.retain(Need::has_waiters);
        self.needs_by_hash.clear();
        for (at, need) in (0u32..).zip(&self.needs) {
            let hash = self.hash(&need.example);
            self.needs_by_hash.entry(hash).or_default().push(at);
        }
        for kind in &mut self.kinds {
            kind.heads.clear();
        }
        for (at, need) in (0u32..).zip(&self.needs) {
            for kind in &need.kinds {
                let first = need.first().map(|(order, _)| Reverse((order, at)));
                self.kinds[*kind as usize].heads.extend(first);
            }
        }
        moved
    }

    /// The machines of a kind that are free.
    pub(super) fn free(&mut self, kind: KindAt) -> &mut BTreeSet<u32> {
        &mut self.kinds[kind as usize].free
    }

    /// Why machines of a kind do not fit, for people.
    pub(super) fn misfit(&self, at: NeedAt, kind: KindAt, policy: &dyn Policy) -> Option<Reason> {
        let need = &self.needs[at as usize];
        policy
            .fits(&need.example, &self.kinds[kind as usize].example)
            .err()
    }
}

fn is_same_need(one: &Waiter, other: &Waiter) -> bool {
    one.host_type == other.host_type && one.needs == other.needs && one.tags == other.tags
}
