//! The queue and the machines.

use std::collections::BTreeMap;

use super::machine::Machine;
use super::policy::{Policy, Rank};
use super::waiter::{Waiter, WaiterId};
use crate::clock::Timestamp;
use crate::ids::MachineId;
use crate::retry::pause_after;

/// What happens to the queue or to a machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Something begins to wait.
    Enter(Waiter),
    /// It waits no longer.
    Leave(WaiterId),
    /// A machine can be used, or has changed.
    Up(Machine),
    /// A machine cannot be used any more; its holder, if any, keeps it until it gives it back.
    Down(MachineId),
    /// A machine is held since before this process; it may come up later.
    Hold(MachineId),
    /// The holder of a machine has given it back.
    Free(MachineId),
    /// The holder of a machine has given it back because it does not work: it rests for a
    /// while, longer each time.
    Failed(MachineId),
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
}

/// Gives machines to waiters. Has no clock: whoever drives it says what time it is.
pub struct Scheduler {
    policy: Box<dyn Policy>,
    waiters: BTreeMap<(Rank, u64), Waiter>,
    places: BTreeMap<WaiterId, (Rank, u64)>,
    machines: BTreeMap<MachineId, Slot>,
    entered: u64,
}

#[derive(Default)]
struct Slot {
    machine: Option<Machine>,
    held: bool,
    failures: u32,
    rests_until: Option<Timestamp>,
}

impl Scheduler {
    /// A scheduler without machines.
    pub fn new(policy: impl Policy + 'static) -> Self {
        Self {
            policy: Box::new(policy),
            waiters: BTreeMap::new(),
            places: BTreeMap::new(),
            machines: BTreeMap::new(),
            entered: 0,
        }
    }

    /// Takes an event into account and says who gets a machine now.
    pub fn step(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        match event {
            Event::Enter(waiter) => self.enter(waiter, now),
            Event::Leave(id) => {
                if let Some(place) = self.places.remove(&id) {
                    self.waiters.remove(&place);
                }
            }
            Event::Up(machine) => {
                let slot = self.machines.entry(machine.id().clone()).or_default();
                slot.machine = Some(machine);
            }
            Event::Down(id) => {
                if let Some(slot) = self.machines.get_mut(&id) {
                    slot.machine = None;
                }
            }
            Event::Hold(id) => self.machines.entry(id).or_default().held = true,
            Event::Free(id) => self.give_back(&id, None),
            Event::Failed(id) => self.give_back(&id, Some(now)),
            Event::Tick => {}
        }
        self.serve(now)
    }

    /// When to call again with [`Event::Tick`], at the latest.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.machines
            .values()
            .filter_map(|slot| slot.rests_until)
            .min()
    }

    fn enter(&mut self, waiter: Waiter, now: Timestamp) {
        if self.places.contains_key(&waiter.id) {
            return;
        }
        self.entered += 1;
        let place = (self.policy.rank(&waiter, now), self.entered);
        self.places.insert(waiter.id.clone(), place);
        self.waiters.insert(place, waiter);
    }

    fn give_back(&mut self, id: &MachineId, failed: Option<Timestamp>) {
        let Some(slot) = self.machines.get_mut(id) else {
            return;
        };
        slot.held = false;
        slot.failures = if failed.is_some() {
            slot.failures + 1
        } else {
            0
        };
        slot.rests_until = failed.map(|now| now + pause_after(slot.failures));
    }

    fn serve(&mut self, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        for slot in self.machines.values_mut() {
            slot.rests_until = slot.rests_until.filter(|until| *until > now);
            let Some(machine) = slot.machine.as_ref().filter(|_| !slot.held) else {
                continue;
            };
            if slot.rests_until.is_some() {
                continue;
            }
            let fits = |w: &&Waiter| self.policy.fits(w, machine).is_ok();
            let Some(waiter) = self.waiters.values().find(fits).map(|w| w.id.clone()) else {
                continue;
            };
            if let Some(place) = self.places.remove(&waiter) {
                self.waiters.remove(&place);
            }
            slot.held = true;
            actions.push(Action::Grant {
                waiter,
                machine: machine.id().clone(),
            });
        }
        actions
    }
}
