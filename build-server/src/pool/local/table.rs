//! Who has which machine.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use build_core::ids::{LeaseId, MachineId};
use build_core::pool::Lease as _;
use tokio::sync::Mutex as AsyncMutex;

use super::lease::LocalLease;
use super::machine::Machine;
use super::place::name_of;

#[derive(Default)]
pub(super) struct Table {
    spares: Vec<Arc<Machine>>,
    leases: HashMap<LeaseId, Held>,
    /// Names of machines on their way: being started, or from spare to lease.
    in_hand: HashSet<String>,
    /// Leases that are being acquired: who asks a second time waits for the first.
    turns: HashMap<LeaseId, Weak<AsyncMutex<()>>>,
    /// Why the last machine could not be started.
    pub(super) trouble: Option<String>,
}

struct Held {
    slot: MachineId,
    machine: Arc<Machine>,
    lease: Weak<LocalLease>,
}

impl Table {
    /// The lease of that name, while somebody holds it.
    pub(super) fn held(&self, lease: &LeaseId) -> Option<Arc<LocalLease>> {
        self.leases.get(lease)?.lease.upgrade()
    }

    /// The lease that holds a slot.
    pub(super) fn holder(&self, slot: &MachineId) -> Option<LeaseId> {
        let mut live = self
            .leases
            .iter()
            .filter(|(_, held)| held.lease.strong_count() > 0);
        live.find(|(_, held)| held.slot == *slot)
            .map(|(lease, _)| lease.clone())
    }

    /// Every slot that is held, with its lease.
    pub(super) fn holders(&self) -> HashMap<MachineId, LeaseId> {
        let live = self
            .leases
            .iter()
            .filter(|(_, held)| held.lease.strong_count() > 0);
        live.map(|(lease, held)| (held.slot.clone(), lease.clone()))
            .collect()
    }

    pub(super) fn hold(&mut self, lease: &Arc<LocalLease>) {
        let held = Held {
            slot: lease.record().machine.clone(),
            machine: Arc::clone(lease.machine()),
            lease: Arc::downgrade(lease),
        };
        self.leases.insert(lease.record().lease.clone(), held);
    }

    pub(super) fn released(&mut self, lease: &LeaseId) {
        self.leases.remove(lease);
    }

    /// The lock of everybody who acquires that lease.
    pub(super) fn turn(&mut self, lease: &LeaseId) -> Arc<AsyncMutex<()>> {
        self.turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = self
            .turns
            .get(lease)
            .and_then(Weak::upgrade)
            .unwrap_or_default();
        self.turns.insert(lease.clone(), Arc::downgrade(&turn));
        turn
    }

    pub(super) fn spares(&self) -> &[Arc<Machine>] {
        &self.spares
    }

    pub(super) fn add_spare(&mut self, machine: Arc<Machine>) {
        self.spares.push(machine);
    }

    pub(super) fn lose_spare(&mut self, machine: &Arc<Machine>) {
        self.spares.retain(|spare| !Arc::ptr_eq(spare, machine));
    }

    /// Lets go of spares beyond so many; they end by themselves.
    pub(super) fn keep_spares(&mut self, most: usize) {
        let most = most.min(self.spares.len());
        for spare in self.spares.drain(most..) {
            spare.ask_to_end();
        }
    }

    pub(super) fn take_spares(&mut self) -> Vec<Arc<Machine>> {
        std::mem::take(&mut self.spares)
    }

    /// A spare that lives; the one with the lowest number, whose place was used most.
    pub(super) fn take_spare(&mut self) -> Option<Arc<Machine>> {
        self.spares.retain(|spare| spare.is_alive());
        let number = |at: &usize| {
            let name = self.spares[*at].name();
            (name.len(), name.to_owned())
        };
        let lowest = (0..self.spares.len()).min_by_key(number)?;
        Some(self.spares.remove(lowest))
    }

    /// Whether a machine is on its way, ready or leased.
    pub(super) fn is_in_use(&mut self, name: &str) -> bool {
        // A lease that was dropped unreleased is over when its machine has ended.
        self.leases
            .retain(|_, held| held.lease.strong_count() > 0 || held.machine.is_alive());
        self.in_hand.contains(name)
            || self.spares.iter().any(|spare| spare.name() == name)
            || self.leases.values().any(|held| held.machine.name() == name)
    }
}

/// While it exists, the machine of that name is in use.
pub(super) struct InHand<'t> {
    table: &'t Mutex<Table>,
    name: String,
}

impl<'t> InHand<'t> {
    pub(super) fn new(table: &'t Mutex<Table>, name: &str) -> Self {
        let in_hand = Self {
            table,
            name: name.to_owned(),
        };
        in_hand.lock().in_hand.insert(name.to_owned());
        in_hand
    }

    /// The name for a machine that is to be made; `None` when somebody has it, or its place.
    pub(super) fn draw(table: &'t Mutex<Table>, dir: &Path) -> Option<Self> {
        let name = name_of(dir);
        let mut locked = table.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = dir.symlink_metadata().is_err() && locked.in_hand.insert(name.clone());
        // Not made when it is not free: its end would take the name from whoever has it.
        is_free.then(|| Self { table, name })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.lock().in_hand.remove(&self.name);
    }
}
