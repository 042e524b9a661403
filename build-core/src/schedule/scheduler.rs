//! The queue, the machines, and what happens between them.

use std::collections::{BTreeSet, HashMap, hash_map};

use super::capacity::{Account, Capacity};
use super::explain::Holds;
use super::lanes::{LaneAt, Lanes};
use super::machine::Machine;
use super::machines::{Holder, Ledger, MachineState, Slot};
use super::policy::{Policy, URGENT_TIER};
use super::queue::{Order, Turns};
use super::quotas::{Allotment, Owners};
use super::shapes::{KindAt, NeedAt, Shapes};
use super::waiter::{Waiter, WaiterId};
use crate::clock::Timestamp;
use crate::ids::MachineId;
use crate::machine::Aside;

/// What happens to the queue or to a machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Something begins to wait. One with the same id that waits already stays as it is.
    Enter(Waiter),
    /// It waits no longer.
    Leave(WaiterId),
    /// A machine can be used, or what it has was changed.
    Up(Machine),
    /// A machine cannot be used any more; its holder, if any, keeps it until it gives it back.
    Down(MachineId),
    /// A machine is held since before this process, by this one; it may come up later.
    Hold(MachineId, Box<Waiter>),
    /// The holder of a machine has given it back.
    Free(MachineId),
    /// The holder of a machine has given it back because it does not work: it rests for a
    /// while, longer each time.
    Failed(MachineId),
    /// Nobody gets a machine until a time; who holds it keeps it.
    SetAside(MachineId, Aside),
    /// A machine that rests or is set aside may be used again.
    Readmit(MachineId),
    /// Machines are shared out in another way from now on; who holds one keeps it.
    Allot(Allotment),
    /// All of these, in their order. Machines that share a capacity are given out when the last has
    /// been taken into account.
    All(Vec<Event>),
    /// The capacities that machines share, all of them; what is held is kept.
    Accounts(Vec<Account>),
    /// Time has passed.
    Tick,
}

/// What the scheduler has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// The machine is the waiter's until it is given back.
    Grant {
        /// Who waits no longer.
        waiter: WaiterId,
        /// What it got.
        machine: MachineId,
    },
    /// It has waited until its deadline, and waits no longer.
    Expired(WaiterId),
}

/// Gives machines to waiters. Has no clock: whoever drives it says what time it is.
///
/// ```
/// use build_core::schedule::{Event, Fifo, Labels, Machine, Scheduler};
/// use build_core::ids::{HostType, MachineId};
/// use build_core::clock::Timestamp;
/// # fn main() -> build_core::Result<()> {
/// let mut scheduler = Scheduler::new(Fifo);
/// let machine = Machine::new(MachineId::new("m1")?, HostType::new("linux")?, Labels::default());
/// let grants = scheduler.step(Event::Up(machine), Timestamp::default());
/// assert!(grants.is_empty());
/// # Ok(()) }
/// ```
pub struct Scheduler {
    pub(super) policy: Box<dyn Policy>,
    pub(super) entries: Entries,
    pub(super) shapes: Shapes,
    pub(super) lanes: Lanes,
    pub(super) ledger: Ledger,
    pub(super) holds: Holds,
    pub(super) turns: Turns,
    pub(super) capacity: Capacity,
    deadlines: BTreeSet<(Timestamp, u32)>,
    entered: u64,
    #[cfg(any(test, feature = "testing"))]
    plant: Option<crate::plant::Plant>,
}

/// The waiters, each at a place that stays the same while it waits.
#[derive(Default)]
pub(super) struct Entries {
    slots: Vec<Option<Entry>>,
    vacant: Vec<u32>,
    by_id: HashMap<WaiterId, u32>,
}

/// A waiter, without what its shape says of it.
pub(super) struct Entry {
    pub(super) id: WaiterId,
    pub(super) owners: Owners,
    pub(super) class: crate::work::Class,
    pub(super) order: Order,
    pub(super) need: NeedAt,
    /// `None`: no quota is for it.
    pub(super) lane: Option<LaneAt>,
    pub(super) since: Timestamp,
    deadline: Option<Timestamp>,
}

impl Entries {
    pub(super) fn find(&self, id: &WaiterId) -> Option<(u32, &Entry)> {
        let at = *self.by_id.get(id)?;
        Some((at, self.get(at)?))
    }

    pub(super) fn get(&self, at: u32) -> Option<&Entry> {
        self.slots.get(at as usize)?.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().flatten()
    }

    /// A place for a waiter, to be filled at once; `None` when it waits already.
    fn claim(&mut self, id: &WaiterId) -> Option<u32> {
        let hash_map::Entry::Vacant(place) = self.by_id.entry(id.clone()) else {
            return None;
        };
        let at = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        Some(*place.insert(at))
    }

    fn fill(&mut self, at: u32, entry: Entry) {
        self.slots[at as usize] = Some(entry);
    }

    fn remove(&mut self, at: u32) -> Option<Entry> {
        let entry = self.slots.get_mut(at as usize)?.take()?;
        self.by_id.remove(&entry.id);
        self.vacant.push(at);
        Some(entry)
    }
}

impl Scheduler {
    /// A scheduler without machines, with the default [`Allotment`].
    pub fn new(policy: impl Policy + 'static) -> Self {
        let mut scheduler = Self {
            policy: Box::new(policy),
            entries: Entries::default(),
            shapes: Shapes::default(),
            lanes: Lanes::default(),
            ledger: Ledger::default(),
            holds: Holds::default(),
            turns: Turns::default(),
            capacity: Capacity::default(),
            deadlines: BTreeSet::new(),
            entered: 0,
            #[cfg(any(test, feature = "testing"))]
            plant: None,
        };
        scheduler.allot(Allotment::default());
        scheduler
    }

    /// Takes an event into account and says who gets a machine now.
    pub fn step(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        self.take(event, now, &mut actions);
        loop {
            self.serve_woken(now, &mut actions);
            // Last, when everything that is free is known: who is first is asked over many kinds.
            self.serve_sharing(now, &mut actions);
            if !self.lanes.has_woken() {
                return actions;
            }
        }
    }

    fn take(&mut self, event: Event, now: Timestamp, actions: &mut Vec<Action>) {
        match event {
            Event::All(events) => {
                for event in events {
                    self.take(event, now, actions);
                }
            }
            Event::Enter(waiter) => self.enter(waiter, now, actions),
            Event::Leave(id) => {
                if let Some((at, _)) = self.entries.find(&id) {
                    self.leave(at, false);
                }
            }
            Event::Up(machine) => self.up(machine, now, actions),
            Event::Down(id) => self.down(&id),
            Event::Hold(id, waiter) => self.hold(&id, &waiter, now),
            Event::Free(id) => self.give_back(&id, false, now, actions),
            Event::Failed(id) => self.give_back(&id, true, now, actions),
            Event::SetAside(id, aside) => {
                let at = self.ledger.set_aside(&id, aside);
                self.not_free(at);
            }
            Event::Readmit(id) => {
                if let Some(at) = self.ledger.find(&id) {
                    self.ledger.readmit(at);
                    self.try_free(at, now, actions);
                }
            }
            Event::Allot(allotment) => {
                self.allot(allotment);
                self.serve_all(now, actions);
            }
            Event::Accounts(accounts) => self.set_accounts(accounts),
            Event::Tick => self.tick(now, actions),
        }
    }

    /// When to call again with [`Event::Tick`], at the latest.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        deadline.into_iter().chain(self.ledger.next_rested()).min()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.entries.by_id.len()
    }

    /// The machines that are up, with what they do.
    pub fn machines(&self) -> impl Iterator<Item = (&Machine, MachineState)> {
        self.ledger
            .slots()
            .filter_map(|slot| Some((&slot.machine.as_ref()?.0, slot.state())))
    }

    /// When somebody began to hold a machine, as far as this process knows.
    pub fn held_since(&self, machine: &MachineId) -> Option<Timestamp> {
        self.ledger.held_since(machine)
    }

    /// Plants a bug.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn plant(&mut self, plant: Option<crate::plant::Plant>) {
        self.plant = plant;
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn is_planted(&self, plant: crate::plant::Plant) -> bool {
        self.plant == Some(plant)
    }

    fn enter(&mut self, waiter: Waiter, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(at) = self.entries.claim(&waiter.id) else {
            return;
        };
        if self.shapes.is_crowded() {
            self.compact();
        }
        let rank = self.policy.rank(&waiter, now);
        self.entered += 1;
        let owners = self.lanes.accounts.open(&waiter);
        let order = Order {
            tier: rank.tier(),
            turn: self.turns.enter(rank, &waiter.host_type, owners.author()),
            key: rank.key(),
            seq: self.entered,
        };
        let need = self.shapes.need(&waiter, &*self.policy);
        let entry = Entry {
            owners,
            class: waiter.class,
            order,
            need,
            lane: None,
            since: waiter.enqueued,
            deadline: waiter.deadline,
            id: waiter.id,
        };
        self.entries.fill(at, entry);
        self.deadlines
            .extend(waiter.deadline.map(|deadline| (deadline, at)));
        self.enter_queue(at);
        self.serve_new(at, need, order.tier, now, actions);
    }

    /// Puts a waiter that is nowhere into the queue of its need, or into its lane.
    fn enter_queue(&mut self, at: u32) {
        let Some(entry) = &mut self.entries.slots[at as usize] else {
            return;
        };
        let owners = charged(entry.owners, entry.order.tier);
        let owners = self.lanes.accounts.limited(owners);
        let (need, place) = (entry.need, (entry.order, at));
        entry.lane = None;
        if owners == Owners::NONE {
            self.shapes.enter(need, entry.order, at);
        } else {
            entry.lane = Some(self.lanes.enter(&mut self.shapes, need, owners, place));
        }
    }

    /// Only the new waiter can be served now: who waited before is when machines come.
    fn serve_new(
        &mut self,
        at: u32,
        need: NeedAt,
        tier: u8,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        for n in 0..self.shapes.needs[need as usize].kinds.len() {
            let kind = self.shapes.needs[need as usize].kinds[n];
            if let Some(machine) = self.shapes.free(kind).first().copied()
                && self
                    .ledger
                    .pool_of(machine)
                    .is_some_and(|pool| pool.admits(tier))
            {
                self.serve(kind, now, actions);
                if self.entries.get(at).is_none() {
                    return;
                }
            }
        }
    }

    /// Takes a waiter out of the queue. The accounts of one that is served stay open.
    fn leave(&mut self, at: u32, served: bool) -> Option<Entry> {
        let entry = self.entries.remove(at)?;
        if served {
            let owners = charged(entry.owners, entry.order.tier);
            self.lanes.accounts.charge(owners);
        }
        match entry.lane {
            Some(lane) => self.lanes.leave(&mut self.shapes, lane, (entry.order, at)),
            None => self.shapes.leave(entry.need, entry.order, at),
        }
        self.deadlines
            .remove(&(entry.deadline.unwrap_or_default(), at));
        let host_type = &self.shapes.needs[entry.need as usize].example.host_type;
        self.turns
            .leave(entry.order.turn, host_type, entry.owners.author(), served);
        if !served {
            self.lanes.accounts.close(entry.owners);
        }
        Some(entry)
    }

    /// Gives free machines of a kind to the first waiters that fit. Those that share a capacity
    /// are given out together, see [`Scheduler::serve_sharing`].
    fn serve(&mut self, kind: KindAt, now: Timestamp, actions: &mut Vec<Action>) {
        if self.shapes.kinds[kind as usize].is_shared() {
            return;
        }
        while let Some(machine) = self.shapes.free(kind).first().copied()
            && let Some((order, waiter)) = self.lanes.first(&mut self.shapes, kind)
        {
            let pool = self.ledger.pool_of(machine);
            if !pool.is_some_and(|pool| pool.admits(order.tier)) {
                return;
            }
            self.grant(machine, kind, waiter, now, actions);
        }
    }

    /// Serves those whose quota has room again.
    fn serve_woken(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        while let Some(need) = self.lanes.next_woken() {
            for n in 0..self.shapes.needs[need as usize].kinds.len() {
                let kind = self.shapes.needs[need as usize].kinds[n];
                self.serve(kind, now, actions);
            }
        }
    }

    fn serve_all(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        for kind in 0..self.shapes.kinds.len() as KindAt {
            self.serve(kind, now, actions);
        }
    }

    /// Lets the machines be shared out in another way; every waiter enters the queue again.
    fn allot(&mut self, allotment: Allotment) {
        self.ledger.set_shares(allotment.shares);
        self.lanes.reset(&mut self.shapes, allotment.quotas);
        for at in 0..self.entries.slots.len() as u32 {
            self.enter_queue(at);
        }
    }

    pub(super) fn grant(
        &mut self,
        machine: u32,
        kind: KindAt,
        waiter: u32,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.leave(waiter, true) else {
            return;
        };
        self.shapes.free(kind).remove(&machine);
        let holder = Holder {
            tier: entry.order.tier,
            since: now,
            build: entry.id.build.clone(),
            owners: entry.owners,
        };
        let Some(id) = self.ledger.hold_at(machine, holder) else {
            return;
        };
        self.count_draws(machine);
        actions.push(Action::Grant {
            waiter: entry.id,
            machine: id,
        });
    }

    fn up(&mut self, machine: Machine, now: Timestamp, actions: &mut Vec<Action>) {
        let kind = self.shapes.kind(&machine, &*self.policy);
        let is_new = self.capacity.know(kind, machine.draws());
        if let Some(at) = self.ledger.find(machine.id()) {
            self.not_free(at);
        }
        let at = self.ledger.up(machine, kind);
        self.count_draws(at);
        if is_new {
            self.guess_draws();
        }
        #[cfg(any(test, feature = "testing"))]
        if self.is_planted(crate::plant::Plant::DoubleGrant) {
            self.shapes.free(kind).insert(at);
        }
        self.try_free(at, now, actions);
        self.serve_turned_away(at, now, actions);
    }

    fn down(&mut self, id: &MachineId) {
        if let Some(at) = self.ledger.find(id) {
            self.not_free(at);
            self.ledger.down(at);
        }
    }

    fn hold(&mut self, id: &MachineId, waiter: &Waiter, now: Timestamp) {
        if let Some(at) = self.ledger.find(id) {
            self.not_free(at);
        }
        let holder = Holder {
            tier: self.policy.rank(waiter, now).tier(),
            since: now,
            build: waiter.id.build.clone(),
            owners: self.lanes.accounts.open(waiter),
        };
        let owners = charged(holder.owners, holder.tier);
        self.lanes.accounts.charge(owners);
        let before = self.ledger.hold(id, holder);
        self.ledger.set_expected(id, &waiter.host_type);
        self.guess_draws();
        if let Some(at) = self.ledger.find(id) {
            self.count_draws(at);
        }
        self.settle(before);
    }

    /// Somebody holds a machine no longer.
    fn settle(&mut self, holder: Option<Holder>) {
        if let Some(holder) = holder {
            let owners = charged(holder.owners, holder.tier);
            self.lanes.discharge(&mut self.shapes, owners);
            self.lanes.accounts.close(holder.owners);
        }
    }

    fn give_back(
        &mut self,
        id: &MachineId,
        failed: bool,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let Some(at) = self.ledger.find(id) else {
            return;
        };
        if self
            .ledger
            .slot(at)
            .is_none_or(|slot| slot.holder.is_none())
        {
            return;
        }
        let host_type = self.ledger.slot(at).and_then(Slot::host_type).cloned();
        let drawn = self.ledger.take_drawn(at);
        self.capacity.give_back(&drawn);
        let holder = self.ledger.give_back(at, failed, now);
        if let (Some(host_type), Some(holder), false) = (host_type, &holder, failed) {
            self.holds.add(&host_type, now.since(holder.since));
        }
        #[cfg(any(test, feature = "testing"))]
        let holder = holder.filter(|_| !self.is_planted(crate::plant::Plant::KeptQuota));
        self.settle(holder);
        #[cfg(any(test, feature = "testing"))]
        if self.is_planted(crate::plant::Plant::LostWakeUp) {
            self.ledger.lose_wake_ups();
        }
        self.try_free(at, now, actions);
        self.serve_turned_away(at, now, actions);
    }

    fn tick(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        while let Some(at) = self.ledger.rested(now) {
            self.try_free(at, now, actions);
        }
        while let Some((_, at)) = self
            .deadlines
            .first()
            .copied()
            .filter(|(due, _)| *due <= now)
        {
            self.deadlines.pop_first();
            actions.extend(self.leave(at, false).map(|entry| Action::Expired(entry.id)));
        }
    }

    /// Serves a machine's kind if the machine is free.
    fn try_free(&mut self, at: u32, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(slot) = self.ledger.slot(at).filter(|slot| slot.is_free()) else {
            return;
        };
        let Some((_, kind)) = &slot.machine else {
            return;
        };
        let kind = *kind;
        self.shapes.free(kind).insert(at);
        self.serve(kind, now, actions);
    }

    fn not_free(&mut self, at: u32) {
        if let Some((_, kind)) = self.ledger.slot(at).and_then(|slot| slot.machine.as_ref()) {
            self.shapes.free(*kind).remove(&at);
        }
    }

    /// What was reserved may be given out now that a machine has come or was given back.
    fn serve_turned_away(&mut self, at: u32, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(pool) = self.ledger.pool_of(at) else {
            return;
        };
        if !pool.may_call_back() {
            return;
        }
        let kinds: Vec<KindAt> = pool.kinds.iter().copied().collect();
        for kind in kinds {
            self.serve(kind, now, actions);
        }
    }

    fn compact(&mut self) {
        let moved = self.shapes.compact();
        for entry in self.entries.slots.iter_mut().flatten() {
            if let Some(at) = moved[entry.need as usize] {
                entry.need = at;
            }
        }
        self.lanes.move_needs(&moved);
    }
}

/// The accounts that a machine is charged to: urgent work stands outside of quotas.
fn charged(owners: Owners, tier: u8) -> Owners {
    match tier {
        URGENT_TIER => Owners::NONE,
        _ => owners,
    }
}
