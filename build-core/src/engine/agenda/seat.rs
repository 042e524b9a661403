//! What the agenda keeps of one machine.

use std::collections::BTreeSet;

use super::ready::Id;
use crate::engine::lease::Phase;
use crate::ids::LeaseId;

/// One machine, as it was when it was last looked at.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) lease: LeaseId,
    pub(super) phase: Phase,
    /// The unit it was granted for.
    pub(super) unit: Id,
    pub(super) running: bool,
    pub(super) leaving: bool,
    /// How many of the steps in its directory were noted.
    pub(super) seen: usize,
    /// Those of them that an open step goes on from, or keeps files of.
    pub(super) needed: BTreeSet<usize>,
    /// Steps whose files it keeps.
    pub(super) keeps: BTreeSet<usize>,
    /// Where it waits for its directory, if it does.
    pub(super) wait: Option<Wait>,
    /// What was ordered last.
    pub(super) orders: Vec<Order>,
}

impl Seat {
    pub(super) fn new(lease: LeaseId, unit: Id) -> Self {
        Self {
            lease,
            phase: Phase::Granted,
            unit,
            running: false,
            leaving: false,
            seen: 0,
            needed: BTreeSet::new(),
            keeps: BTreeSet::new(),
            wait: None,
            orders: Vec::new(),
        }
    }

    /// Whether it could take a unit: with a directory, and without work.
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Prepared && !self.leaving && !self.works()
    }

    pub(super) fn works(&self) -> bool {
        self.running || !self.keeps.is_empty()
    }

    /// Whether it has no directory yet, and may get one.
    pub(super) fn is_unprepared(&self) -> bool {
        self.phase < Phase::Prepared && !self.leaving
    }
}

/// What a machine with a unit of its own waits for, by the directory that its unit goes on in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// It starts, and is to find the directory idle.
    Start(Option<usize>),
    /// It is to be filled.
    Fill(Option<usize>),
}

/// A command to a machine, as far as one may differ from another.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    Acquire,
    Prepare(crate::event::Base),
    Run(crate::plan::Unit, u32),
    Kill(crate::plan::Unit, u32),
    Keep(usize),
    Release,
}
