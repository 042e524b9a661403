//! What the commands share in talking to people and to programs.

use std::io::{self, IsTerminal, Write};

use build_core::{Error, ErrorKind};
use farmer_cli::{Exit, Failure, Screen, json_line, shown_lines};
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
    let line = json_line(value).map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
    write(line.as_bytes())
}

/// Prints sentences and tables, in which people may have written anything.
pub(crate) fn print_text(text: &str) -> Result<(), Failure> {
    write(shown_lines(text).as_bytes())
}

/// Prints what a step has printed: as it is to a file or a program, colours and text to a terminal.
pub(crate) fn print_output(bytes: &[u8]) -> Result<(), Failure> {
    if !io::stdout().is_terminal() {
        return write(bytes);
    }
    let mut screen = Screen::new(Vec::with_capacity(bytes.len()));
    screen.write_all(bytes)?;
    screen.finish()?;
    write(&screen.into_inner())
}

fn write(bytes: &[u8]) -> Result<(), Failure> {
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
