//! `maintq`: looks into mutation logs and asks the corpus.

mod cat;
mod diff;
mod dump;
mod export;
mod generate;
mod input;
mod repair;
#[cfg(feature = "sql")]
mod sql;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use farmer_cli::{Exit, Failure};
use tokio_util::sync::CancellationToken;

use crate::closed_pipe::{self, Out};

pub(crate) use self::input::corpus;

const EXAMPLES: &str = "Examples:
  maintq generate --profile tiny /tmp/log   a log to play with
  maintq verify /tmp/log                    hashes, frames and payloads
  maintq cat /tmp/log | less                every mutation
  maintq dump --hash /tmp/log               the fingerprint of what the log says
  maintq export --table issues /tmp/log     rows as JSON lines

Exit codes: 0 done; 1 the log is damaged or the two differ; 2 bad usage; 3 the machine failed.";

/// Looks into mutation logs and asks the corpus.
#[derive(Parser)]
#[command(name = "maintq", version, after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Cat(cat::Args),
    Verify(verify::Args),
    Repair(repair::Args),
    Dump(dump::Args),
    Diff(diff::Args),
    Export(export::Args),
    #[cfg(feature = "sql")]
    Sql(sql::Args),
    Generate(generate::Args),
}

impl Verb {
    fn run(&self, out: &mut Out) -> Result<(), Failure> {
        match self {
            Self::Cat(args) => args.run(out),
            Self::Verify(args) => args.run(out),
            Self::Repair(args) => args.run(out),
            Self::Dump(args) => args.run(out),
            Self::Diff(args) => args.run(out),
            Self::Export(args) => args.run(out),
            #[cfg(feature = "sql")]
            Self::Sql(args) => args.run(out),
            Self::Generate(args) => args.run(out),
        }
    }
}

/// The entry point.
pub fn main() -> ExitCode {
    let args = match Args::try_parse_from(own_args(std::env::args_os().collect())) {
        Ok(args) => args,
        Err(error) => {
            let shown = error.print().is_ok();
            return ExitCode::from(if shown {
                u8::try_from(error.exit_code()).unwrap_or(2)
            } else {
                3
            });
        }
    };
    farmer_cli::run("maintq", false, async |stop| {
        in_background(stop, move || {
            let mut out = Out::new();
            let result = args
                .verb
                .run(&mut out)
                .and_then(|()| Ok(std::io::Write::flush(&mut out)?));
            closed_pipe::is_success(result, out.is_closed())
        })
        .await
    })
}

/// Drops the name of the multi-call program.
pub(crate) fn own_args(mut args: Vec<std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let second_is_program = args
        .get(1)
        .is_some_and(|arg| crate::PROGRAMS.iter().any(|(name, _)| arg == *name));
    if second_is_program {
        args.remove(0);
    }
    args
}

/// Runs blocking work; a signal ends the wait for it.
pub(crate) async fn in_background(
    stop: CancellationToken,
    work: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    tokio::select! {
        done = tokio::task::spawn_blocking(work) => done.map_err(|error| {
            Failure::because(Exit::Infrastructure, &error, None)
        })?,
        () = stop.cancelled() => Err(Failure::interrupted()),
    }
}
