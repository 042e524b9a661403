//! Programs over the corpus: each a module with an entry point.

pub mod gostats;
pub mod maintq;
mod out;
#[cfg(feature = "parquet")]
mod parquet;
mod program;
mod progress;
#[cfg(feature = "sql")]
pub mod query;
mod rows;
#[cfg(feature = "sql")]
mod sql;
mod text_format;

use std::ffi::OsString;
use std::process::ExitCode;

/// A program: its arguments, without its name, to its exit code.
pub type Program = fn(Vec<OsString>) -> ExitCode;

/// The programs of the group, by name.
pub const PROGRAMS: &[(&str, Program)] = &[("gostats", gostats::main), ("maintq", maintq::main)];
