//! `maintq diff`: where two logs part, and what that makes of the corpus.

use std::cmp::Ordering;
use std::io::Write as _;
use std::path::PathBuf;

use farmer_cli::{Exit, Failure};
use maintner_core::log::{LogPosition, LogReader};

use super::input::{corpus, failure, segments};
use farmer_cli::Out;

/// Compares what two logs say; exit code 1 when they differ
///
/// Standard error tells up to where the records agree, standard output the lines of
/// the canonical dumps that only one of them has.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Log folder
    one: PathBuf,
    /// Another log folder
    other: PathBuf,
    /// Compare the records only
    #[arg(long)]
    records: bool,
}

impl Args {
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let common = self.common_records()?;
        match common {
            None => eprintln!("maintq: the records are the same"),
            Some(pos) => eprintln!("maintq: the records agree up to position {pos}"),
        }
        let differ = if self.records {
            common.is_some()
        } else {
            common.is_some() && self.states(out)?
        };
        if differ {
            Err(Failure::silent(Exit::Failed))
        } else {
            Ok(())
        }
    }

    /// The position of the first record that is not the same; `None` when all are.
    fn common_records(&self) -> Result<Option<LogPosition>, Failure> {
        let open = |path| {
            let reader = LogReader::new(segments(path)?, LogPosition::START);
            Ok::<_, Failure>(reader.map_err(|e| failure(&e))?.lenient())
        };
        let (mut one, mut other) = (open(&self.one)?, open(&self.other)?);
        let mut end = LogPosition::START;
        loop {
            let (a, b) = (
                one.next_record().map_err(|e| failure(&e))?,
                other.next_record().map_err(|e| failure(&e))?,
            );
            match (a, b) {
                (None, None) => return Ok(None),
                (Some((pos, a)), Some((_, b))) if a == b => end = pos,
                (Some((pos, _)), Some(_)) => return Ok(Some(pos)),
                (Some((pos, _)), None) | (None, Some((pos, _))) => return Ok(Some(pos.max(end))),
            }
        }
    }

    /// Prints the lines that only one dump has; whether there are any.
    fn states(&self, out: &mut Out) -> Result<bool, Failure> {
        let one = corpus(&self.one)?.view().canonical_dump();
        let other = corpus(&self.other)?.view().canonical_dump();
        let (mut a, mut b) = (
            one.lines().iter().peekable(),
            other.lines().iter().peekable(),
        );
        let mut differ = false;
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => return Ok(differ),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.cmp(b),
            };
            differ |= order != Ordering::Equal;
            let (left, right) = (a.next_if(|_| order.is_le()), b.next_if(|_| order.is_ge()));
            match order {
                Ordering::Less => writeln!(out, "-{}", left.map_or("", String::as_str))?,
                Ordering::Greater => writeln!(out, "+{}", right.map_or("", String::as_str))?,
                Ordering::Equal => {}
            }
        }
    }
}
