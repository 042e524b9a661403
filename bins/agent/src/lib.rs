//! The programs that run on build machines.
//!
//! | program | does |
//! |---|---|
//! | [`buildlet`] | takes files, runs commands, gives files back |
//!
//! Each is a function, so that another program can be it: [`PROGRAMS`] is the table.

pub mod buildlet;
mod flags;
mod log;

use std::ffi::OsString;
use std::process::ExitCode;

/// A program: its arguments, without its name, to its exit code.
pub type Program = fn(Vec<OsString>) -> ExitCode;

/// Every program of the group, by name.
pub const PROGRAMS: &[(&str, Program)] = &[("buildlet", |args| buildlet::main(args))];
