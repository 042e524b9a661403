//! The build as a state machine: a fold of its events, and what follows from the fold.
//!
//! [`BuildState`] is what the recorded events say of one build. [`next`] says what must happen
//! now: events that follow, machines that are wanted, and [`Command`]s to carry out. Both are
//! pure; a build that was interrupted anywhere goes on by folding its events again. What
//! [`next`] says is kept up to date at the cost of what changed by the agenda that the
//! dispatcher has for each build.
//!
//! Work directories. The first unit of a build starts from a checkout of the commit. A step
//! that needs others continues in the directory of the first step it needs; when more of them
//! are ready than directories are idle, and machines are free, the directory is copied. A
//! machine that is idle takes whatever is ready, so a build goes on with one machine. A
//! directory that died with its machine is made again by running its step again.

mod agenda;
mod commands;
mod exec;
mod fold;
mod index;
mod lease;
mod next;
mod ordered;
mod orders;
mod progress;
mod repro;
mod session;
mod standing;
mod state;
mod step;
mod touched;

pub(crate) use agenda::{Agenda, ToMachine};
pub use commands::{Command, CommandKey};
pub use exec::{CHECKOUT_DIR, exec_id};
pub use lease::{LeaseState, Phase};
pub(crate) use next::NO_HOST;
pub use next::{Mode, Next, next};
pub use progress::StepStatus;
pub use repro::Repro;
pub use state::BuildState;
pub use step::{StepState, UnitState, UnitStatus};
