//! `farmer backup` and `farmer restore`: a farm in one file.

use std::path::Path;

use build_core::ErrorKind;
use build_server::backup::{self, Backup as Made};
use farmer_cli::{Exit, Failure, progress};

use crate::cli::{Backup, Restore};
use crate::output::{failure, print_json, print_text};

/// Writes the farm into a file.
pub(crate) async fn backup(args: Backup, data: &Path, json: bool) -> Result<(), Failure> {
    let bar = progress::spinner("backup");
    let told = bar.clone();
    let made = backup::back_up(data, &args.file, move |at| told.set_message(at.to_owned())).await;
    bar.finish_and_clear();
    let made = made.map_err(|e| refusal(&e))?;
    tell(&made, json, &format!("{} holds", args.file.display()))
}

/// Makes a data directory of the file.
pub(crate) async fn restore(args: Restore, data: &Path, json: bool) -> Result<(), Failure> {
    let bar = progress::spinner("restore");
    let told = bar.clone();
    let made = backup::restore(&args.file, data, move |at| told.set_message(at.to_owned())).await;
    bar.finish_and_clear();
    let made = made.map_err(|e| refusal(&e))?;
    tell(&made, json, &format!("{} has again", data.display()))
}

/// Nothing was done; what is named is not as it must be.
fn refusal(error: &build_core::Error) -> Failure {
    match error.kind() {
        ErrorKind::Conflict | ErrorKind::Corrupt | ErrorKind::Unsupported => {
            Failure::because(Exit::Usage, error, error.hint())
        }
        _ => failure(error),
    }
}

fn tell(made: &Made, json: bool, what: &str) -> Result<(), Failure> {
    if json {
        return print_json(made);
    }
    let Made {
        made,
        head,
        files,
        bytes,
    } = made;
    print_text(&format!(
        "{what} events up to {head}, {files} files of {bytes} bytes, as of {made}\n"
    ))
}
