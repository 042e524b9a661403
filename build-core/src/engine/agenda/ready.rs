//! The units that can run now, by the directory they go on in.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::Part;

/// A unit by the number of its step.
pub(super) type Id = (usize, Part);

/// The units that can run now; some have a machine that is being made ready for them.
#[derive(Debug, Default)]
pub(super) struct Ready {
    all: BTreeSet<Id>,
    /// Those without such a machine.
    free: BTreeSet<Id>,
    groups: BTreeMap<Option<usize>, Group>,
    /// Machines that are not prepared yet, by the unit they were granted for, the oldest first.
    claims: BTreeMap<Id, BTreeSet<u32>>,
}

/// The units that go on in one directory.
#[derive(Debug, Default)]
pub(super) struct Group {
    free: BTreeSet<Id>,
    claimed: BTreeSet<Id>,
}

impl Group {
    /// In the order in which machines take them; each with whether another machine was granted
    /// for it.
    pub(super) fn units(&self) -> impl Iterator<Item = (bool, Id)> {
        let free = self.free.iter().map(|unit| (false, *unit));
        free.chain(self.claimed.iter().map(|unit| (true, *unit)))
    }

    pub(super) fn free(&self) -> impl Iterator<Item = Id> {
        self.free.iter().copied()
    }
}

impl Ready {
    /// Makes the units of a step those of `parts`; the answer is the units that are other ones now.
    pub(super) fn replace(
        &mut self,
        step: usize,
        base: Option<usize>,
        parts: impl Iterator<Item = Part>,
    ) -> Vec<Id> {
        let of_step = (step, Part::Whole)..=(step, Part::Shard(u32::MAX));
        let before: BTreeSet<Id> = self.all.range(of_step).copied().collect();
        let after: BTreeSet<Id> = parts.map(|part| (step, part)).collect();
        let changed: Vec<Id> = before.symmetric_difference(&after).copied().collect();
        for unit in &changed {
            self.set(*unit, base, after.contains(unit));
        }
        changed
    }

    /// Says whether one unit can run.
    pub(super) fn set(&mut self, unit: Id, base: Option<usize>, can_run: bool) {
        let changed = match can_run {
            true => self.all.insert(unit),
            false => self.all.remove(&unit),
        };
        if changed {
            self.place(unit, base);
        }
    }

    /// A machine that is not prepared yet is there for a unit, or not any more.
    pub(super) fn claim(&mut self, unit: Id, base: Option<usize>, machine: u32, more: bool) {
        let of_unit = self.claims.entry(unit).or_default();
        match more {
            true => of_unit.insert(machine),
            false => of_unit.remove(&machine),
        };
        if of_unit.is_empty() {
            self.claims.remove(&unit);
        }
        self.place(unit, base);
    }

    /// Puts a unit where it belongs.
    fn place(&mut self, unit: Id, base: Option<usize>) {
        let group = self.groups.entry(base).or_default();
        group.free.remove(&unit);
        group.claimed.remove(&unit);
        self.free.remove(&unit);
        match (self.all.contains(&unit), self.claims.contains_key(&unit)) {
            (true, true) => drop(group.claimed.insert(unit)),
            (true, false) => {
                group.free.insert(unit);
                self.free.insert(unit);
            }
            (false, _) if group.free.is_empty() && group.claimed.is_empty() => {
                self.groups.remove(&base);
            }
            (false, _) => {}
        }
    }

    pub(super) fn contains(&self, unit: &Id) -> bool {
        self.all.contains(unit)
    }

    /// The machine that was granted for a unit and is being made ready, the oldest one; and all.
    pub(super) fn claimants(&self, unit: &Id) -> impl Iterator<Item = u32> {
        self.claims.get(unit).into_iter().flatten().copied()
    }

    pub(super) fn free(&self) -> impl Iterator<Item = Id> {
        self.free.iter().copied()
    }

    pub(super) fn group(&self, base: Option<usize>) -> Option<&Group> {
        self.groups.get(&base)
    }

    pub(super) fn bases(&self) -> impl Iterator<Item = Option<usize>> {
        self.groups.keys().copied()
    }

    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }
}
