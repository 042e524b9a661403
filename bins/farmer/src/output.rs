//! What the commands share in talking to people and to programs.

use std::io::{self, Write};

use build_core::{Error, ErrorKind};
use farmer_cli::{Exit, Failure};
use serde::Serialize;

/// A library's error as the end of the program: configuration faults are bad usage, everything
/// else is the machine's.
pub(crate) fn failure(error: &Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::Invalid | ErrorKind::NotFound => Exit::Usage,
        ErrorKind::Canceled => Exit::Interrupted,
        _ => Exit::Infrastructure,
    };
    Failure::because(exit, error, error.hint())
}

/// Prints one object on one line of standard output.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut line =
        serde_json::to_vec(value).map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
    line.push(b'\n');
    print_bytes(&line)
}

/// Prints to standard output.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    io::stdout()
        .write_all(bytes)
        .or_else(closed_is_fine)
        .map_err(Failure::from)
}

/// A reader that went away, such as `head`, has seen what it wanted.
fn closed_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Ok(())
    } else {
        Err(error)
    }
}
