//! Servers beside the coordinator: each a module with an entry point.

use farmer_cli::Program;

/// The programs of the group, by name.
pub const PROGRAMS: &[(&str, Program)] = &[];
