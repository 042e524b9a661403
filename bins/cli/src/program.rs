//! The frame of a classic program: a command line as Go programs take it, its work, an exit code.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::go_flags::{dashes_of, dashes_until_word};
use crate::manual::{Shell, completions, man_page};
use crate::out::Out;
use crate::run::{finish, run};

/// Reads `args`, which begin after the program's name: `-flag` and `--flag` are the same, and
/// `-switch=false` turns a switch off. `--completions SHELL` and `--man` print what their names
/// say, for every program.
///
/// # Errors
/// The exit code, when there is nothing to run: help was asked for, or the arguments are wrong.
pub fn parse<A: Parser>(args: Vec<OsString>) -> Result<A, ExitCode> {
    parse_with(args, dashes_of)
}

/// As [`parse`], where flags end at the first word that is none, as in Go: what follows it, a
/// command to be run for example, is left alone, whatever it looks like. A word that names a
/// subcommand begins the flags of that.
///
/// # Errors
/// As [`parse`].
pub fn parse_go<A: Parser>(args: Vec<OsString>) -> Result<A, ExitCode> {
    parse_with(args, dashes_until_word)
}

fn parse_with<A: Parser>(
    args: Vec<OsString>,
    dashes: impl FnOnce(&clap::Command, Vec<OsString>) -> Vec<OsString>,
) -> Result<A, ExitCode> {
    let command = A::command();
    let name = command.get_name().to_owned();
    if let Some(printed) = describe(&command, &args) {
        return Err(finish(&name, printed));
    }
    let args = std::iter::once(OsString::from(&name)).chain(dashes(&command, args));
    A::try_parse_from(args).map_err(|error| match error.print() {
        Ok(()) => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8)),
        Err(_) => ExitCode::from(Exit::Infrastructure as u8),
    })
}

/// Prints completions or the manual page when they are asked for.
fn describe(command: &clap::Command, args: &[OsString]) -> Option<Result<(), Failure>> {
    let text = |at: usize| args.get(at).and_then(|arg| arg.to_str());
    let mut page = Vec::new();
    match (text(0)?, text(1), args.len()) {
        ("--man", None, 1) => man_page(command.clone(), &mut page).ok()?,
        ("--completions", Some(shell), 2) => match shell.parse::<Shell>() {
            Ok(shell) => completions(command.clone(), shell, &mut page).ok()?,
            Err(_) => {
                return Some(Err(Failure::usage(
                    format!("no completions for a shell called {shell:?}"),
                    "choose bash, elvish, fish, powershell or zsh",
                )));
            }
        },
        _ => return None,
    }
    let mut out = Out::new();
    let written = out.write_all(&page).and_then(|()| out.flush());
    Some(if out.is_closed() {
        Ok(())
    } else {
        written.map_err(Into::into)
    })
}

/// Runs `work` on a thread that may block; a signal ends the wait for it.
/// A reader of standard output that goes away has got what it wanted.
pub fn blocking<A: Parser + Send + 'static>(
    args: Vec<OsString>,
    work: impl FnOnce(&A, &mut Out) -> Result<(), Failure> + Send + 'static,
) -> ExitCode {
    let args = match parse::<A>(args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let work = move || {
        let mut out = Out::new();
        let result = work(&args, &mut out).and_then(|()| Ok(out.flush()?));
        if out.is_closed() { Ok(()) } else { result }
    };
    run(A::command().get_name(), false, async |stop| {
        tokio::select! {
            done = tokio::task::spawn_blocking(work) => done.map_err(|error| {
                Failure::because(Exit::Infrastructure, &error, None)
            })?,
            () = stop.cancelled() => Err(Failure::interrupted()),
        }
    })
}

/// Runs `work` to its end; the first signal cancels the token, the second ends the process.
pub fn serving<A: Parser>(
    args: Vec<OsString>,
    work: impl AsyncFnOnce(A, CancellationToken) -> Result<(), Failure>,
) -> ExitCode {
    match parse::<A>(args) {
        Ok(args) => run(A::command().get_name(), false, async |stop| {
            work(args, stop).await
        }),
        Err(code) => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser, Debug)]
    #[command(name = "demo")]
    struct Demo {
        #[arg(long)]
        halt: bool,
        #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
        verify: bool,
        #[arg(long, default_value = "")]
        listen: String,
        rest: Vec<String>,
    }

    fn demo(args: &[&str]) -> Demo {
        parse(args.iter().map(OsString::from).collect()).unwrap()
    }

    #[test]
    fn flags_are_known_from_the_definition() {
        let given = demo(&["-halt", "-verify=false", "-listen", ":80", "x"]);
        assert!(given.halt && !given.verify);
        assert_eq!(
            (given.listen.as_str(), given.rest),
            (":80", vec!["x".to_owned()])
        );
        let given = demo(&["-halt=false", "-verify", "x", "--", "-halt"]);
        assert!(!given.halt && given.verify);
        assert_eq!(given.rest, ["x", "-halt"]);
    }

    #[test]
    fn flags_end_at_the_first_word() {
        #[derive(Parser, Debug)]
        #[command(name = "demo")]
        struct Nested {
            #[arg(long)]
            user: Option<String>,
            #[command(subcommand)]
            command: Sub,
        }
        #[derive(clap::Subcommand, Debug)]
        enum Sub {
            Run {
                #[arg(short = 'e', long = "e")]
                e: Vec<String>,
                #[arg(long)]
                system: bool,
                words: Vec<String>,
            },
        }
        let given = |args: &[&str]| {
            let args = args.iter().map(OsString::from).collect();
            let given: Nested = parse_go(args).unwrap();
            let Sub::Run { e, system, words } = given.command;
            (given.user, e, system, words)
        };
        let (user, e, system, words) = given(&[
            "-user", "run", "run", "-e", "-x=1", "-system", "i", "cmd", "-e", "-v", "--",
        ]);
        assert_eq!(user.as_deref(), Some("run"));
        assert!(system && e == ["-x=1"]);
        assert_eq!(words, ["i", "cmd", "-e", "-v", "--"]);
        let (user, _, _, words) = given(&["run", "--", "-system"]);
        assert_eq!((user, words), (None, vec!["-system".to_owned()]));
        let (.., words) = given(&["run", "i", "-", "-"]);
        assert_eq!(words, ["i", "-", "-"]);
        assert!(parse_go::<Nested>(vec!["walk".into()]).is_err());
    }

    #[test]
    fn a_mistake_is_usage() {
        assert!(parse::<Demo>(vec!["-nothing".into()]).is_err());
        assert!(parse::<Demo>(vec!["--completions".into(), "tcsh".into()]).is_err());
    }
}
