//! Who gets the next machine.
//!
//! The [`Scheduler`] is a state machine: [`Scheduler::step`] takes what happened and says who
//! gets which machine. Waiters are ordered by the tier and key that a [`Policy`] gave them
//! when they entered; in the tier of changes under review authors take turns. Waiters that
//! need the same, and machines that have the same, share a *shape*: whether they fit is asked
//! once for each pair of shapes. What [`Quotas`] hold back is set aside until a machine of its
//! author or repository is given back. Machines may share capacities, as cores of a cloud
//! ([`Account`]): of what waits for those the first gets its machine, and what is left is kept for
//! it until it is enough, so that small requests never starve a large one. An event costs O(log n) in waiters and machines, and a
//! look at the shapes that fit.

mod capacity;
mod explain;
mod lanes;
mod machine;
mod machines;
mod policy;
mod queue;
mod quotas;
mod scheduler;
mod shapes;
mod sharing;
#[cfg(test)]
mod sharing_tests;
#[cfg(test)]
mod tests;
mod waiter;

pub use capacity::{Account, AccountUse, Draw, Shortage};
pub use explain::{Ahead, Explanation, Hold, SetAside, Supply};
pub use machine::{Labels, Machine};
pub use machines::{MachineState, Shares};
pub use policy::{DefaultPolicy, Fifo, Policy, Rank, Reason};
pub use quotas::{Allotment, FullQuota, Owner, Quotas};
pub use scheduler::{Action, Event, Scheduler};
pub use waiter::{Waiter, WaiterId};
