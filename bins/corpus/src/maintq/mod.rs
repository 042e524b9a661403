//! `maintq`: looks into mutation logs and asks the corpus.

mod cat;
mod diff;
mod dump;
mod export;
mod generate;
mod input;
mod online;
mod repair;
#[cfg(feature = "sql")]
mod sql;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use farmer_cli::Failure;

use farmer_cli::Out;

pub(crate) use self::input::corpus;
pub(crate) use self::input::failure;

const EXAMPLES: &str = "Examples:
  maintq generate --profile tiny /tmp/log   a log to play with
  maintq verify /tmp/log                    hashes, frames and payloads
  maintq cat /tmp/log | less                every mutation
  maintq dump --hash /tmp/log               the fingerprint of what the log says
  maintq export --table issues /tmp/log     rows as JSON lines
  maintq sql /tmp/log issues closed=0       a table and conditions, or a SELECT statement
  maintq export http://localhost:6343/logs  the same of a log server, kept up to date
  maintq -server=localhost:6344 get-ref go refs/heads/master
                                            asks a corpus server, which holds the corpus

Exit codes: 0 done; 1 the log is damaged or the two differ; 2 bad usage; 3 the machine failed.";

/// Looks into mutation logs and asks the corpus.
#[derive(Parser)]
#[command(name = "maintq", version, after_help = EXAMPLES)]
struct Args {
    /// The corpus server that the verbs from has-ancestor to get-dashboard ask: HOST[:PORT]
    /// over TLS, or http://HOST:PORT
    #[arg(long, default_value = online::SERVER, global = true)]
    server: String,
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
    HasAncestor(online::HasAncestor),
    GetRef(online::GetRef),
    TryWork(online::TryWork),
    ListReleases(online::ListReleases),
    GetDashboard(online::GetDashboard),
}

impl Verb {
    fn run(&self, server: &str, out: &mut Out) -> Result<(), Failure> {
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
            Self::HasAncestor(args) => args.run(server, out),
            Self::GetRef(args) => args.run(server, out),
            Self::TryWork(args) => args.run(server, out),
            Self::ListReleases(args) => args.run(server, out),
            Self::GetDashboard(args) => args.run(server, out),
        }
    }
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::blocking(args, |args: &Args, out| args.verb.run(&args.server, out))
}
