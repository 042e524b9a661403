//! `gostats`: statistics of the Go project's changes, as the program of the same name
//! printed them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use farmer_cli::{Exit, Failure};
use maintner_core::View;

use farmer_cli::Out;

const EXAMPLES: &str = "Examples:
  gostats -modified-files=20 ~/var/maintnerd   the files that most changes touch
  gostats -modified-files=20 https://maintner.golang.org/logs   the same, live";

/// Statistics of the Go project's changes
#[derive(Parser)]
#[command(name = "gostats", version, after_help = EXAMPLES)]
struct Args {
    /// Log folder, or the address of a log server
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Print how long loading took and how much memory it took
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        default_value_t = false,
        default_missing_value = "true"
    )]
    time_load: bool,
    /// Print so many files, those first that the latest patch sets of most changes touch
    #[arg(long, value_name = "N", default_value_t = 0)]
    modified_files: usize,
    /// Gerrit project
    #[arg(long, default_value = "go.googlesource.com/go")]
    project: String,
}

/// The entry point: the arguments without the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    farmer_cli::blocking(args, Args::run)
}

impl Args {
    fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let started = Instant::now();
        let view = crate::maintq::corpus(&self.folder)?.view();
        if self.time_load {
            writeln!(
                out,
                "Loaded data in {:?}. Memory: {}",
                started.elapsed(),
                resident()
            )?;
        }
        if self.modified_files > 0 {
            for (count, name) in modified_files(&view, &self.project)?
                .into_iter()
                .take(self.modified_files)
            {
                writeln!(out, " {count:>5} {name}")?;
            }
        }
        Ok(())
    }
}

/// Files by the number of changes whose latest patch set touches them, most first.
fn modified_files(view: &View, project: &str) -> Result<Vec<(usize, String)>, Failure> {
    let (server, name) = project.split_once('/').unwrap_or((project, ""));
    let project = view.gerrit().project(server, name).map_err(|error| {
        Failure::because(
            Exit::Usage,
            &error,
            Some("name it as host/project with -project"),
        )
    })?;
    let mut counts: HashMap<String, usize> = HashMap::new();
    for cl in project.cls() {
        for file in cl.commit().files() {
            *counts.entry(todays_name(file.name())).or_default() += 1;
        }
    }
    let mut sorted: Vec<(usize, String)> = counts.into_iter().map(|(name, n)| (n, name)).collect();
    sorted.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    Ok(sorted)
}

/// Folders that were renamed long ago count as one.
fn todays_name(name: &str) -> String {
    let name = name
        .strip_prefix("src/pkg/")
        .map_or_else(|| name.to_owned(), |rest| format!("src/{rest}"));
    match name.strip_prefix("src/http/") {
        Some(rest) => format!("src/net/http/{rest}"),
        None => name,
    }
}

/// Resident memory of this process, in words.
/// The same in bytes; 0 where the system does not say.
pub(crate) fn resident_bytes() -> u64 {
    let text = resident();
    let kib = text.trim_end_matches("kB").trim().parse::<u64>();
    kib.unwrap_or(0) << 10
}

pub(crate) fn resident() -> String {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_folders_are_folded() {
        assert_eq!(todays_name("src/pkg/http/a.go"), "src/net/http/a.go");
        assert_eq!(todays_name("src/http/a.go"), "src/net/http/a.go");
        assert_eq!(todays_name("src/cmd/a.go"), "src/cmd/a.go");
    }
}
