//! One machine of a build, and what its work directory has.

use std::collections::BTreeSet;

use crate::plan::Unit;
use crate::pool::LeaseRecord;

/// How far a machine of a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is being started.
    Granted,
    /// It answers.
    Ready,
    /// Its work directory is filled.
    Prepared,
}

/// One machine of a build.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseState {
    pub(super) record: LeaseRecord,
    pub(super) unit: Unit,
    /// The how manyth of its build, from 1.
    pub(super) order: u32,
    pub(super) phase: Phase,
    /// Steps whose results are in its work directory.
    pub(super) holds: Holds,
    /// Those of them that ran here.
    pub(super) ran: BTreeSet<usize>,
    pub(super) running: Option<Unit>,
}

impl LeaseState {
    /// What is written down of it.
    pub fn record(&self) -> &LeaseRecord {
        &self.record
    }

    /// The unit it was granted for.
    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What runs on it.
    pub fn running(&self) -> Option<&Unit> {
        self.running.as_ref()
    }
}

/// The steps, by their numbers, whose results are in a work directory: they only become more,
/// and whoever follows them looks at the new ones alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Holds {
    all: BTreeSet<usize>,
    in_order: Vec<usize>,
}

impl Holds {
    pub(super) fn insert(&mut self, step: usize) {
        if self.all.insert(step) {
            self.in_order.push(step);
        }
    }

    pub(super) fn contains(&self, step: usize) -> bool {
        self.all.contains(&step)
    }

    pub(super) fn len(&self) -> usize {
        self.in_order.len()
    }

    /// What came after the first `seen` of them.
    pub(super) fn since(&self, seen: usize) -> &[usize] {
        self.in_order.get(seen..).unwrap_or_default()
    }
}
