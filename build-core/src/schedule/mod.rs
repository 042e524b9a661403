//! Who gets the next machine.

mod machine;
mod policy;
mod scheduler;
mod waiter;

pub use machine::{Labels, Machine};
pub use policy::{DefaultPolicy, Fifo, Policy, Rank, Reason};
pub use scheduler::{Action, Event, Scheduler};
pub use waiter::{Waiter, WaiterId};
