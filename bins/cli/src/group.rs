//! A group of programs in one file: each is a function, found by name.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use crate::failure::Failure;
use crate::run::finish;

/// A program: its arguments, without its name, to its exit code.
pub type Program = fn(Vec<OsString>) -> ExitCode;

/// The program called `name` in the tables of several groups.
pub fn find<'a>(
    groups: impl IntoIterator<Item = &'a [(&'static str, Program)]>,
    name: &std::ffi::OsStr,
) -> Option<Program> {
    groups
        .into_iter()
        .flatten()
        .find(|(known, _)| *known == name)
        .map(|(_, program)| *program)
}

/// Runs the program of a group that this process was started as, or that its first argument names.
pub fn multi_call(group: &str, programs: &[(&'static str, Program)]) -> ExitCode {
    let mut args = std::env::args_os();
    let own = args.next().unwrap_or_default();
    let own = Path::new(&own).file_stem().map(ToOwned::to_owned);
    let find = |name: &std::ffi::OsStr| find([programs], name);
    if let Some(program) = own.as_deref().and_then(find) {
        return program(args.collect());
    }
    if let Some(program) = args.next().as_deref().and_then(find) {
        return program(args.collect());
    }
    let names: Vec<&str> = programs.iter().map(|(name, _)| *name).collect();
    let failure = Failure::usage(
        "name one of its programs",
        format!("{group} PROGRAM …, where PROGRAM is {}", names.join(", ")),
    );
    finish(group, Err(failure))
}
