//! `maintq cat`: prints mutations.

use std::io::Write as _;
use std::path::PathBuf;

use farmer_cli::{Exit, Failure};
use maintner_core::log::{LogPosition, LogReader};

use super::input::{failure, segments};
use crate::text_format;
use farmer_cli::Out;

/// Prints the mutations of a log in protobuf text format, an empty line after each
#[derive(clap::Args)]
pub(super) struct Args {
    /// Log folder, one file of it, or the address of a log server
    path: PathBuf,
    /// One JSON object a line, with the record's position
    #[arg(long)]
    json: bool,
    /// Stop quietly at the first damaged record
    #[arg(long)]
    lenient: bool,
    /// Start at this position, which must be the start of a record
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    from: u64,
}

impl Args {
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let from = LogPosition::new(self.from);
        let mut reader = LogReader::new(segments(&self.path)?, from).map_err(|e| failure(&e))?;
        if self.lenient {
            reader = reader.lenient();
        }
        loop {
            match reader.next_record() {
                Ok(None) => break,
                Ok(Some((pos, payload))) => self.print(out, pos, payload)?,
                Err(error) => {
                    // What was whole is shown before the complaint.
                    out.flush()?;
                    return Err(failure(&error));
                }
            }
        }
        if let Some(stop) = reader.stopped() {
            eprintln!("maintq: stopped: {}", stop.reason);
        }
        Ok(())
    }

    fn print(&self, out: &mut Out, pos: LogPosition, payload: &[u8]) -> Result<(), Failure> {
        let bad = |error| {
            let text = format!("record at {pos} is no mutation");
            let error = anyhow::Error::new(error).context(text);
            Failure::because(Exit::Failed, error.as_ref(), None)
        };
        if self.json {
            let mutation = text_format::json(payload).map_err(bad)?;
            writeln!(
                out,
                "{}",
                serde_json::json!({ "pos": pos.bytes(), "mutation": mutation })
            )?;
        } else {
            writeln!(out, "{}", text_format::text(payload).map_err(bad)?)?;
        }
        Ok(())
    }
}
