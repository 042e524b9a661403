//! What every program shares: the log, signals, exit codes, Go-style flags, completions.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use farmer_cli::{Failure, run};
//!
//! fn main() -> ExitCode {
//!     run("hello", false, async |stop| {
//!         tokio::select! {
//!             () = stop.cancelled() => Err(Failure::interrupted()),
//!             () = std::future::ready(()) => Ok(()),
//!         }
//!     })
//! }
//! ```

mod failure;
mod go_flags;
mod manual;
mod run;

pub use failure::{Exit, Failure};
pub use go_flags::double_dashes;
pub use manual::{Shell, completions, man_page};
pub use run::{finish, run};
