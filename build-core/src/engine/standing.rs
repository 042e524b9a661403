//! Where each step stands, kept up to date: an event costs what it changes.
//!
//! Two walks bring it to rest. Where steps stand follows from the steps they need, so changes
//! walk forward through the plan; whose directory is needed again follows from the steps that go
//! on in it, so changes walk back. Both go by number, so each step is looked at once. Only when
//! a step is given up do the walks influence each other; that is rare, and everything is then
//! found anew as [`super::progress`] says it.

use std::collections::BTreeSet;

use super::index::Index;
use super::progress::StepStatus;
use super::state::BuildState;

/// Whether a step has parts to run, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Active {
    /// None.
    #[default]
    No,
    /// Those that have not run yet.
    Open,
    /// All of it once more: its directory is gone.
    Again,
}

#[derive(Clone, Copy, Debug)]
struct Stand {
    status: StepStatus,
    active: Active,
    /// How many steps that it needs can never pass.
    lost_needs: usize,
    /// How many steps that it needs have not passed, or run again.
    unmet: usize,
    /// How many steps with parts to run go on in its directory.
    wanted_by: usize,
    /// Whether some machine has its directory.
    held: bool,
}

impl Stand {
    const NEW: Self = Self {
        status: StepStatus::Passed,
        active: Active::No,
        lost_needs: 0,
        unmet: 0,
        wanted_by: 0,
        held: false,
    };

    fn is_met(&self) -> bool {
        self.status == StepStatus::Passed && self.active == Active::No
    }
}

/// Where each step stands.
#[derive(Debug, Default)]
pub(super) struct Standing {
    stands: Vec<Stand>,
    forward: BTreeSet<usize>,
    back: BTreeSet<usize>,
    open: usize,
    active: usize,
    /// Steps whose work was lost more often than allowed.
    given_up: BTreeSet<usize>,
    /// Steps of which something is another thing now.
    moved: BTreeSet<usize>,
}

impl Standing {
    pub(super) fn of(build: &BuildState) -> Self {
        let count = build.steps.len();
        Self {
            stands: vec![Stand::NEW; count],
            forward: (0..count).collect(),
            back: (0..count).collect(),
            moved: (0..count).collect(),
            ..Self::default()
        }
    }

    /// Something of a step changed.
    pub(super) fn stir(&mut self, step: usize) {
        self.forward.insert(step);
        self.back.insert(step);
    }

    /// A step's directory is on some machine now, or on none any more.
    pub(super) fn hold(&mut self, index: &Index, step: usize, held: bool) {
        if self.stands[step].held != held {
            self.stands[step].held = held;
            self.back.insert(step);
            let goes_on = |next: &&usize| index.base(**next) == Some(step);
            self.moved
                .extend(index.needed_by(step).iter().filter(goes_on));
        }
    }

    /// Brings everything to rest; the answer is the steps that are to be looked at.
    pub(super) fn settle(&mut self, build: &BuildState) -> BTreeSet<usize> {
        if self.given_up.is_empty() {
            while let Some(step) = self.forward.pop_first() {
                let status = self.status_of(build, step);
                self.update(&build.index, step, status, self.stands[step].active);
            }
            while let Some(step) = self.back.pop_last() {
                match self.active_of(build, step) {
                    Some(active) => {
                        self.update(&build.index, step, self.stands[step].status, active);
                    }
                    None => {
                        self.given_up.insert(step);
                        break;
                    }
                }
            }
        }
        let is_at_rest = self.forward.is_empty() && self.back.is_empty() && !self.is_new_loss();
        if !self.given_up.is_empty() && !is_at_rest {
            self.find_anew(build);
        }
        std::mem::take(&mut self.moved)
    }

    /// A step was given up that still stands as if it were not.
    fn is_new_loss(&self) -> bool {
        let stands_as_lost = |step: &usize| self.stands[*step].status == StepStatus::Failed;
        !self.given_up.iter().all(stands_as_lost)
    }

    fn find_anew(&mut self, build: &BuildState) {
        self.given_up.clear();
        loop {
            let before = self.given_up.len();
            for step in 0..self.stands.len() {
                let status = self.status_of(build, step);
                self.update(&build.index, step, status, Active::No);
            }
            for step in (0..self.stands.len()).rev() {
                match self.active_of(build, step) {
                    Some(active) => {
                        self.update(&build.index, step, self.stands[step].status, active);
                    }
                    None => drop(self.given_up.insert(step)),
                }
            }
            if self.given_up.len() == before {
                break;
            }
        }
        self.forward.clear();
        self.back.clear();
        self.moved.extend(0..self.stands.len());
    }

    fn status_of(&self, build: &BuildState, step: usize) -> StepStatus {
        let planned = build.plan().and_then(|plan| plan.steps.get(step));
        let own = match planned.filter(|_| !self.given_up.contains(&step)) {
            Some(planned) => build.steps[step].status(planned),
            None => StepStatus::Failed,
        };
        match own {
            StepStatus::Waiting if self.stands[step].lost_needs > 0 => StepStatus::Skipped,
            own => own,
        }
    }

    /// `None` when the step is to be given up.
    fn active_of(&self, build: &BuildState, step: usize) -> Option<Active> {
        let (Some(plan), stand, state) = (build.plan(), &self.stands[step], &build.steps[step])
        else {
            return Some(Active::No);
        };
        let is_wanted = state.is_unkept(&plan.steps[step])
            || stand.status == StepStatus::Passed && stand.wanted_by > 0;
        if is_wanted && !stand.held {
            let is_lost = state.reruns >= plan.limits.attempts || stand.lost_needs > 0;
            return (!is_lost).then_some(Active::Again);
        }
        let is_open = stand.status.is_open() && state.waiting().next().is_some();
        Some(if is_open { Active::Open } else { Active::No })
    }

    fn update(&mut self, index: &Index, step: usize, status: StepStatus, active: Active) {
        let before = self.stands[step];
        if (before.status, before.active) == (status, active) {
            return;
        }
        let stand = &mut self.stands[step];
        (stand.status, stand.active) = (status, active);
        let after = *stand;
        self.moved.insert(step);
        self.back.insert(step);
        count(&mut self.open, before.status.is_open(), status.is_open());
        count(
            &mut self.active,
            before.active != Active::No,
            active != Active::No,
        );
        if before.status.is_lost() != status.is_lost() || before.is_met() != after.is_met() {
            for next in index.needed_by(step) {
                let needing = &mut self.stands[*next];
                count(
                    &mut needing.lost_needs,
                    before.status.is_lost(),
                    status.is_lost(),
                );
                if before.is_met() != after.is_met() {
                    needing.unmet = match after.is_met() {
                        true => needing.unmet.saturating_sub(1),
                        false => needing.unmet + 1,
                    };
                    self.moved.insert(*next);
                }
                if before.status.is_lost() != status.is_lost() {
                    self.forward.insert(*next);
                    self.back.insert(*next);
                }
            }
        }
        if let Some(base) = index.base(step)
            && (before.active == Active::No) != (active == Active::No)
        {
            count(
                &mut self.stands[base].wanted_by,
                before.active != Active::No,
                active != Active::No,
            );
            self.back.insert(base);
        }
    }

    pub(super) fn status(&self, step: usize) -> StepStatus {
        self.stands[step].status
    }

    /// Whether parts of a step can run now, and which.
    pub(super) fn ready(&self, index: &Index, step: usize) -> Active {
        let stand = &self.stands[step];
        let has_base = index.base(step).is_none_or(|base| self.stands[base].held);
        match has_base && stand.unmet == 0 && !index.lacks(step) {
            true => stand.active,
            false => Active::No,
        }
    }

    /// Whether nothing runs, and nothing will.
    pub(super) fn is_over(&self) -> bool {
        self.open == 0 && self.active == 0
    }

    pub(super) fn given_up(&self) -> &BTreeSet<usize> {
        &self.given_up
    }
}

fn count(counter: &mut usize, before: bool, after: bool) {
    match (before, after) {
        (false, true) => *counter += 1,
        (true, false) => *counter = counter.saturating_sub(1),
        _ => {}
    }
}
