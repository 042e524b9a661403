//! `maintq repair`: cuts what cannot be read, and keeps it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use farmer_cli::{Exit, Failure};
use maintner_core::log::{LogLock, recover, repair};
use serde_json::json;

use super::input::{failure, segments};
use farmer_cli::Out;

/// Cuts damaged log files after their last whole record; the cut bytes go to FILE.torn-OFFSET
#[derive(clap::Args)]
pub(super) struct Args {
    /// Log folder, or one file of it
    path: PathBuf,
    /// Only say what would be cut
    #[arg(long)]
    dry_run: bool,
    /// One JSON object for each damaged file
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(&self, out: &mut Out) -> Result<(), Failure> {
        let segments = segments(&self.path)?;
        let folder = if self.path.is_dir() {
            &self.path
        } else {
            parent(&self.path)
        };
        let _lock = if self.dry_run {
            None
        } else {
            Some(LogLock::take(folder).map_err(|e| failure(&e))?)
        };
        let mut frozen = false;
        for segment in segments {
            let path = segment.path();
            let found = recover(&path).map_err(|e| failure(&e))?;
            let Some(tail) = found.tail() else { continue };
            let is_frozen = segment.name().sha224().is_some();
            frozen |= is_frozen;
            let kept = if self.dry_run || is_frozen {
                None
            } else {
                let done = repair(&path).map_err(|e| failure(&e))?;
                done.tail()
                    .and_then(|tail| tail.kept_in())
                    .map(Path::to_owned)
            };
            let (valid, cut, reason) = (found.valid(), tail.bytes(), tail.reason().to_string());
            if self.json {
                let line = json!({ "file": path, "valid": valid, "cut": cut, "reason": reason, "torn": tail.is_torn(), "kept_in": kept });
                writeln!(out, "{line}")?;
            } else {
                let kept = kept.map_or_else(
                    || "left as it is".to_owned(),
                    |kept| format!("kept in {}", kept.display()),
                );
                writeln!(
                    out,
                    "{}: {valid} bytes are whole, {cut} are not ({reason}): {kept}",
                    path.display()
                )?;
            }
        }
        if frozen {
            let hint =
                "get the segment again from where it came: its name says what it must hash to";
            let error = anyhow::anyhow!("a frozen segment is damaged and was not changed");
            return Err(Failure::because(Exit::Failed, error.as_ref(), Some(hint)));
        }
        Ok(())
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
