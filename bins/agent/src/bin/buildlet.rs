//! The buildlet as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    farmer_agent::buildlet::main(std::env::args_os().skip(1))
}
