//! The programs as people run them.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod buildstats;
mod dashboard;
mod go_peer;
mod gomote;
mod gomote_go;
mod gomote_later;
mod greplogs;
mod keys;
mod people;
mod racebuild;
mod rmplaysnippet;
mod s3;
mod updatestd;
mod upload;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A program of the group, to be given its arguments.
fn program(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farmer-tools"));
    command.arg(name).stdin(Stdio::null());
    command
}

/// What a program printed, and its exit code.
struct Ran {
    out: String,
    err: String,
    code: Option<i32>,
}

impl From<Output> for Ran {
    fn from(done: Output) -> Self {
        Self {
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
            code: done.status.code(),
        }
    }
}

fn run(command: &mut Command) -> Ran {
    command.output().unwrap().into()
}

/// A git command that must succeed; what it printed.
fn git(dir: &Path, args: &[&str]) -> String {
    let done = Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.test",
            "-c",
            "init.defaultBranch=master",
        ])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// The buildlet program of the workspace; `None` when only this package is tested.
fn buildlet() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_farmer-tools")).with_file_name("buildlet");
    if beside.is_file() {
        return Some(beside);
    }
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(
        !in_ci,
        "there is no {}: test the whole workspace",
        beside.display()
    );
    eprintln!("SKIPPED: no machine of this machine: build farmer-agent first");
    None
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn write_program(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    write(path, text);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_unknown_program_is_told_with_the_known_ones() {
    let done = run(program("nothing").arg(OsStr::new("x")));
    assert_eq!(done.code, Some(2));
    assert!(
        done.err.contains("name one of its programs"),
        "{}",
        done.err
    );
}

#[test]
fn every_program_tells_about_itself() {
    for (name, _) in farmer_tools::PROGRAMS {
        let help = run(program(name).arg("--help"));
        assert_eq!(help.code, Some(0), "{name}");
        assert!(help.out.contains("Example"), "{name}: {}", help.out);
        let page =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/programs/{name}.md"));
        assert!(page.is_file(), "{} is missing", page.display());
    }
}

mod perf;
