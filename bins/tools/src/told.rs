//! Errors of the libraries as ends of a program.

use build_client::{Error, ErrorKind};
use farmer_cli::{Exit, Failure};

/// A library's error as the end of the program: wrong input is bad usage, what was refused or
/// turned out wrong has failed, everything else is the machine's.
pub(crate) fn failure(error: &Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Unsupported => Exit::Usage,
        ErrorKind::Canceled => Exit::Interrupted,
        ErrorKind::Conflict | ErrorKind::Denied | ErrorKind::Corrupt => Exit::Failed,
        _ => Exit::Infrastructure,
    };
    Failure::because(exit, error, error.hint())
}

/// The same, where wrong input is the answer to what was asked: exit code 1.
pub(crate) fn failed(error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Unsupported => {
            Failure::because(Exit::Failed, error, error.hint())
        }
        _ => failure(error),
    }
}
