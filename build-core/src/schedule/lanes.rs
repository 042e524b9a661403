//! Waiters that quotas are for wait in lanes: those in one need the same and belong to the same
//! author and repository.
//!
//! A lane is either *ready*, known to its need, or *parked* at an account that is full. A lane
//! that is ready may have become blocked since: it is parked when it comes up. When an account is
//! no longer full, the first of its parked lanes of each need becomes ready; the next one does
//! when a ready one moves back. So as long as an account is not full, of its lanes with one need
//! the first that no other account blocks is ready, and no event looks at all that are parked.

use std::collections::{BTreeSet, HashMap};

use super::queue::Order;
use super::quotas::{AccountAt, Accounts, Owners, Quotas};
use super::shapes::{Head, KindAt, NeedAt, Shapes};

/// Position of a lane in [`Lanes`].
pub(super) type LaneAt = u32;

pub(super) struct Lane {
    pub(super) need: NeedAt,
    /// Those accounts of its waiters that have a limit.
    pub(super) owners: Owners,
    pub(super) queue: BTreeSet<(Order, u32)>,
    /// The full account it waits for; `None`: it is ready.
    parked: Option<AccountAt>,
}

#[derive(Default)]
pub(super) struct Lanes {
    pub(super) accounts: Accounts,
    lanes: Vec<Option<Lane>>,
    vacant: Vec<LaneAt>,
    by_key: HashMap<(NeedAt, Owners), LaneAt>,
    /// Needs of which a lane became ready, by its place, since they were last looked at.
    woken: BTreeSet<(Order, NeedAt)>,
}

impl Lanes {
    /// Lanes with waiters.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().flatten()
    }

    /// Lanes that are known to their needs.
    #[cfg(test)]
    pub(super) fn ready_lanes(&self) -> usize {
        self.iter().filter(|lane| lane.parked.is_none()).count()
    }

    pub(super) fn get(&self, at: LaneAt) -> Option<&Lane> {
        self.lanes.get(at as usize)?.as_ref()
    }

    /// Adds a waiter of accounts with a limit; the answer is its lane.
    pub(super) fn enter(
        &mut self,
        shapes: &mut Shapes,
        need: NeedAt,
        owners: Owners,
        place: (Order, u32),
    ) -> LaneAt {
        let at = match self.by_key.get(&(need, owners)) {
            Some(at) => *at,
            None => self.open(shapes, need, owners),
        };
        let Some(lane) = &mut self.lanes[at as usize] else {
            return at;
        };
        let before = lane.queue.first().map(|(order, _)| *order);
        lane.queue.insert(place);
        if before.is_none_or(|first| place.0 < first) {
            if let Some(first) = before {
                self.take_out(shapes, at, first);
            }
            self.put(shapes, at);
        }
        at
    }

    /// Takes a waiter out, after it was charged when it has got a machine.
    pub(super) fn leave(&mut self, shapes: &mut Shapes, at: LaneAt, place: (Order, u32)) {
        let Some(lane) = &mut self.lanes[at as usize] else {
            return;
        };
        let was_first = lane.queue.first() == Some(&place);
        lane.queue.remove(&place);
        if !was_first {
            return;
        }
        let (need, owners, was_ready) = (lane.need, lane.owners, lane.parked.is_none());
        match lane.queue.first() {
            Some((next, _)) if was_ready && self.accounts.blocker(owners).is_none() => {
                shapes.move_back(need, place.0, *next, at);
            }
            _ => {
                self.take_out(shapes, at, place.0);
                self.put(shapes, at);
            }
        }
        if was_ready {
            self.call_up(shapes, need, owners);
        }
    }

    /// The first of all waiters that fit a kind and are within their quotas.
    pub(super) fn first(&mut self, shapes: &mut Shapes, kind: KindAt) -> Option<(Order, u32)> {
        loop {
            let (order, at) = match shapes.first(kind)? {
                (order, Head::Waiter(waiter)) => return Some((order, waiter)),
                (order, Head::Lane(at)) => (order, at),
            };
            let lane = self.lanes[at as usize].as_ref()?;
            if self.accounts.blocker(lane.owners).is_none() {
                return lane.queue.first().copied();
            }
            let (need, owners) = (lane.need, lane.owners);
            self.take_out(shapes, at, order);
            self.put(shapes, at);
            self.call_up(shapes, need, owners);
        }
    }

    /// A machine was given back: what waited for its holder's quota may go on.
    pub(super) fn discharge(&mut self, shapes: &mut Shapes, owners: Owners) {
        for account in owners.each() {
            if self.accounts.discharge(account) {
                for need in self.accounts.parked_needs(account) {
                    self.wake(shapes, account, need);
                }
            }
        }
    }

    /// A need of which a lane has become ready, the one that comes first.
    pub(super) fn next_woken(&mut self) -> Option<NeedAt> {
        Some(self.woken.pop_first()?.1)
    }

    /// Whether there is one.
    pub(super) fn has_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    /// Other quotas, and no waiter in any lane: all enter again.
    pub(super) fn reset(&mut self, shapes: &mut Shapes, quotas: Quotas) {
        shapes.clear();
        self.accounts.unpark_all();
        self.accounts.set_limits(quotas);
        self.lanes.clear();
        self.vacant.clear();
        self.by_key.clear();
    }

    /// Needs have moved.
    pub(super) fn move_needs(&mut self, moved: &[Option<NeedAt>]) {
        self.by_key.clear();
        for (at, lane) in (0u32..).zip(&mut self.lanes) {
            if let Some(lane) = lane
                && let Some(need) = moved[lane.need as usize]
            {
                lane.need = need;
                self.by_key.insert((need, lane.owners), at);
            }
        }
        self.accounts.move_needs(moved);
    }

    fn open(&mut self, shapes: &mut Shapes, need: NeedAt, owners: Owners) -> LaneAt {
        let lane = Lane {
            need,
            owners,
            queue: BTreeSet::new(),
            parked: None,
        };
        let at = match self.vacant.pop() {
            Some(at) => {
                self.lanes[at as usize] = Some(lane);
                at
            }
            None => {
                self.lanes.push(Some(lane));
                (self.lanes.len() - 1) as LaneAt
            }
        };
        self.by_key.insert((need, owners), at);
        shapes.add_lane(need);
        at
    }

    /// Puts a lane where it belongs now; one without waiters is forgotten.
    fn put(&mut self, shapes: &mut Shapes, at: LaneAt) {
        let slot = &mut self.lanes[at as usize];
        let Some(lane) = slot else { return };
        let Some((first, _)) = lane.queue.first() else {
            self.by_key.remove(&(lane.need, lane.owners));
            shapes.remove_lane(lane.need);
            *slot = None;
            self.vacant.push(at);
            return;
        };
        lane.parked = self.accounts.blocker(lane.owners);
        match lane.parked {
            Some(account) => self.accounts.park(account, lane.need, (*first, at)),
            None => shapes.ready(lane.need, *first, at),
        }
    }

    /// Takes a lane from where it is, known by what was its first waiter.
    fn take_out(&mut self, shapes: &mut Shapes, at: LaneAt, first: Order) {
        let Some(lane) = &self.lanes[at as usize] else {
            return;
        };
        match lane.parked {
            Some(account) => self.accounts.unpark(account, lane.need, (first, at)),
            None => shapes.not_ready(lane.need, first, at),
        }
    }

    /// A ready lane has moved back or is gone: another one of its accounts may come before it.
    fn call_up(&mut self, shapes: &mut Shapes, need: NeedAt, owners: Owners) {
        for account in owners.each() {
            if !self.accounts.is_full(account) {
                self.wake(shapes, account, need);
            }
        }
    }

    /// Makes the first lane ready that waits for an account, which is not full; those that
    /// another account blocks wait for that one from now on.
    fn wake(&mut self, shapes: &mut Shapes, account: AccountAt, need: NeedAt) {
        while let Some((order, at)) = self.accounts.first_parked(account, need) {
            self.take_out(shapes, at, order);
            self.put(shapes, at);
            if self.get(at).is_none_or(|lane| lane.parked.is_none()) {
                self.woken.insert((order, need));
                return;
            }
        }
    }
}
