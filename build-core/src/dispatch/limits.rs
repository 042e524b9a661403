//! How long a command may take: one table, set by the patience of the pool whose machine it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Dispatcher;
use crate::engine::Command;
use crate::ids::{HolderId, LeaseId, MachineId};
use crate::pool::Patience;
use crate::schedule::Machine;

/// How much later than its limit an answer may come. A command without an answer by then is given
/// again: whoever carried it out is gone, or has lost the answer.
const LATE: Duration = Duration::from_secs(2 * 60);

/// How long whoever carries out a command may take. After that they give it up and say so.
pub(super) fn limit(command: &Command, patience: &Patience) -> Duration {
    match command {
        Command::Run { exec, .. } => exec.timeout.unwrap_or_default() + patience.answer * 2,
        Command::Prepare { .. } | Command::Keep { .. } => patience.copy,
        Command::Acquire { .. } => patience.start,
        _ => patience.answer,
    }
}

/// When the answer to a command with that limit is overdue.
pub(super) fn overdue(limit: Duration) -> Duration {
    limit + LATE
}

/// The patience of pools that have another one than most.
#[derive(Default)]
pub(super) struct Patiences(BTreeMap<MachineId, Patience>);

impl Patiences {
    fn of(&self, machine: &MachineId) -> Patience {
        self.0.get(machine).copied().unwrap_or_default()
    }

    fn know(&mut self, machines: &[Machine], held: &BTreeSet<MachineId>) {
        self.0.retain(|id, _| held.contains(id));
        for machine in machines {
            match machine.patience() {
                Some(patience) => drop(self.0.insert(machine.id().clone(), patience)),
                None => drop(self.0.remove(machine.id())),
            }
        }
    }
}

impl Dispatcher {
    /// Takes note of how patient the pools of machines are. What is said of one that is held counts
    /// also when it is not offered any more.
    pub(super) fn know_patience(&mut self, machines: &[Machine]) {
        let held = match self.patiences.0.is_empty() {
            true => BTreeSet::new(),
            false => self.held_machines(),
        };
        self.patiences.know(machines, &held);
    }

    fn held_machines(&self) -> BTreeSet<MachineId> {
        let machine = |(lease, holder): (&LeaseId, &HolderId)| {
            let state = &self.builds.get(holder)?.state;
            Some(state.lease(lease)?.record().machine.clone())
        };
        self.leases.iter().filter_map(machine).collect()
    }

    /// How long a command may take.
    pub(super) fn limit_of(&self, command: &Command) -> Duration {
        let machine = match command {
            Command::Acquire { request, .. } => Some(&request.machine),
            Command::Adopt { record, .. } => Some(&record.machine),
            _ => command.lease().and_then(|lease| {
                let state = &self.builds.get(command.key().build())?.state;
                Some(&state.lease(lease)?.record().machine)
            }),
        };
        self.limit_on(command, machine)
    }

    /// How long it may take on a machine.
    pub(super) fn limit_on(&self, command: &Command, machine: Option<&MachineId>) -> Duration {
        let patience = machine.map_or_else(Patience::default, |id| self.patiences.of(id));
        limit(command, &patience)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{build, machines};
    use super::*;
    use crate::ids::{LeaseId, StepName};

    #[test]
    fn the_patience_of_a_pool_sets_every_limit() {
        let slow = Patience {
            start: Duration::from_secs(3600),
            copy: Duration::from_secs(7200),
            answer: Duration::from_secs(60),
        };
        let lease = LeaseId::new("l1").unwrap();
        let release = Command::Release {
            build: build().into(),
            lease: lease.clone(),
            item: None,
            builder: None,
            caches: Vec::new(),
            warm: false,
        };
        let keep = Command::Keep {
            build: build().into(),
            lease,
            step: StepName::new("test").unwrap(),
            artifacts: Vec::new(),
            snapshot: None,
        };
        let limits = [&release, &keep].map(|command| limit(command, &slow).as_secs());
        assert_eq!(limits, [60, 7200]);
        let usual = [&release, &keep].map(|command| limit(command, &Patience::default()).as_secs());
        assert_eq!(usual, [4 * 60, 55 * 60]);
    }

    #[test]
    fn what_is_said_of_a_machine_counts_as_long_as_it_is_held() {
        let slow = Patience {
            start: Duration::from_secs(3600),
            ..Patience::default()
        };
        let mut known = Patiences::default();
        let two: Vec<_> = machines(2).into_iter().map(|m| m.patient(slow)).collect();
        known.know(&two, &BTreeSet::new());
        let held = BTreeSet::from([two[0].id().clone()]);
        known.know(&[], &held);
        assert_eq!(known.of(two[0].id()), slow);
        assert_eq!(known.of(two[1].id()), Patience::default());
        known.know(&machines(1), &held);
        assert_eq!(known.of(two[0].id()), Patience::default(), "it was changed");
    }
}
