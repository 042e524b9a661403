//! What the programs of the group share: arguments in, exit code out.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use farmer_cli::{Exit, Failure};

use crate::out::Out;

/// Parses `args`, which begin after the program's name, and runs `work` on a thread that may block; a signal ends the wait for it.
/// A reader of standard output that goes away has got what it wanted.
pub(crate) fn run<A: Parser + Send + 'static>(
    name: &str,
    args: Vec<OsString>,
    work: impl FnOnce(&A, &mut Out) -> Result<(), Failure> + Send + 'static,
) -> ExitCode {
    let args = std::iter::once(name.into()).chain(args);
    let args = match A::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => return show(&error),
    };
    let work = move || {
        let mut out = Out::new();
        let result = work(&args, &mut out).and_then(|()| Ok(out.flush()?));
        if out.is_closed() { Ok(()) } else { result }
    };
    farmer_cli::run(name, false, async |stop| {
        tokio::select! {
            done = tokio::task::spawn_blocking(work) => done.map_err(|error| {
                Failure::because(Exit::Infrastructure, &error, None)
            })?,
            () = stop.cancelled() => Err(Failure::interrupted()),
        }
    })
}

/// Prints help, version or what is wrong with the arguments.
fn show(error: &clap::Error) -> ExitCode {
    let code = match error.print() {
        Ok(()) => u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8),
        Err(_) => Exit::Infrastructure as u8,
    };
    ExitCode::from(code)
}
