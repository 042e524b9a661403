//! Toolchains by name: one program that is `go1.8`, `go1.11beta1`, `gotip`.

use farmer_cli::Program;

/// The programs of the group, by name.
pub const PROGRAMS: &[(&str, Program)] = &[];
