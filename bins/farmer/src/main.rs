//! The multi-call program: a subcommand, or the name it was started by, chooses what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    farmer::main(std::env::args_os().collect())
}
