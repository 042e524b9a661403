//! The ledger of machines: who holds which, which rest, and what is reserved.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::capacity::Draw;
use super::machine::Machine;
use super::policy::TIERS;
use super::quotas::Owners;
use super::shapes::KindAt;
use crate::clock::Timestamp;
use crate::ids::{HolderId, HostType, MachineId};
use crate::machine::Aside;
use crate::retry::pause_after;

/// Parts of the machines of each host type that are kept for the strict tiers, each from 0 to
/// 1, rounded down to whole machines. Less urgent work never holds them; the more urgent may.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shares {
    /// For urgent work.
    pub urgent: f64,
    /// For people who wait at a terminal.
    pub interactive: f64,
    /// For changes under review.
    pub try_work: f64,
}

impl Default for Shares {
    /// Nothing: where nobody has asked for it, a reserve keeps a machine idle that the last steps
    /// of a build wait for.
    fn default() -> Self {
        Self::NONE
    }
}

impl Shares {
    /// Nothing is reserved.
    pub const NONE: Self = Self {
        urgent: 0.0,
        interactive: 0.0,
        try_work: 0.0,
    };

    /// How many of `total` machines the tiers above each tier, and it, keep for themselves.
    fn reserved(&self, total: u32) -> [u32; TIERS - 1] {
        let mut sum = 0;
        [self.urgent, self.interactive, self.try_work].map(|share| {
            sum += (share.clamp(0.0, 1.0) * f64::from(total)) as u32;
            sum.min(total)
        })
    }
}

/// What a machine does, for the status of the farm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MachineState {
    /// It can be given to a waiter.
    Free,
    /// A build has it.
    Held,
    /// It failed and rests until then.
    Resting(Timestamp),
    /// It is set aside until then: it is sick, or somebody said so.
    SetAside(Timestamp),
}

pub(super) struct Slot {
    pub(super) id: MachineId,
    /// `None`: it is held, but not up (any more).
    pub(super) machine: Option<(Machine, KindAt)>,
    pub(super) holder: Option<Holder>,
    failures: u32,
    pub(super) rests_until: Option<Timestamp>,
    /// Why it rests for longer than after a failure.
    pub(super) aside: Option<Aside>,
    /// What its holder takes of capacities that machines share.
    pub(super) drawn: Vec<Draw>,
    /// What it is said to be by its holder, while it has not been up.
    expected: Option<HostType>,
    pool: u32,
}

/// Who holds a machine.
pub(super) struct Holder {
    pub(super) tier: u8,
    pub(super) since: Timestamp,
    pub(super) build: HolderId,
    pub(super) owners: Owners,
}

impl Slot {
    pub(super) fn is_free(&self) -> bool {
        self.machine.is_some() && self.holder.is_none() && self.rests_until.is_none()
    }

    /// Of which kind it is, while it is up.
    pub(super) fn host_type(&self) -> Option<&HostType> {
        self.machine
            .as_ref()
            .map(|(machine, _)| machine.host_type())
    }

    pub(super) fn state(&self) -> MachineState {
        match (&self.holder, self.rests_until, &self.aside) {
            (Some(_), ..) => MachineState::Held,
            (None, Some(until), Some(_)) => MachineState::SetAside(until),
            (None, Some(until), None) => MachineState::Resting(until),
            (None, None, _) => MachineState::Free,
        }
    }
}

/// The machines of one host type: what shares are parts of.
#[derive(Default)]
pub(super) struct HostPool {
    /// Machines that are up.
    total: u32,
    /// Of those, the ones held by each tier.
    held: [u32; TIERS],
    /// What the tiers above each tier, and it, keep for themselves of `total`.
    reserved: [u32; TIERS - 1],
    /// The least urgent tier that may hold one more.
    open_to: u8,
    /// Kinds of its machines.
    pub(super) kinds: BTreeSet<KindAt>,
    /// The most urgent tier that was turned away, because of what is reserved, since the last
    /// look.
    turned_away: Option<u8>,
}

impl HostPool {
    /// Whether waiters of a tier may hold one more machine, or what is reserved for more urgent
    /// ones forbids it. Who may not is remembered.
    pub(super) fn admits(&mut self, tier: u8) -> bool {
        let open = self.is_open(tier);
        if !open {
            self.turned_away = Some(self.turned_away.map_or(tier, |other| other.min(tier)));
        }
        open
    }

    /// The same, and nobody remembers it.
    pub(super) fn is_open(&self, tier: u8) -> bool {
        tier <= self.open_to
    }

    /// Whether somebody was turned away who need not be any more; forgets who was, then.
    pub(super) fn may_call_back(&mut self) -> bool {
        let may = self.turned_away.is_some_and(|tier| tier <= self.open_to);
        if may {
            self.turned_away = None;
        }
        may
    }

    fn reopen(&mut self) {
        let mut less_urgent: u32 = self.held[1..].iter().sum();
        self.open_to = 0;
        for (above, reserved) in self.reserved.iter().enumerate() {
            if less_urgent >= self.total.saturating_sub(*reserved) {
                return;
            }
            less_urgent -= self.held[above + 1];
            self.open_to += 1;
        }
    }
}

#[derive(Default)]
pub(super) struct Ledger {
    slots: Vec<Option<Slot>>,
    vacant: Vec<u32>,
    by_id: HashMap<MachineId, u32>,
    pools: Vec<HostPool>,
    pools_by_type: HashMap<HostType, u32>,
    resting: BTreeSet<(Timestamp, u32)>,
    /// How many are held that were not up yet.
    unseen: usize,
    shares: Shares,
}

impl Ledger {
    pub(super) fn set_shares(&mut self, shares: Shares) {
        self.shares = shares;
        for pool in &mut self.pools {
            pool.reserved = shares.reserved(pool.total);
            pool.reopen();
        }
    }

    pub(super) fn find(&self, id: &MachineId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    pub(super) fn slot(&self, at: u32) -> Option<&Slot> {
        self.slots.get(at as usize)?.as_ref()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten()
    }

    pub(super) fn pool_of(&mut self, at: u32) -> Option<&mut HostPool> {
        let pool = self.slot(at)?.pool;
        self.pools.get_mut(pool as usize)
    }

    /// The pool of a machine.
    pub(super) fn pool_at(&self, slot: &Slot) -> Option<&HostPool> {
        self.pools.get(slot.pool as usize)
    }

    /// A machine that is up and held takes what it says now: what it took before, and what it
    /// takes. `None` when that is the same.
    pub(super) fn redraw(&mut self, at: u32) -> Option<(Vec<Draw>, Vec<Draw>)> {
        let slot = self.slots.get_mut(at as usize)?.as_mut()?;
        slot.holder.as_ref()?;
        let draws = slot.machine.as_ref()?.0.draws();
        if slot.drawn == draws {
            return None;
        }
        let draws = draws.to_vec();
        let before = std::mem::replace(&mut slot.drawn, draws.clone());
        Some((before, draws))
    }

    /// A machine that is held and was not up yet is of that kind, as far as its holder knows.
    pub(super) fn set_expected(&mut self, id: &MachineId, host_type: &HostType) {
        let slot = self
            .find(id)
            .and_then(|at| self.slots[at as usize].as_mut());
        if let Some(slot) = slot.filter(|slot| slot.machine.is_none() && slot.expected.is_none()) {
            slot.expected = Some(host_type.clone());
            self.unseen += 1;
        }
    }

    /// What machines take that are held and were not up yet, guessed by those of the same kind; the
    /// answer is what that is, all together.
    pub(super) fn guess(&mut self, draws: impl Fn(&HostType) -> Vec<Draw>) -> Vec<Draw> {
        let mut guessed = Vec::new();
        if self.unseen == 0 {
            return guessed;
        }
        for slot in self.slots.iter_mut().flatten() {
            let kind = slot.expected.as_ref().filter(|_| slot.drawn.is_empty());
            if let Some(kind) = kind {
                slot.drawn = draws(kind);
                guessed.extend_from_slice(&slot.drawn);
            }
        }
        guessed
    }

    /// What the holder of a machine takes, which it takes no longer.
    pub(super) fn take_drawn(&mut self, at: u32) -> Vec<Draw> {
        let slot = self.slots.get_mut(at as usize).and_then(Option::as_mut);
        slot.map(|slot| std::mem::take(&mut slot.drawn))
            .unwrap_or_default()
    }

    /// A machine is up, or has changed; the answer is its place.
    pub(super) fn up(&mut self, machine: Machine, kind: KindAt) -> u32 {
        let at = self.place(machine.id());
        self.count(at, false);
        let pool = self.pool(machine.host_type());
        self.pools[pool as usize].kinds.insert(kind);
        if let Some(slot) = &mut self.slots[at as usize] {
            slot.pool = pool;
            slot.machine = Some((machine, kind));
            if slot.expected.take().is_some() {
                self.unseen -= 1;
            }
        }
        self.count(at, true);
        at
    }

    /// A machine is not up any more; forgotten unless it is held.
    pub(super) fn down(&mut self, at: u32) {
        self.count(at, false);
        if let Some(slot) = &mut self.slots[at as usize] {
            slot.machine = None;
        }
        self.forget_unless_held(at);
    }

    /// Somebody holds a machine, which may not be up; the answer is who held it before.
    pub(super) fn hold(&mut self, id: &MachineId, holder: Holder) -> Option<Holder> {
        let at = self.place(id);
        self.set_holder(at, Some(holder))
    }

    /// Somebody holds a machine that is known and free; the answer is its name.
    pub(super) fn hold_at(&mut self, at: u32, holder: Holder) -> Option<MachineId> {
        self.set_holder(at, Some(holder));
        Some(self.slot(at)?.id.clone())
    }

    /// A machine was given back; it rests when it has failed. The answer is who held it.
    pub(super) fn give_back(&mut self, at: u32, failed: bool, now: Timestamp) -> Option<Holder> {
        let holder = self.set_holder(at, None);
        if let Some(slot) = &mut self.slots[at as usize] {
            slot.failures = if failed { slot.failures + 1 } else { 0 };
            if failed && slot.aside.is_none() {
                let until = now + pause_after(slot.failures);
                slot.rests_until = Some(until);
                self.resting.insert((until, at));
            }
        }
        self.forget_unless_held(at);
        holder
    }

    /// Nobody gets a machine until a time; it may not be up, or be held. The answer is its place.
    pub(super) fn set_aside(&mut self, id: &MachineId, aside: Aside) -> u32 {
        let at = self.place(id);
        self.wake_up(at);
        if let Some(slot) = &mut self.slots[at as usize] {
            slot.rests_until = Some(aside.until);
            self.resting.insert((aside.until, at));
            slot.aside = Some(aside);
        }
        at
    }

    /// A machine rests no longer, and what was is forgiven.
    pub(super) fn readmit(&mut self, at: u32) {
        self.wake_up(at);
        if let Some(slot) = &mut self.slots[at as usize] {
            slot.failures = 0;
        }
    }

    fn wake_up(&mut self, at: u32) {
        if let Some(slot) = &mut self.slots[at as usize] {
            slot.aside = None;
            if let Some(until) = slot.rests_until.take() {
                self.resting.remove(&(until, at));
            }
        }
    }

    /// When somebody began to hold a machine, as far as this process knows.
    pub(super) fn held_since(&self, id: &MachineId) -> Option<Timestamp> {
        let slot = self.slot(self.find(id)?)?;
        Some(slot.holder.as_ref()?.since)
    }

    /// The next machine that has rested long enough.
    pub(super) fn rested(&mut self, now: Timestamp) -> Option<u32> {
        let (_, at) = self
            .resting
            .first()
            .copied()
            .filter(|(until, _)| *until <= now)?;
        self.resting.pop_first();
        if let Some(slot) = &mut self.slots[at as usize] {
            slot.rests_until = None;
            slot.aside = None;
        }
        Some(at)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn lose_wake_ups(&mut self) {
        self.resting.clear();
    }

    pub(super) fn next_rested(&self) -> Option<Timestamp> {
        self.resting.first().map(|(until, _)| *until)
    }

    fn place(&mut self, id: &MachineId) -> u32 {
        if let Some(at) = self.by_id.get(id) {
            return *at;
        }
        let slot = Slot {
            id: id.clone(),
            machine: None,
            holder: None,
            failures: 0,
            rests_until: None,
            aside: None,
            drawn: Vec::new(),
            expected: None,
            pool: u32::MAX,
        };
        let at = match self.vacant.pop() {
            Some(at) => {
                self.slots[at as usize] = Some(slot);
                at
            }
            None => {
                self.slots.push(Some(slot));
                (self.slots.len() - 1) as u32
            }
        };
        self.by_id.insert(id.clone(), at);
        at
    }

    fn pool(&mut self, host_type: &HostType) -> u32 {
        if let Some(pool) = self.pools_by_type.get(host_type) {
            return *pool;
        }
        self.pools.push(HostPool::default());
        let pool = (self.pools.len() - 1) as u32;
        self.pools_by_type.insert(host_type.clone(), pool);
        pool
    }

    /// Adds a machine to, or takes it from, the counts of its pool.
    fn count(&mut self, at: u32, add: bool) {
        let shares = self.shares;
        let Some((slot, pool)) = self.counted(at) else {
            return;
        };
        let step = |count: &mut u32| *count = if add { *count + 1 } else { *count - 1 };
        step(&mut pool.total);
        if let Some(holder) = &slot.holder {
            step(&mut pool.held[usize::from(holder.tier)]);
        }
        pool.reserved = shares.reserved(pool.total);
        pool.reopen();
    }

    fn set_holder(&mut self, at: u32, holder: Option<Holder>) -> Option<Holder> {
        if let Some((slot, pool)) = self.counted(at) {
            if let Some(before) = &slot.holder {
                pool.held[usize::from(before.tier)] -= 1;
            }
            if let Some(after) = &holder {
                pool.held[usize::from(after.tier)] += 1;
            }
            pool.reopen();
        }
        let slot = self.slots[at as usize].as_mut()?;
        std::mem::replace(&mut slot.holder, holder)
    }

    /// A machine that counts in its pool, which those do that are up.
    fn counted(&mut self, at: u32) -> Option<(&Slot, &mut HostPool)> {
        let slot = self.slots[at as usize].as_ref()?;
        slot.machine.as_ref()?;
        Some((slot, &mut self.pools[slot.pool as usize]))
    }

    fn forget_unless_held(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        if let Some(slot) = slot.as_mut().filter(|slot| slot.holder.is_none())
            && slot.expected.take().is_some()
        {
            self.unseen -= 1;
        }
        if let Some(gone) = slot.take_if(|slot| slot.machine.is_none() && slot.holder.is_none()) {
            self.by_id.remove(&gone.id);
            self.vacant.push(at);
            self.resting
                .remove(&(gone.rests_until.unwrap_or_default(), at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_round_down() {
        let shares = Shares {
            urgent: 0.05,
            interactive: 0.1,
            try_work: 0.5,
        };
        assert_eq!(shares.reserved(4), [0, 0, 2]);
        assert_eq!(shares.reserved(40), [2, 6, 26]);
        assert_eq!(
            Shares {
                urgent: 7.0,
                ..shares
            }
            .reserved(3),
            [3, 3, 3]
        );
    }
}
