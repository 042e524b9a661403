//! Programs over the corpus: each a module with an entry point.

pub mod gostats;
pub mod maintq;
mod out;
mod program;
mod progress;
mod rows;
mod text_format;

use std::process::ExitCode;

/// A program's name and its entry point.
pub type Program = (&'static str, fn() -> ExitCode);

/// The programs of the group.
pub const PROGRAMS: &[Program] = &[("gostats", gostats::main), ("maintq", maintq::main)];
