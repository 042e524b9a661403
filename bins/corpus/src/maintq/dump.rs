//! `maintq dump`: what a log says, for comparison.

use std::io::Write as _;
use std::path::PathBuf;

use farmer_cli::Failure;

use super::input::corpus;
use farmer_cli::Out;

/// Prints the canonical dump of a log: sorted JSON lines, one for each object
#[derive(clap::Args)]
pub(super) struct Args {
    /// Log folder, or the address of a log server
    folder: PathBuf,
    /// Print only the SHA-256 of the dump
    #[arg(long)]
    hash: bool,
}

impl Args {
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let dump = corpus(&self.folder)?.view().canonical_dump();
        if self.hash {
            writeln!(out, "{}", dump.fingerprint())?;
        } else {
            dump.write_to(out)?;
        }
        Ok(())
    }
}
