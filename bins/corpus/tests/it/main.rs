//! The programs as people run them.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod daemon;
mod go_newest;
mod go_peers;
mod gopherstats;
mod gostats;
mod maintnerd;
mod maintq;
mod reviews;
mod serve;
mod updatecontrib;

use std::path::Path;
use std::process::Command;

/// What a program printed, and its exit code.
struct Ran {
    out: String,
    err: String,
    code: Option<i32>,
}

fn run(program: &str, args: &[&dyn AsRef<Path>]) -> Ran {
    let args = args.iter().map(|arg| arg.as_ref().as_os_str());
    let done = Command::new(env!("CARGO_BIN_EXE_farmer-corpus"))
        .arg(program)
        .args(args)
        .output()
        .unwrap();
    Ran {
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
        code: done.status.code(),
    }
}
