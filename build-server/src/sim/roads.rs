//! Machines that register: they are cut off, come back with all that they run, or were started
//! again meanwhile, or another one has come under their name.

use std::time::Duration;

use build_core::engine::Command;
use build_core::ids::{ExecId, LeaseId};

use super::faults::Faults;
use super::happenings::Happening;
use super::world::{Held, World};

/// How often something looks whether a machine that is away has come back, in milliseconds.
const LOOKS: (u64, u64) = (100, 5_000);
/// How long a machine is away at most, in milliseconds: longer than its lease.
const AWAY: u64 = 300_000;

impl World {
    /// A machine that registers is cut off, or another one of its name asks to come in.
    pub(super) fn trouble_on_roads(&mut self) {
        if !self.fault(Faults::CUT, 120) {
            return;
        }
        let machine = self.rng.below(0..self.machines.len() as u64) as usize;
        let it = &mut self.machines[machine];
        if !it.registers || !it.alive || it.away {
            return;
        }
        it.away = true;
        let after = self.between(1, AWAY);
        self.plan(after, Happening::Return { machine });
    }

    /// A machine is there again. What has ended on it meanwhile is told; when it was started
    /// again, or another one has its name now, everything from before has ended.
    pub(super) fn comes_back(&mut self, at: usize) -> Held {
        let is_new = self.rng.chance(200);
        let machine = &mut self.machines[at];
        if !machine.away {
            return Ok(());
        }
        machine.away = false;
        if is_new {
            machine.held = None;
            return self.announce();
        }
        let Some(held) = &mut machine.held else {
            return self.announce();
        };
        let lease = held.lease.clone();
        let ended = held.execs.iter_mut().filter(|(_, e)| e.outcome.is_some());
        let told: Vec<(ExecId, _)> = ended
            .filter_map(|(id, exec)| Some((id.clone(), exec.follower.take()?)))
            .collect();
        for (id, (epoch, key)) in told {
            self.tell_follower(at, &lease, &id, epoch, key);
        }
        self.announce()
    }

    /// Whether a command waits, because its machine is away and may come back with what it holds.
    pub(super) fn waits_for_its_machine(&mut self, command: &Command) -> bool {
        let lease = match command {
            Command::Adopt { record, .. } => &record.lease,
            Command::Prepare { lease, .. }
            | Command::Run { lease, .. }
            | Command::Kill { lease, .. }
            | Command::Keep { lease, .. } => lease,
            _ => return false,
        };
        self.is_away(lease)
    }

    /// Whether the machine that a lease holds is away.
    pub(super) fn is_away(&self, lease: &LeaseId) -> bool {
        let holds = |held: &super::machine::Held| held.lease == *lease;
        let mut machines = self.machines.iter();
        machines.any(|m| m.away && m.held.as_ref().is_some_and(holds))
    }

    /// The same command a little later.
    pub(super) fn later(&mut self, epoch: u64, command: Command) {
        let after: Duration = self.between(LOOKS.0, LOOKS.1);
        self.plan(
            after,
            Happening::Work {
                epoch,
                command: Box::new(command),
            },
        );
    }
}
