//! A scheduling rule of one's own: whatever is labelled `hotfix` goes first.

use build_core::clock::Timestamp;
use build_core::schedule::{Machine, Policy, Rank, Reason, Waiter};

#[derive(Clone, Copy)]
pub struct Hotfix;

impl Policy for Hotfix {
    fn rank(&self, item: &Waiter, _now: Timestamp) -> Rank {
        if item.has_label("hotfix") { Rank::FIRST } else { Rank::fifo(item) }
    }

    fn fits(&self, item: &Waiter, machine: &Machine) -> Result<(), Reason> {
        machine.labels().require(item.labels())
    }
}
