//! What was ordered of machines already and cannot be taken back.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Base;
use crate::ids::LeaseId;

/// What the engine has ordered in this process. The log does not say it: the next process asks
/// the machines, and orders anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ordered {
    /// Machines that are being given back: they have no work and no directory any more.
    pub(super) leaving: BTreeSet<LeaseId>,
    /// Directories that are being filled, and from what.
    pub(super) filling: BTreeMap<LeaseId, Base>,
    /// Machines that take long to start: no directory is reserved for them.
    pub(super) slow: BTreeSet<LeaseId>,
}

impl Ordered {
    pub(super) fn forget(&mut self, lease: &LeaseId) {
        self.leaving.remove(lease);
        self.filling.remove(lease);
        self.slow.remove(lease);
    }
}
