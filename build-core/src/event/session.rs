//! What happens to sessions.

use super::build::{BuildEvent, LeaseEnd, Outcome};
use super::principal::Principal;
use crate::ids::{BuilderName, LeaseId, MachineId};
use crate::plan::Unit;

events! {
    /// What happened to a session. After its beginning the same as happens to a build that
    /// holds a machine.
    pub enum SessionEvent of SESSION {
        /// A machine was asked for, to be used by hand.
        Opened = "opened" must {
            /// The builder whose machine it is.
            builder: BuilderName,
            /// For whom.
            by: Principal,
            /// What whoever uses it calls it; `None` when it has its id alone.
            @(default, skip_serializing_if = "Option::is_none")
            name: Option<String>,
        },
        /// As [`BuildEvent::Leased`].
        Leased = "leased" must {
            /// The right to it.
            lease: LeaseId,
            /// The machine.
            machine: MachineId,
            /// What it was granted for.
            unit: Unit,
        },
        /// As [`BuildEvent::Ready`].
        Ready = "ready" must {
            /// The lease.
            lease: LeaseId,
            /// Where it answers.
            place: String,
        },
        /// As [`BuildEvent::LeaseEnded`].
        LeaseEnded = "lease_ended" must {
            /// The lease.
            lease: LeaseId,
            /// Why.
            reason: LeaseEnd,
        },
        /// As [`BuildEvent::CancelRequested`].
        CancelRequested = "cancel_requested" must {
            /// Who.
            by: Principal,
        },
        /// As [`BuildEvent::Finished`].
        Finished = "finished" must {
            /// How it ended.
            outcome: Outcome,
        },
    }
}

impl SessionEvent {
    /// What happens to a session as it does to a build; `None` for what happens to builds only.
    pub(crate) fn of(event: BuildEvent) -> Option<Self> {
        Some(match event {
            BuildEvent::Leased {
                lease,
                machine,
                unit,
            } => Self::Leased {
                lease,
                machine,
                unit,
            },
            BuildEvent::Ready { lease, place } => Self::Ready { lease, place },
            BuildEvent::LeaseEnded { lease, reason } => Self::LeaseEnded { lease, reason },
            BuildEvent::CancelRequested { by } => Self::CancelRequested { by },
            BuildEvent::Finished { outcome } => Self::Finished { outcome },
            _ => return None,
        })
    }

    /// The same as it happens to a build; `None` for the beginning.
    pub fn into_build(self) -> Option<BuildEvent> {
        Some(match self {
            Self::Opened { .. } => return None,
            Self::Leased {
                lease,
                machine,
                unit,
            } => BuildEvent::Leased {
                lease,
                machine,
                unit,
            },
            Self::Ready { lease, place } => BuildEvent::Ready { lease, place },
            Self::LeaseEnded { lease, reason } => BuildEvent::LeaseEnded { lease, reason },
            Self::CancelRequested { by } => BuildEvent::CancelRequested { by },
            Self::Finished { outcome } => BuildEvent::Finished { outcome },
        })
    }
}
