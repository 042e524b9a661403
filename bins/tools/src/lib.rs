//! Programs of a developer's and a release manager's day: each a module with an entry point.

mod perf;
mod perfrun;

use farmer_cli::Program;

/// The programs of the group, by name.
pub const PROGRAMS: &[(&str, Program)] = &[("perf", perf::main), ("perfrun", perfrun::main)];
