//! Who gets the next machine.

mod machine;
mod policy;
mod waiter;

pub use machine::{Labels, Machine};
pub use policy::{DefaultPolicy, Fifo, Policy, Rank, Reason};
pub use waiter::{Waiter, WaiterId};
