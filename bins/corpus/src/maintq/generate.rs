//! `maintq generate`: a log to play with, or to measure.

use std::io::Write as _;
use std::path::PathBuf;

use farmer_cli::{Exit, Failure};
use maintner_core::Error;
use maintner_core::generate::{Fault, Generator, Profile};

use super::input::failure;
use farmer_cli::Out;
use farmer_cli::progress;

/// Writes a synthetic log: the same bytes for the same profile and seed
#[derive(clap::Args)]
pub(super) struct Args {
    /// Folder to write to; must hold no log yet
    folder: PathBuf,
    /// tiny (16 MB), go2017 (0.4 GB), go2020 (1.6 GB) or go2022 (2.2 GB)
    #[arg(long, default_value = "tiny")]
    profile: Profile,
    /// Seed of all random choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// torn-tail, fork, unknown-fields, unpacked, huge, invalid-utf8, placeholders or unsafe; may be given several times
    #[arg(long)]
    fault: Vec<Fault>,
    /// Name the files as the Go programs' disk log does
    #[arg(long)]
    disk_names: bool,
    /// Stop after so many records
    #[arg(long)]
    records: Option<u64>,
}

impl Args {
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let generator = Generator::new(self.profile)
            .seed(self.seed)
            .disk_names(self.disk_names);
        let generator = self
            .fault
            .iter()
            .fold(generator, |g, fault| g.fault(*fault));
        let generator = generator.records(self.records.unwrap_or(u64::MAX));
        let bar = progress::spinner("generating");
        let manifest = generator.write(&self.folder).map_err(|error| match error {
            Error::Io { .. } => Failure::because(
                Exit::Infrastructure,
                &error,
                Some("choose an empty folder on a disk with room"),
            ),
            _ => failure(&error),
        })?;
        bar.finish_and_clear();
        writeln!(
            out,
            "{} records, {} bytes in {} files",
            manifest.records(),
            manifest.bytes(),
            manifest.segments().len()
        )?;
        Ok(())
    }
}
