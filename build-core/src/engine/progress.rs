//! Where each step stands, and what of it is to be run: the rule, said for all steps at once.
//! [`super::standing`] keeps the same answer up to date.

use std::collections::BTreeSet;

use super::lease::{LeaseState, Phase};
use super::ordered::Ordered;
use super::state::BuildState;
use super::step::{StepState, UnitState, UnitStatus};
use crate::ids::StepName;
use crate::plan::{Part, Plan, Step};

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepStatus {
    /// It waits for steps it needs, or for a machine.
    Waiting,
    /// A unit of it runs, or its files are being kept.
    Running,
    /// All of it passed.
    Passed,
    /// Something of it failed for good, and nothing of it runs any more.
    Failed,
    /// A step that it needs failed.
    Skipped,
}

impl StepStatus {
    /// Whether something of it runs, or will.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }

    /// Whether nothing that needs it can run.
    pub(super) fn is_lost(self) -> bool {
        matches!(self, Self::Failed | Self::Skipped)
    }
}

impl BuildState {
    /// Where a step stands; `None` when the plan has no such step.
    pub fn step_status(&self, name: &StepName) -> Option<StepStatus> {
        let progress = Progress::of(self, self.plan()?, &Ordered::default());
        progress.status.get(self.index.number(name)?).copied()
    }
}

/// What follows for the steps of a plan, by number, from the state of their build.
pub(super) struct Progress {
    pub(super) status: Vec<StepStatus>,
    /// Parts to run.
    parts: Vec<Vec<Part>>,
    /// Steps that passed, whose work was lost with its machine more often than allowed.
    pub(super) given_up: BTreeSet<usize>,
}

impl Progress {
    pub(super) fn of(build: &BuildState, plan: &Plan, ordered: &Ordered) -> Self {
        let mut progress = Self {
            status: Vec::new(),
            parts: Vec::new(),
            given_up: BTreeSet::new(),
        };
        // Giving up a step skips others, which may need less: repeated until nothing changes.
        loop {
            let before = progress.given_up.len();
            progress.find_status(build, plan);
            progress.find_parts(build, plan, ordered);
            if progress.given_up.len() == before {
                return progress;
            }
        }
    }

    fn find_status(&mut self, build: &BuildState, plan: &Plan) {
        self.status.clear();
        for (at, (step, state)) in plan.steps.iter().zip(&build.steps).enumerate() {
            let own = match self.given_up.contains(&at) {
                true => StepStatus::Failed,
                false => own_status(step, state),
            };
            let skipped = own == StepStatus::Waiting && self.lacks_need(build, at);
            self.status
                .push(if skipped { StepStatus::Skipped } else { own });
        }
    }

    /// Whether a step can never run again because one that it needs failed.
    fn lacks_need(&self, build: &BuildState, step: usize) -> bool {
        let mut needs = build.index.needs(step).iter();
        needs.any(|need| self.status[*need].is_lost())
    }

    /// From the last step to the first: a step whose directory is needed and gone runs again.
    fn find_parts(&mut self, build: &BuildState, plan: &Plan, ordered: &Ordered) {
        self.parts = vec![Vec::new(); plan.steps.len()];
        let mut directories = BTreeSet::new();
        for (at, (step, state)) in plan.steps.iter().zip(&build.steps).enumerate().rev() {
            let status = self.status[at];
            let is_wanted =
                is_unkept(step, state) || status == StepStatus::Passed && directories.contains(&at);
            let is_again = is_wanted && build.holder(at, ordered).is_none();
            let parts = if is_again {
                vec![first_part(step)]
            } else if status.is_open() {
                waiting_parts(step, state)
            } else {
                Vec::new()
            };
            if parts.is_empty() {
                continue;
            }
            if is_again && (state.reruns >= plan.limits.attempts || self.lacks_need(build, at)) {
                self.given_up.insert(at);
                continue;
            }
            directories.extend(build.index.base(at));
            self.parts[at] = parts;
        }
    }

    /// The units that can run now, in the order of the plan.
    pub(super) fn ready(&self, build: &BuildState, ordered: &Ordered) -> Vec<(usize, Part)> {
        let mut units = Vec::new();
        for (at, parts) in self.parts.iter().enumerate() {
            let passed = |need: &usize| {
                self.status[*need] == StepStatus::Passed && self.parts[*need].is_empty()
            };
            let base = build.index.base(at);
            let has_base = base.is_none_or(|need| build.holder(need, ordered).is_some());
            if has_base && !build.index.lacks(at) && build.index.needs(at).iter().all(passed) {
                units.extend(parts.iter().map(|part| (at, *part)));
            }
        }
        units
    }

    /// Whether nothing runs, and nothing will.
    pub(super) fn is_over(&self) -> bool {
        self.parts.iter().all(Vec::is_empty) && !self.status.iter().any(|s| s.is_open())
    }
}

impl BuildState {
    /// The machines whose work directories have the results of `step`, the oldest first.
    pub(super) fn holders<'s>(&'s self, step: usize, ordered: &Ordered) -> Vec<&'s LeaseState> {
        let is_holder = |lease: &&LeaseState| {
            lease.phase == Phase::Prepared
                && lease.holds.contains(step)
                && !ordered.leaving.contains(&lease.record.lease)
        };
        let mut holders: Vec<_> = self.leases().filter(is_holder).collect();
        holders.sort_by_key(|lease| lease.order);
        holders
    }

    /// The oldest of them.
    pub(super) fn holder(&self, step: usize, ordered: &Ordered) -> Option<&LeaseState> {
        self.holders(step, ordered).into_iter().next()
    }
}

fn first_part(step: &Step) -> Part {
    if step.tests.is_some() {
        Part::List
    } else {
        Part::Whole
    }
}

/// The parts that make up a step, as far as they are known.
fn parts_of(step: &Step, state: &StepState) -> Vec<Part> {
    let shards = state.shards().map_or(0, <[_]>::len);
    std::iter::once(first_part(step))
        .chain((0u32..).take(shards).map(Part::Shard))
        .collect()
}

fn own_status(step: &Step, state: &StepState) -> StepStatus {
    let parts = parts_of(step, state);
    let any = |wanted: fn(&UnitStatus) -> bool| {
        parts
            .iter()
            .filter_map(|part| state.units.get(part))
            .any(|unit| wanted(unit.status()))
    };
    if any(|s| matches!(s, UnitStatus::Running { .. })) {
        StepStatus::Running
    } else if any(|s| *s == UnitStatus::Waiting) {
        StepStatus::Waiting
    } else if any(|s| *s == UnitStatus::Failed) {
        StepStatus::Failed
    } else if step.tests.is_some() && state.shards().is_none() {
        StepStatus::Waiting
    } else if is_unkept(step, state) {
        StepStatus::Running
    } else {
        StepStatus::Passed
    }
}

/// Whether all units passed and the files of the step are not kept yet.
pub(super) fn is_unkept(step: &Step, state: &StepState) -> bool {
    let listed = step.tests.is_none() || state.shards().is_some();
    let passed = |part| {
        state
            .units
            .get(part)
            .is_some_and(|u| *u.status() == UnitStatus::Passed)
    };
    step.keeps() && !state.kept && listed && parts_of(step, state).iter().all(passed)
}

fn waiting_parts(step: &Step, state: &StepState) -> Vec<Part> {
    let is_waiting = |part: &Part| match state.units.get(part).map(UnitState::status) {
        Some(UnitStatus::Waiting) => true,
        // The listing ended, but what it printed was not recorded.
        Some(UnitStatus::Passed) => *part == Part::List && state.shards().is_none(),
        _ => false,
    };
    parts_of(step, state)
        .into_iter()
        .filter(is_waiting)
        .collect()
}
