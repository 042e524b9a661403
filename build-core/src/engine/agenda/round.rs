//! Units and machines brought together, each time anew: those few for which it is not settled.

use std::collections::{BTreeMap, BTreeSet};

use super::ready::Id;
use super::seat::{Seat, Wait};
use super::{Agenda, Due};
use crate::engine::lease::Phase;
use crate::engine::next::{WANTED_AT_ONCE, unit_of};
use crate::engine::orders::Orders;
use crate::engine::state::BuildState;
use crate::event::Base;

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Units, and machines with a directory that they can run in.
    matches: Vec<(Id, u32)>,
    /// Machines whose own unit runs elsewhere now.
    displaced: BTreeSet<u32>,
    /// Machines that get another unit than the one they were granted for.
    other: BTreeMap<u32, Id>,
    /// Machines whose directories are copied, or will be.
    sources: BTreeSet<u32>,
    /// The machines without work that have a directory in which a unit can run, oldest first.
    by_base: BTreeMap<Option<usize>, Vec<u32>>,
    /// Machines that wait to be filled and can be.
    fills: BTreeSet<u32>,
    /// Machines that were decided by what is here, the last time.
    decided: BTreeSet<u32>,
}

impl Round {
    /// Adds the machines whose orders depend on this.
    pub(super) fn add_undecided(
        &mut self,
        idle: &BTreeSet<u32>,
        loose: &BTreeSet<u32>,
        undecided: &mut BTreeSet<u32>,
    ) {
        undecided.extend(std::mem::take(&mut self.decided));
        undecided.extend(idle.iter().chain(loose).chain(&self.fills));
        undecided.extend(&self.displaced);
        self.decided.extend(loose.iter().chain(&self.displaced));
    }

    /// Whether a machine without a directory has a unit.
    pub(super) fn matched(&self, loose: &BTreeSet<u32>, machine: u32) -> bool {
        let has_own = !loose.contains(&machine) && !self.displaced.contains(&machine);
        has_own || self.other.contains_key(&machine)
    }

    /// Whether a machine with a directory is to run something, or to be copied.
    pub(super) fn uses(&self, machine: u32) -> bool {
        self.sources.contains(&machine) || self.matches.iter().any(|(_, m)| *m == machine)
    }

    fn oldest(&self, base: usize) -> Option<u32> {
        self.by_base.get(&Some(base))?.first().copied()
    }

    /// What a machine that has a unit is filled from; `None` when all directories are busy.
    pub(super) fn filled_from(
        &self,
        (agenda, build): (&Agenda, &BuildState),
        machine: u32,
        seat: &Seat,
    ) -> Option<Base> {
        if let Some(base) = agenda.ordered.filling.get(&seat.lease) {
            return Some(base.clone());
        }
        let base = match (self.other.get(&machine), seat.wait) {
            (Some(unit), _) => build.index.base(unit.0),
            (None, Some(Wait::Fill(base))) => base,
            (None, _) => None,
        };
        match base {
            None => Some(Base::Source),
            Some(base) => {
                let from = agenda.seats.get(&self.oldest(base)?)?;
                Some(Base::CopyOf(from.lease.clone()))
            }
        }
    }
}

impl Agenda {
    /// Gives units to machines.
    pub(super) fn play(&mut self, build: &BuildState) -> Due {
        self.round = Round {
            decided: std::mem::take(&mut self.round.decided),
            by_base: self.idle_by_base(build),
            ..Round::default()
        };
        let taken = self.match_directories();
        self.match_others(&taken);
        self.find_sources(build);
        self.find_fills();
        let mut due = Due {
            wants: self.wanted(build, &taken),
            ..Due::default()
        };
        let Some(item) = build.item() else {
            return due;
        };
        let orders = Orders {
            build,
            item,
            builder: None,
        };
        for ((step, part), machine) in &self.round.matches {
            let lease = self.seats.get(machine).map(|seat| &seat.lease);
            let lease = lease.and_then(|lease| build.lease(lease));
            if let (Some(lease), false) = (lease, self.round.sources.contains(machine)) {
                due.events.extend(orders.start(lease, *step, *part));
            }
        }
        due
    }

    fn idle_by_base(&self, build: &BuildState) -> BTreeMap<Option<usize>, Vec<u32>> {
        let mut by_base: BTreeMap<Option<usize>, Vec<u32>> = BTreeMap::new();
        for machine in &self.idle {
            let lease = self.seats.get(machine).map(|seat| &seat.lease);
            let Some(lease) = lease.and_then(|lease| build.lease(lease)) else {
                continue;
            };
            if self.ready.group(None).is_some() {
                by_base.entry(None).or_default().push(*machine);
            }
            let mut add = |step: usize| by_base.entry(Some(step)).or_default().push(*machine);
            if lease.holds.len() < self.ready.groups() {
                let held = lease.holds.since(0).iter().copied();
                held.filter(|step| self.ready.group(Some(*step)).is_some())
                    .for_each(&mut add);
            } else {
                let bases = self.ready.bases().flatten();
                bases
                    .filter(|step| lease.holds.contains(*step))
                    .for_each(&mut add);
            }
        }
        by_base
    }

    /// In the order of the plan, those first that no machine was granted for; the answer is the
    /// units that were taken.
    fn match_directories(&mut self) -> BTreeSet<Id> {
        let mut taken = BTreeSet::new();
        let mut used = BTreeSet::new();
        let mut groups = Vec::new();
        for (base, machines) in &self.round.by_base {
            let Some(group) = self.ready.group(*base) else {
                continue;
            };
            groups.push((group.units().peekable(), machines.iter().peekable()));
        }
        loop {
            let mut best: Option<(usize, (bool, Id))> = None;
            for (at, (units, machines)) in groups.iter_mut().enumerate() {
                while machines
                    .next_if(|machine| used.contains(*machine))
                    .is_some()
                {}
                if let (Some(unit), Some(_)) = (units.peek(), machines.peek())
                    && best.is_none_or(|(_, known)| *unit < known)
                {
                    best = Some((at, *unit));
                }
            }
            let Some((at, (is_claimed, unit))) = best else {
                break;
            };
            let (units, machines) = &mut groups[at];
            units.next();
            let Some(machine) = machines.next() else {
                break;
            };
            used.insert(*machine);
            taken.insert(unit);
            self.round.matches.push((unit, *machine));
            if is_claimed {
                self.round
                    .displaced
                    .extend(self.ready.claimants(&unit).next());
            }
        }
        taken
    }

    /// The machines without a unit of their own take what is left.
    fn match_others(&mut self, taken: &BTreeSet<Id>) {
        let without = self.loose.union(&self.round.displaced).copied();
        let units = self.ready.free().filter(|unit| !taken.contains(unit));
        self.round.other = without.zip(units).collect();
    }

    /// The directories that are being copied, will be at once, or are to be when a machine has
    /// started.
    fn find_sources(&mut self, build: &BuildState) {
        let mut sources = BTreeSet::new();
        for (from, copies) in &self.copies {
            let matched = |machine: &u32| self.round.matched(&self.loose, *machine);
            if let (Some(from), true) = (self.numbers.get(from), copies.iter().any(matched)) {
                sources.insert(*from);
            }
        }
        for (base, machines) in &self.round.by_base {
            let (Some(_), Some(oldest)) = (base, machines.first()) else {
                continue;
            };
            let of = |wait: Wait| self.waits.range((wait, 0)..=(wait, u32::MAX));
            let mut waiting = of(Wait::Start(*base)).chain(of(Wait::Fill(*base)));
            if waiting.any(|(_, machine)| !self.round.displaced.contains(machine)) {
                sources.insert(*oldest);
            }
        }
        for (machine, (step, _)) in &self.round.other {
            let Some(seat) = self.seats.get(machine) else {
                continue;
            };
            let is_late = match seat.phase {
                Phase::Granted => self.ordered.slow.contains(&seat.lease),
                _ => self.ordered.filling.contains_key(&seat.lease),
            };
            let base = build.index.base(*step).filter(|_| !is_late);
            sources.extend(base.and_then(|base| self.round.oldest(base)));
        }
        self.round.sources = sources;
    }

    fn find_fills(&mut self) {
        let bases = self.round.by_base.keys().copied().chain([None]);
        let bases: BTreeSet<Option<usize>> = bases.collect();
        let of = |base| {
            let wait = Wait::Fill(base);
            self.waits.range((wait, 0)..=(wait, u32::MAX))
        };
        let fills = bases.into_iter().flat_map(of).map(|(_, machine)| *machine);
        self.round.fills = fills.collect();
    }

    /// The first units that wait for a machine whose directory can be filled at once.
    fn wanted(&self, build: &BuildState, taken: &BTreeSet<Id>) -> Vec<crate::plan::Unit> {
        let others: BTreeSet<Id> = self.round.other.values().copied().collect();
        let bases = self.round.by_base.keys().copied().chain([None]);
        let bases: BTreeSet<Option<usize>> = bases.collect();
        let mut wanted = BTreeSet::new();
        for group in bases.into_iter().filter_map(|base| self.ready.group(base)) {
            let free = group
                .free()
                .filter(|unit| !taken.contains(unit) && !others.contains(unit));
            wanted.extend(free.take(WANTED_AT_ONCE));
        }
        let Some(plan) = build.plan() else {
            return Vec::new();
        };
        let first = wanted.into_iter().take(WANTED_AT_ONCE);
        first.map(|unit| unit_of(plan, unit)).collect()
    }
}
