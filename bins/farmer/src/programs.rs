//! Other programs by name: the classic ones inside this program, then `farmer-NAME` on `PATH`.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::ExitCode;

use farmer_cli::{Failure, Program};

use crate::cli::{Cli, Command};

/// The classic programs that are made of this one's own parts.
const PROGRAMS: &[(&str, Program)] = &[
    ("coordinator", crate::coordinator::main),
    ("gomoteserver", crate::gomoteserver::main),
];

/// The program that this one was started as, by its own name.
pub(crate) fn by_own_name(argv0: Option<&OsString>) -> Option<Program> {
    find(Path::new(argv0?).file_name()?)
}

fn find(name: &OsStr) -> Option<Program> {
    let groups = [
        PROGRAMS,
        farmer_agent::PROGRAMS,
        farmer_corpus::PROGRAMS,
        farmer_servers::PROGRAMS,
        farmer_tools::PROGRAMS,
    ];
    farmer_cli::find(groups, name)
}

/// The arguments of gomote that a command stands for, if it does.
pub(crate) fn of_gomote(cli: &Cli) -> Option<Vec<OsString>> {
    let (words, args): (&[&str], _) = match &cli.command {
        Command::Repro { args } => (&["repro"], args),
        Command::Ssh { args } => (&["repro", "-shell"], args),
        _ => return None,
    };
    let mut all = Vec::new();
    if let Some(data) = &cli.common.data {
        all.extend(["-data".into(), data.into()]);
    }
    if cli.common.json {
        all.push("-json".into());
    }
    all.extend(words.iter().map(OsString::from));
    all.extend(args.iter().cloned());
    Some(all)
}

/// Runs the program named by the first argument with the others; answers only when there is none.
pub(crate) fn run(args: &[OsString]) -> Result<ExitCode, Failure> {
    let Some((name, rest)) = args.split_first() else {
        return Err(Failure::usage("no command was given", "see: farmer --help"));
    };
    if let Some(program) = find(name) {
        return Ok(program(rest.to_vec()));
    }
    let mut file = OsString::from("farmer-");
    file.push(name);
    // Becomes the other program; comes back only when that cannot be.
    let error = std::process::Command::new(&file).args(rest).exec();
    let name = name.to_string_lossy();
    if error.kind() == std::io::ErrorKind::NotFound {
        return Err(Failure::usage(
            format!("there is no command {name:?}, and no program farmer-{name} on PATH"),
            "see: farmer --help",
        ));
    }
    Err(Failure::usage(
        format!("cannot start farmer-{name}: {error}"),
        "see: farmer --help",
    ))
}
