//! The build as a state machine: a fold of its events, and what follows from the fold.
//!
//! [`BuildState`] is what the recorded events say of one build. [`next`] says what must happen
//! now: events that follow, machines that are wanted, and [`Command`]s to carry out. Both are
//! pure; a build that was interrupted anywhere goes on by folding its events again.
//!
//! Work directories. The first unit of a build starts from a checkout of the commit. A step
//! that needs others continues in the directory of the first step it needs; when more of them
//! are ready than directories are idle, and machines are free, the directory is copied. A
//! machine that is idle takes whatever is ready, so a build goes on with one machine. A
//! directory that died with its machine is made again by running its step again.

mod commands;
mod exec;
mod next;
mod progress;
mod repro;
mod session;
mod state;

pub use commands::{Command, CommandKey};
pub use exec::{CHECKOUT_DIR, exec_id};
pub use next::{Mode, Next, next};
pub(crate) use next::{NO_HOST, next_beside};
pub use progress::StepStatus;
pub use repro::Repro;
pub use state::{BuildState, LeaseState, Phase, StepState, UnitState, UnitStatus};
