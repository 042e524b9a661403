//! Machines of three kinds that draw from one account.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use build_core::dispatch::Input;
use build_core::engine::BuildState;
use build_core::event::{BuildEvent, Recorded};
use build_core::ids::{AccountName, BuildId, BuilderName, HolderId, HostType, MachineId};
use build_core::schedule::{Account, Draw, Labels, Machine};
use build_core::work::Builder;

use super::check::told;
use super::workload::hash;
use super::world::{Held, World};

/// The kinds of machines, and what each takes. Builders are called as their kinds.
const KINDS: [(&str, u32); 3] = [("sim", 1), ("mid", 2), ("big", 8)];

fn account() -> AccountName {
    AccountName::new("cores").expect("a plain word")
}

fn kind_of(nth: usize) -> (&'static str, u32) {
    KINDS[nth % KINDS.len()]
}

/// The `nth` machine: all are of one kind unless they share an account.
pub(super) fn machine(nth: u32, is_sharing: bool) -> Machine {
    let id = MachineId::new(format!("m{nth}")).expect("a plain word");
    let (kind, units) = kind_of(if is_sharing { nth as usize } else { 0 });
    let machine = Machine::new(
        id,
        HostType::new(kind).expect("a plain word"),
        Labels::default(),
    );
    let units = NonZeroU32::new(units).filter(|_| is_sharing);
    machine.drawing(units.map(|units| Draw {
        account: account(),
        units,
    }))
}

impl World {
    /// The builders of the farm, one for each kind of machine.
    pub(super) fn builders(&self) -> Vec<Builder> {
        let kinds = if self.units.is_some() { KINDS.len() } else { 1 };
        let builder = |(name, _): &(&str, u32)| Builder {
            name: BuilderName::new(name).expect("a plain word"),
            host_type: HostType::new(name).expect("a plain word"),
            labels: BTreeSet::new(),
            env: BTreeMap::new(),
        };
        KINDS[..kinds].iter().map(builder).collect()
    }

    /// The builder that a build is for: of twenty, one needs everything and five need more than one
    /// unit.
    pub(super) fn builder_for(&self, build: &BuildId) -> BuilderName {
        let nth = match hash(build.as_str()) % 20 {
            _ if self.units.is_none() => 0,
            0 => 2,
            1..=5 => 1,
            _ => 0,
        };
        BuilderName::new(KINDS[nth].0).expect("a plain word")
    }

    /// What pools say of accounts.
    pub(super) fn accounts(&self) -> Option<Input> {
        let account = Account::new(account(), self.units?);
        Some(Input::Accounts(vec![account]))
    }

    /// One more machine is about to be given out: together with those that are held, as the log
    /// tells, it is within the account.
    pub(super) fn check_account(&self, machine: &MachineId) -> Held {
        let Some(units) = self.units else {
            return Ok(());
        };
        let takes = |id: &MachineId| {
            let machine = self
                .machine_of(id.as_str())
                .map(|at| &self.machines[at].machine);
            let draws = machine.into_iter().flat_map(Machine::draws);
            draws.map(|draw| draw.units.get()).sum::<u32>()
        };
        let leases = self.folds.values().flat_map(BuildState::leases);
        let held: u32 = leases.map(|lease| takes(&lease.record().machine)).sum();
        let wanted = takes(machine);
        match held + wanted <= units {
            true => Ok(()),
            false => Err(format!(
                "{machine} takes {wanted}, and {held} of {units} were taken"
            )),
        }
    }
}

/// The longest time from the wish for a build until its first machine, of those whose first machine
/// takes so much.
pub(super) fn longest_wait(log: &[Recorded], takes: u32) -> Duration {
    let mut queued: BTreeMap<HolderId, _> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for recorded in log {
        let Some(holder) = recorded.stream.holder() else {
            continue;
        };
        match told(recorded) {
            Some(BuildEvent::Queued { .. }) => {
                queued.insert(holder, recorded.at);
            }
            Some(BuildEvent::Leased { machine, .. }) => {
                let number = machine
                    .as_str()
                    .trim_start_matches('m')
                    .parse()
                    .unwrap_or(0);
                if let Some(since) = queued.remove(&holder)
                    && kind_of(number).1 == takes
                {
                    longest = longest.max(recorded.at.since(since));
                }
            }
            _ => {}
        }
    }
    longest
}
