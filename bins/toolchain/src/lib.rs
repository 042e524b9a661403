//! Toolchains by name: one program that is `go1.8`, `go1.11beta1`, `gotip`, `node20.11.0`.
//!
//! Cargo cannot build a program whose name has a dot, and a new version must not need a new
//! program: `farmer-toolchain install NAME` makes links, and the program reads its own name.

mod environment;
mod gotip;
mod manage;
mod names;
mod told;
mod wrapper;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use farmer_cli::{Program, finish};

use environment::Environment;

/// The programs of the group with a fixed name; every version is one more, by rule.
pub const PROGRAMS: &[(&str, Program)] =
    &[("farmer-toolchain", manage::main), ("gotip", gotip::main)];

/// The mirrors of toolchains that the environment names, for another program.
///
/// # Errors
/// When a variable is wrong, or a file that it names cannot be read.
pub fn source() -> Result<build_client::toolchain::Source, farmer_cli::Failure> {
    Environment::read()?.source()
}

/// Runs what this process was started as. `args` begin with its own name.
pub fn start(args: Vec<OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let own = args.next().unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    if let Some(code) = name_of(&own).and_then(|name| by_name(name, &args)) {
        return code;
    }
    // `farmer-toolchain go1.9 …` needs no link.
    let named = args.first().and_then(|arg| arg.to_str());
    if let Some(code) = named.and_then(|name| by_name(name, &args[1..])) {
        return code;
    }
    manage::main(args)
}

/// The program's name without directory and `.exe`.
fn name_of(path: &OsStr) -> Option<&str> {
    let name = Path::new(path).file_name()?.to_str()?;
    Some(name.strip_suffix(".exe").unwrap_or(name))
}

/// Runs the toolchain of this name, if it is one.
fn by_name(name: &str, args: &[OsString]) -> Option<ExitCode> {
    if name == "gotip" {
        return Some(gotip::main(args.to_vec()));
    }
    if !name.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    match Environment::read() {
        Ok(environment) => {
            let spec = build_client::toolchain::Spec::parse(name, &environment.rows).ok()?;
            Some(wrapper::main(&spec, &environment, args))
        }
        Err(failure) => Some(finish(name, Err(failure))),
    }
}
