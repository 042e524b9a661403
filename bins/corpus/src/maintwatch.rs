//! `maintwatch`: prints what is appended to a log, as it is.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use farmer_cli::{Exit, Failure, Out};
use maintner_core::godata::GO_SERVER;
use maintner_core::log::LogPosition;
use maintner_core::net::{Options, Seen, Watch};
use tokio_util::sync::CancellationToken;

use crate::text_format;

const EXAMPLES: &str = "Examples:
  maintwatch                                        what happens in the Go project
  maintwatch -server=http://localhost:6343/logs     of a daemon on this machine
  maintwatch -server=http://localhost:6343/logs --json | jq .mutation.github_issue.title

Runs until it is interrupted; while the server cannot be reached it tries again.
Exit codes: 0 enough was printed; 2 bad usage; 3 the machine failed; 130 interrupted.";

/// Prints the mutations that are appended to a log from now on
#[derive(Parser)]
#[command(name = "maintwatch", version, after_help = EXAMPLES)]
struct Args {
    /// The log server
    #[arg(long, value_name = "URL", default_value = GO_SERVER)]
    server: String,
    /// One JSON object a line, with the record's position
    #[arg(long)]
    json: bool,
    /// End after so many mutations; 0 for never
    #[arg(long, value_name = "N", default_value_t = 0)]
    count: u64,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::serving(args, Args::run)
}

impl Args {
    async fn run(self, stop: CancellationToken) -> Result<(), Failure> {
        let usage = |error| Failure::because(Exit::Usage, &error, Some("an address ends in /logs"));
        let (mut watch, task) = Watch::new(Options::new(&self.server)).map_err(usage)?;
        tokio::select! {
            () = task.run(stop) => Err(Failure::interrupted()),
            done = self.print(&mut watch) => done,
        }
    }

    async fn print(&self, watch: &mut Watch) -> Result<(), Failure> {
        let mut printed = 0;
        loop {
            let seen = watch.next().await;
            let seen = seen.map_err(|e| Failure::because(Exit::Infrastructure, &e, None))?;
            match seen {
                Seen::Record { position, payload } => {
                    if self.record(position, &payload)? {
                        return Ok(());
                    }
                    printed += 1;
                    if printed == self.count {
                        return Ok(());
                    }
                }
                Seen::Trouble(error) => eprintln!("# ignoring err: {error}"),
                Seen::Split { common } => {
                    eprintln!("# ignoring err: the log was rewritten behind position {common}");
                }
                _ => {}
            }
        }
    }

    /// Prints a mutation; tells whether nobody reads any more.
    fn record(&self, position: LogPosition, payload: &[u8]) -> Result<bool, Failure> {
        let mut out = Out::new();
        let written = if self.json {
            let mutation = text_format::json(payload).map_err(anyhow::Error::new)?;
            let line = serde_json::json!({ "pos": position.bytes(), "mutation": mutation });
            writeln!(out, "{line}")
        } else {
            let text = text_format::text(payload).map_err(anyhow::Error::new)?;
            write!(out, "\n{text}")
        };
        let written = written.and_then(|()| out.flush());
        if out.is_closed() {
            return Ok(true);
        }
        written?;
        Ok(false)
    }
}
