//! Where each step stands, and what of it is to be run.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{BuildState, LeaseState, Phase, StepState, UnitState, UnitStatus};
use crate::ids::StepName;
use crate::plan::{Part, Plan, Step, Unit};

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

impl BuildState {
    /// Where a step stands; `None` when the plan has no such step.
    pub fn step_status(&self, name: &StepName) -> Option<StepStatus> {
        let progress = Progress::of(self, self.plan()?);
        progress.status.get(name).copied()
    }
}

/// What follows for the steps of a plan from the state of their build.
pub(super) struct Progress<'a> {
    pub(super) status: BTreeMap<&'a StepName, StepStatus>,
    /// Parts to run, for steps that have any.
    parts: BTreeMap<&'a StepName, Vec<Part>>,
    /// Steps that passed, whose work was lost with its machine more often than allowed.
    pub(super) given_up: BTreeSet<&'a StepName>,
}

impl<'a> Progress<'a> {
    pub(super) fn of(build: &'a BuildState, plan: &'a Plan) -> Self {
        let mut progress = Self {
            status: BTreeMap::new(),
            parts: BTreeMap::new(),
            given_up: BTreeSet::new(),
        };
        // Giving up a step skips others, which may need less: repeated until nothing changes.
        loop {
            let before = progress.given_up.len();
            progress.find_status(build, plan);
            progress.find_parts(build, plan);
            if progress.given_up.len() == before {
                return progress;
            }
        }
    }

    fn find_status(&mut self, build: &'a BuildState, plan: &'a Plan) {
        for step in &plan.steps {
            let own = match build.step(&step.name) {
                Some(state) if !self.given_up.contains(&step.name) => own_status(step, state),
                _ => StepStatus::Failed,
            };
            let skipped = own == StepStatus::Waiting && self.lacks_need(step);
            self.status
                .insert(&step.name, if skipped { StepStatus::Skipped } else { own });
        }
    }

    /// Whether a step can never run again because one that it needs failed.
    fn lacks_need(&self, step: &Step) -> bool {
        let is_over =
            |status: &StepStatus| matches!(status, StepStatus::Failed | StepStatus::Skipped);
        step.needs
            .iter()
            .any(|need| self.status.get(need).is_some_and(is_over))
    }

    /// From the last step to the first: a step whose directory is needed and gone runs again.
    fn find_parts(&mut self, build: &'a BuildState, plan: &'a Plan) {
        self.parts.clear();
        let mut directories: BTreeSet<&StepName> = BTreeSet::new();
        for step in plan.steps.iter().rev() {
            let Some(state) = build.step(&step.name) else {
                continue;
            };
            let status = self.status[&step.name];
            let is_open = matches!(status, StepStatus::Waiting | StepStatus::Running);
            let is_wanted = is_unkept(step, state)
                || status == StepStatus::Passed && directories.contains(&step.name);
            let is_again = is_wanted && build.holder(&step.name).is_none();
            let parts = if is_again {
                vec![first_part(step)]
            } else if is_open {
                waiting_parts(step, state)
            } else {
                Vec::new()
            };
            if parts.is_empty() {
                continue;
            }
            if is_again && (state.reruns >= plan.limits.attempts || self.lacks_need(step)) {
                self.given_up.insert(&step.name);
                continue;
            }
            directories.extend(step.needs.first());
            self.parts.insert(&step.name, parts);
        }
    }

    /// The units that can run now, in the order of the plan, each with its step.
    pub(super) fn ready(&self, build: &BuildState, plan: &'a Plan) -> Vec<(&'a Step, Unit)> {
        let mut units = Vec::new();
        for step in &plan.steps {
            let passed = |need| {
                self.status.get(need) == Some(&StepStatus::Passed) && !self.parts.contains_key(need)
            };
            let has_base = step
                .needs
                .first()
                .is_none_or(|need| build.holder(need).is_some());
            if !has_base || !step.needs.iter().all(passed) {
                continue;
            }
            for part in self.parts.get(&step.name).into_iter().flatten() {
                units.push((
                    step,
                    Unit {
                        step: step.name.clone(),
                        part: *part,
                    },
                ));
            }
        }
        units
    }

    /// Whether nothing runs, and nothing will.
    pub(super) fn is_over(&self) -> bool {
        let is_open = |s: &StepStatus| matches!(s, StepStatus::Waiting | StepStatus::Running);
        self.parts.is_empty() && !self.status.values().any(is_open)
    }
}

impl BuildState {
    /// The oldest machine whose work directory has the results of `step`.
    pub(super) fn holder(&self, step: &StepName) -> Option<&LeaseState> {
        self.leases()
            .filter(|lease| lease.phase == Phase::Prepared && lease.holds.contains(step))
            .min_by_key(|lease| lease.order)
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
    !step.artifacts.is_empty() && !state.kept && listed && parts_of(step, state).iter().all(passed)
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
