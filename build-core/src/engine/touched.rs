//! What an event changed.

use crate::ids::LeaseId;
use crate::plan::Part;

/// What of a build an event changed, for whoever follows it without looking at all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Touched {
    /// A step, and the only part of it that is another one now; without one: any.
    pub(super) step: Option<(usize, Option<Part>)>,
    pub(super) lease: Option<LeaseId>,
    /// There is a plan now.
    pub(super) plan: bool,
}

impl Touched {
    /// Nothing that counts here.
    pub(super) fn nothing() -> Self {
        Self::default()
    }

    pub(super) fn plan() -> Self {
        Self {
            plan: true,
            ..Self::default()
        }
    }

    pub(super) fn step(step: usize) -> Self {
        Self {
            step: Some((step, None)),
            ..Self::default()
        }
    }

    pub(super) fn part(step: usize, part: Part) -> Self {
        Self {
            step: Some((step, Some(part))),
            ..Self::default()
        }
    }

    pub(super) fn lease(lease: &LeaseId) -> Self {
        Self::default().and(lease)
    }

    pub(super) fn and(mut self, lease: &LeaseId) -> Self {
        self.lease = Some(lease.clone());
        self
    }
}
