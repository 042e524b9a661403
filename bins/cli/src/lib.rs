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

mod aloud;
mod autocert;
mod failure;
mod go_flags;
mod group;
mod manual;
pub mod memory;
mod out;
mod program;
pub mod progress;
mod run;
mod shown;

pub use aloud::log_also_to;
pub use autocert::CertificateArgs;
pub use failure::{Exit, Failure};
pub use go_flags::{dashes_of, dashes_until_word};
pub use group::{Program, find, multi_call};
pub use manual::{Shell, completions, man_page};
pub use out::Out;
pub use program::{blocking, parse, parse_go, serving};
pub use run::{finish, run};
pub use shown::{Screen, json_line, shown, shown_lines};
