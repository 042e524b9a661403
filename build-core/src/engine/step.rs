//! One step of a build, and its units.

use std::collections::{BTreeMap, BTreeSet};

use super::progress::StepStatus;
use crate::clock::Timestamp;
use crate::ids::{ExecId, LeaseId};
use crate::name::Name;
use crate::plan::{Part, Step};

/// One step of a build.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepState {
    /// The part that comes first: the listing, for a step with shards.
    first: Part,
    pub(super) shards: Option<Vec<Vec<Name>>>,
    pub(super) units: BTreeMap<Part, UnitState>,
    /// Of the parts that make up the step now: those that wait.
    waiting: BTreeSet<Part>,
    /// Of the same: how many run, and how many failed.
    running: u32,
    failed: u32,
    pub(super) kept: bool,
    pub(super) reruns: u32,
}

/// One unit of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitState {
    pub(super) attempts: u32,
    pub(super) lost: u32,
    pub(super) never_started: u32,
    status: UnitStatus,
}

/// Where a unit stands.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum UnitStatus {
    /// It is to be run, for the first time or again.
    #[default]
    Waiting,
    /// It runs.
    Running {
        /// On which machine.
        lease: LeaseId,
        /// As which command.
        exec: ExecId,
        /// Since when.
        since: Timestamp,
    },
    /// It passed.
    Passed,
    /// It will not be run again.
    Failed,
}

impl UnitState {
    /// How often it was started.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Where it stands.
    pub fn status(&self) -> &UnitStatus {
        &self.status
    }

    /// Machines that failed under it, or never came to run it.
    pub fn machine_failures(&self) -> u32 {
        self.lost + self.never_started
    }
}

impl StepState {
    /// The tests of each shard, once they are listed.
    pub fn shards(&self) -> Option<&[Vec<Name>]> {
        self.shards.as_deref()
    }

    /// Its units, as far as they are known.
    pub fn units(&self) -> impl Iterator<Item = (Part, &UnitState)> {
        self.units.iter().map(|(part, unit)| (*part, unit))
    }

    pub(super) fn of(step: &Step) -> Self {
        Self::beginning_with(match step.tests {
            Some(_) => Part::List,
            None => Part::Whole,
        })
    }

    /// A step of which nothing has run.
    pub(super) fn beginning_with(first: Part) -> Self {
        Self {
            first,
            units: BTreeMap::from([(first, UnitState::default())]),
            waiting: BTreeSet::from([first]),
            ..Self::default()
        }
    }

    /// Whether it is made of this part now; shards of an earlier listing are not.
    fn has(&self, part: Part) -> bool {
        match part {
            Part::Shard(n) => self.shards.as_ref().is_some_and(|s| (n as usize) < s.len()),
            other => other == self.first,
        }
    }

    /// Says where a unit stands from now on; one that is not known begins.
    pub(super) fn set(&mut self, part: Part, status: UnitStatus) {
        let counts = self.has(part);
        let unit = self.units.entry(part).or_default();
        let before = std::mem::replace(&mut unit.status, status);
        let after = unit.status.clone();
        if counts {
            self.count(part, &before, false);
            self.count(part, &after, true);
        }
    }

    fn count(&mut self, part: Part, status: &UnitStatus, more: bool) {
        let counter = match status {
            UnitStatus::Waiting => {
                match more {
                    true => self.waiting.insert(part),
                    false => self.waiting.remove(&part),
                };
                return;
            }
            UnitStatus::Running { .. } => &mut self.running,
            UnitStatus::Failed => &mut self.failed,
            UnitStatus::Passed => return,
        };
        *counter = match more {
            true => *counter + 1,
            false => counter.saturating_sub(1),
        };
    }

    /// The tests are listed again; how often each shard was tried stays known.
    pub(super) fn forget_shards(&mut self) {
        self.shards = None;
        for (part, unit) in &mut self.units {
            if matches!(part, Part::Shard(_)) {
                unit.status = UnitStatus::Waiting;
            }
        }
        self.recount();
    }

    /// The tests of each shard are known; the shards wait.
    pub(super) fn split(&mut self, shards: Vec<Vec<Name>>) {
        for (n, _) in (0u32..).zip(&shards) {
            self.units.entry(Part::Shard(n)).or_default().status = UnitStatus::Waiting;
        }
        self.shards = Some(shards);
        self.recount();
    }

    /// One more shard, which waits.
    pub(super) fn add_shard(&mut self, tests: Vec<Name>) -> Option<Part> {
        let shards = self.shards.as_mut()?;
        let part = Part::Shard(u32::try_from(shards.len()).ok()?);
        shards.push(tests);
        self.units.entry(part).or_default().status = UnitStatus::Waiting;
        self.waiting.insert(part);
        Some(part)
    }

    fn recount(&mut self) {
        (self.running, self.failed) = (0, 0);
        self.waiting.clear();
        let parts: Vec<_> = self
            .units
            .iter()
            .filter(|(part, _)| self.has(**part))
            .map(|(part, unit)| (*part, unit.status.clone()))
            .collect();
        for (part, status) in parts {
            self.count(part, &status, true);
        }
    }

    fn is_listed(&self) -> bool {
        self.first != Part::List || self.shards.is_some()
    }

    /// Where it stands by itself, whatever it needs; costs the same for any number of units.
    pub(super) fn status(&self, step: &Step) -> StepStatus {
        if self.running > 0 {
            StepStatus::Running
        } else if !self.waiting.is_empty() {
            StepStatus::Waiting
        } else if self.failed > 0 {
            StepStatus::Failed
        } else if !self.is_listed() {
            StepStatus::Waiting
        } else if self.is_unkept(step) {
            StepStatus::Running
        } else {
            StepStatus::Passed
        }
    }

    /// Whether all units passed and its files are not kept yet.
    pub(super) fn is_unkept(&self, step: &Step) -> bool {
        let is_open = !self.waiting.is_empty() || self.running > 0 || self.failed > 0;
        step.keeps() && !self.kept && self.is_listed() && !is_open
    }

    /// The part that comes first.
    pub(super) fn first(&self) -> Part {
        self.first
    }

    /// Whether a part of it is to be run. A listing is run again when it passed, but what it
    /// printed was not recorded.
    pub(super) fn waits(&self, part: Part) -> bool {
        let is_lost = part == Part::List && part == self.first && self.shards.is_none();
        self.waiting.contains(&part)
            || is_lost
                && self
                    .units
                    .get(&part)
                    .is_some_and(|unit| unit.status == UnitStatus::Passed)
    }

    /// The parts that are to be run, in order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Part> {
        let first = Some(self.first).filter(|first| self.waits(*first));
        let others = self.waiting.iter().copied();
        first
            .into_iter()
            .chain(others.filter(|part| *part != self.first))
    }
}
