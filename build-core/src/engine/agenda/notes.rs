//! What the agenda notes of steps and machines when they changed.

use super::Agenda;
use super::ready::Id;
use super::seat::{Seat, Wait};
use crate::engine::lease::{Holds, Phase};
use crate::engine::standing::{Active, Standing};
use crate::engine::state::BuildState;
use crate::event::Base;
use crate::ids::LeaseId;

impl Agenda {
    /// Looks at what was touched.
    pub(super) fn catch_up(&mut self, build: &BuildState) {
        if std::mem::take(&mut self.everything) {
            self.standing = Standing::of(build);
            self.leases
                .extend(build.leases().map(|l| l.record().lease.clone()));
        }
        for step in std::mem::take(&mut self.whole_steps) {
            self.note_step(build, step);
            self.place_units(build, step);
        }
        let parts = std::mem::take(&mut self.steps);
        for step in parts.keys() {
            self.note_step(build, *step);
        }
        for lease in std::mem::take(&mut self.leases) {
            self.note_lease(build, &lease);
        }
        for step in self.standing.settle(build) {
            self.note_step_status(build, step);
            self.place_units(build, step);
        }
        for (step, parts) in parts {
            let active = self.standing.ready(&build.index, step);
            for part in parts {
                let can_run = match active {
                    Active::No => false,
                    Active::Open => build.steps[step].waits(part),
                    Active::Again => part == build.steps[step].first(),
                };
                self.ready
                    .set((step, part), build.index.base(step), can_run);
                self.pair(build, (step, part));
            }
        }
    }

    /// Something of a step is another thing now: where it stands follows later.
    fn note_step(&mut self, build: &BuildState, step: usize) {
        self.standing.stir(step);
        self.note_keeper(build, step);
    }

    /// Who keeps the files of a step, if they are to be kept.
    fn note_keeper(&mut self, build: &BuildState, step: usize) {
        let planned = build.plan().and_then(|plan| plan.steps.get(step));
        let Some(planned) = planned.filter(|planned| planned.keeps()) else {
            return;
        };
        let holders: Vec<u32> = self
            .holders
            .get(&step)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        let mut keeper = match build.steps[step].is_unkept(planned) {
            true => holders.first().copied(),
            false => None,
        };
        for machine in holders {
            let keeps = keeper.take_if(|keeper| *keeper == machine).is_some();
            self.keep(machine, step, keeps);
        }
    }

    fn keep(&mut self, machine: u32, step: usize, keeps: bool) {
        let Some(seat) = self.seats.get_mut(&machine) else {
            return;
        };
        let changed = match keeps {
            true => seat.keeps.insert(step),
            false => seat.keeps.remove(&step),
        };
        if changed {
            self.undecided.insert(machine);
            self.note_idle(machine);
        }
    }

    fn note_idle(&mut self, machine: u32) {
        match self.seats.get(&machine).is_some_and(Seat::is_idle) {
            true => self.idle.insert(machine),
            false => self.idle.remove(&machine),
        };
    }

    /// A step is open now, or not any more: directories are needed for it, or not.
    fn note_step_status(&mut self, build: &BuildState, step: usize) {
        let is_open = self.standing.status(step).is_open();
        let changed = match is_open {
            true => self.open.insert(step),
            false => self.open.remove(&step),
        };
        let Some(plan) = build.plan().filter(|_| changed) else {
            return;
        };
        let own = Some(step).filter(|step| plan.steps[*step].keeps());
        for need in build.index.base(step).into_iter().chain(own) {
            let demand = self.demand.entry(need).or_default();
            let before = *demand;
            *demand = match is_open {
                true => before + 1,
                false => before.saturating_sub(1),
            };
            let needed = *demand > 0;
            if needed == (before > 0) {
                continue;
            }
            for machine in self.holders.get(&need).into_iter().flatten() {
                if let Some(seat) = self.seats.get_mut(machine) {
                    match needed {
                        true => seat.needed.insert(need),
                        false => seat.needed.remove(&need),
                    };
                }
            }
        }
    }

    /// Which units of a step can run.
    fn place_units(&mut self, build: &BuildState, step: usize) {
        let base = build.index.base(step);
        let state = &build.steps[step];
        let changed = match self.standing.ready(&build.index, step) {
            Active::No => self.ready.replace(step, base, std::iter::empty()),
            Active::Open => self.ready.replace(step, base, state.waiting()),
            Active::Again => self
                .ready
                .replace(step, base, std::iter::once(state.first())),
        };
        for unit in changed {
            self.pair(build, unit);
        }
    }

    /// Which of the machines that were granted for a unit is to run it.
    fn pair(&mut self, build: &BuildState, unit: Id) {
        let can_run = self.ready.contains(&unit);
        let claimants: Vec<u32> = self.ready.claimants(&unit).collect();
        for (at, machine) in claimants.into_iter().enumerate() {
            let is_loose = !(can_run && at == 0);
            let changed = match is_loose {
                true => self.loose.insert(machine),
                false => self.loose.remove(&machine),
            };
            if changed {
                self.undecided.insert(machine);
            }
            self.note_wait(build, machine);
        }
    }

    fn note_wait(&mut self, build: &BuildState, machine: u32) {
        let is_loose = self.loose.contains(&machine);
        let Some(seat) = self.seats.get_mut(&machine) else {
            return;
        };
        let base = build.index.base(seat.unit.0);
        let wait = match seat.phase {
            _ if is_loose || seat.leaving => None,
            Phase::Granted if self.ordered.slow.contains(&seat.lease) => None,
            Phase::Granted => Some(Wait::Start(base)),
            Phase::Ready if self.ordered.filling.contains_key(&seat.lease) => None,
            Phase::Ready => Some(Wait::Fill(base)),
            Phase::Prepared => None,
        };
        if let Some(before) = seat.wait.take() {
            self.waits.remove(&(before, machine));
        }
        self.waits.extend(wait.map(|wait| (wait, machine)));
        seat.wait = wait;
    }

    /// Looks at a machine that is another one now.
    fn note_lease(&mut self, build: &BuildState, id: &LeaseId) {
        let Some(lease) = build.lease(id) else {
            return self.forget(build, id);
        };
        let machine = lease.order;
        if !self.numbers.contains_key(id) {
            let Some(step) = build.index.number(&lease.unit.step) else {
                return;
            };
            let unit = (step, lease.unit.part);
            self.numbers.insert(id.clone(), machine);
            self.seats.insert(machine, Seat::new(id.clone(), unit));
            self.claim(build, machine, unit, true);
        }
        let Some(seat) = self.seats.get_mut(&machine) else {
            return;
        };
        let (was_running, was_unprepared) = (seat.running, seat.is_unprepared());
        seat.phase = lease.phase;
        seat.running = lease.running.is_some();
        seat.leaving = self.ordered.leaving.contains(id);
        let (runs, unit) = (seat.running, seat.unit);
        let (is_unprepared, is_leaving) = (seat.is_unprepared(), seat.leaving);
        match (was_running, runs) {
            (false, true) => self.running += 1,
            (true, false) => self.running -= 1,
            _ => {}
        }
        if was_unprepared && !is_unprepared {
            self.claim(build, machine, unit, false);
        }
        match self.ordered.filling.get(id) {
            Some(Base::CopyOf(from)) if is_unprepared => {
                let copies = self.copies.entry(from.clone()).or_default();
                copies.insert(machine);
            }
            Some(_) if !is_unprepared => self.filled(id, machine),
            _ => {}
        }
        if is_leaving {
            self.let_go(build, machine, &lease.holds);
        } else if lease.phase == Phase::Prepared {
            self.note_holds(build, machine, &lease.holds);
        }
        self.note_wait(build, machine);
        self.note_idle(machine);
        self.undecided.insert(machine);
    }

    /// A directory is filled, or will not be.
    fn filled(&mut self, id: &LeaseId, machine: u32) {
        let Some(Base::CopyOf(from)) = self.ordered.filling.remove(id) else {
            return;
        };
        if let Some(copies) = self.copies.get_mut(&from) {
            copies.remove(&machine);
            if copies.is_empty() {
                self.copies.remove(&from);
            }
        }
    }

    fn claim(&mut self, build: &BuildState, machine: u32, unit: Id, more: bool) {
        self.ready
            .claim(unit, build.index.base(unit.0), machine, more);
        if !more {
            self.loose.remove(&machine);
        }
        self.pair(build, unit);
    }

    /// What came into a directory.
    fn note_holds(&mut self, build: &BuildState, machine: u32, holds: &Holds) {
        let Some(seat) = self.seats.get_mut(&machine) else {
            return;
        };
        let new = holds.since(seat.seen).to_vec();
        seat.seen = holds.len();
        for step in &new {
            if self.demand.get(step).is_some_and(|demand| *demand > 0) {
                seat.needed.insert(*step);
            }
        }
        for step in new {
            self.holders.entry(step).or_default().insert(machine);
            self.standing.hold(&build.index, step, true);
            self.note_keeper(build, step);
        }
    }

    /// What is in the directory of a machine that leaves is there for nobody.
    fn let_go(&mut self, build: &BuildState, machine: u32, holds: &Holds) {
        let Some(seat) = self.seats.get_mut(&machine) else {
            return;
        };
        let seen = std::mem::take(&mut seat.seen);
        seat.needed.clear();
        seat.keeps.clear();
        for step in holds.since(0).iter().take(seen) {
            if let Some(holders) = self.holders.get_mut(step) {
                holders.remove(&machine);
                if holders.is_empty() {
                    self.holders.remove(step);
                    self.standing.hold(&build.index, *step, false);
                }
            }
            self.note_keeper(build, *step);
        }
    }

    /// A machine is not the build's any more.
    fn forget(&mut self, build: &BuildState, id: &LeaseId) {
        self.gone.insert(id.clone());
        let Some(machine) = self.numbers.remove(id) else {
            return;
        };
        if let Some(holds) = build.ended.get(id) {
            self.let_go(build, machine, holds);
        }
        self.filled(id, machine);
        self.ordered.forget(id);
        self.idle.remove(&machine);
        if let Some(seat) = self.seats.remove(&machine) {
            self.running -= usize::from(seat.running);
            if let Some(wait) = seat.wait {
                self.waits.remove(&(wait, machine));
            }
            if seat.is_unprepared() {
                self.claim(build, machine, seat.unit, false);
            }
        }
    }
}
