//! `maintq verify`: is everything in a log what it should be?

use std::io::Write as _;
use std::path::PathBuf;

use farmer_cli::{Exit, Failure};
use maintner_core::Error;
use maintner_core::log::{LogReader, Segment};
use maintner_core::pb::Mutation;
use prost::Message as _;
use serde_json::json;

use super::input::segments;
use farmer_cli::Out;
use farmer_cli::progress;

/// Checks hashes of frozen segments, frames of all records, and their payloads
#[derive(clap::Args)]
pub(super) struct Args {
    /// Log folder, or one file of it
    path: PathBuf,
    /// One JSON object for each problem, and one for the sum
    #[arg(long)]
    json: bool,
}

/// What was found so far.
#[derive(Default)]
struct Findings {
    records: u64,
    bytes: u64,
    problems: u64,
}

impl Args {
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let segments = segments(&self.path)?;
        let bar = progress::bytes("verifying", segments.iter().map(Segment::len).sum());
        let mut found = Findings::default();
        for segment in segments {
            bar.set_position(found.bytes);
            if let Err(error) = segment.verify() {
                self.report(out, &mut found, &error)?;
            }
            self.read(out, &mut found, segment)?;
        }
        bar.finish_and_clear();
        self.sum_up(out, &found)?;
        if found.problems > 0 {
            Err(Failure::silent(Exit::Failed))
        } else {
            Ok(())
        }
    }

    fn read(&self, out: &mut Out, found: &mut Findings, segment: Segment) -> Result<(), Failure> {
        let base = segment.base();
        found.bytes += segment.len();
        let mut reader = match LogReader::new(vec![segment], base) {
            Ok(reader) => reader,
            Err(error) => return self.report(out, found, &error),
        };
        loop {
            match reader.next_record() {
                Ok(None) => return Ok(()),
                Ok(Some((pos, payload))) => {
                    found.records += 1;
                    if let Err(source) = Mutation::decode(payload) {
                        self.report(out, found, &Error::Mutation { pos, source })?;
                    }
                }
                Err(error) => return self.report(out, found, &error),
            }
        }
    }

    fn report(&self, out: &mut Out, found: &mut Findings, error: &Error) -> Result<(), Failure> {
        found.problems += 1;
        let text = chain(error);
        if self.json {
            writeln!(out, "{}", json!({ "problem": text }))?;
        } else {
            writeln!(out, "{text}")?;
        }
        Ok(())
    }

    fn sum_up(&self, out: &mut Out, found: &Findings) -> Result<(), Failure> {
        let Findings {
            records,
            bytes,
            problems,
        } = found;
        if self.json {
            writeln!(
                out,
                "{}",
                json!({ "records": records, "bytes": bytes, "problems": problems })
            )?;
        } else {
            writeln!(out, "{records} records, {bytes} bytes, {problems} problems")?;
        }
        Ok(())
    }
}

/// The error and its causes in one line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
