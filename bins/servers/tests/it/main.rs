//! The programs as people run them.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::ffi::OsStr;
use std::process::Command;

/// A program of the group, to be given its arguments.
fn program(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farmer-servers"));
    command.arg(name);
    command
}

#[test]
fn an_unknown_program_is_told_with_the_known_ones() {
    let done = program("nothing").arg(OsStr::new("x")).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(told.contains("name one of its programs"), "{told}");
}

mod certificates;
mod dns;
mod door;
mod gitmirror;
mod go_peers;
mod hooks;
mod peer;
mod perfdata;
mod pubsubhelper;
#[path = "../../../tools/tests/it/s3.rs"]
mod s3;
mod tip;
mod vcweb;
