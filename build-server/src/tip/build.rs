//! A side is built beside the live one.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use build_core::{Error, ErrorKind, Result};

use super::config::{Config, seconds};
use super::side::fill;
use super::source::{Head, check_out, signature};
use crate::child::Command;

/// In a side that was good once.
const GOOD: &str = "good";

/// Where the side of a number is.
pub(super) fn side_dir(data: &Path, number: u64) -> PathBuf {
    data.join("sides").join(format!("{number:06}"))
}

/// Builds a side: checks out each source, then runs the steps. What they print is in
/// `build.log`.
pub(super) async fn build(config: &Config, data: &Path, heads: &[Head], dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let mut log = fs::File::create(dir.join("build.log"))?;
    writeln!(log, "# {}", signature(heads))?;
    for (source, head) in config.sources.iter().zip(heads) {
        writeln!(log, "# check out {} at {}", source.name, head.hash)?;
        check_out(data, source, head, &dir.join(&source.name))
            .await
            .map_err(|e| e.while_doing(format!("check out {}", source.name)))?;
    }
    for step in &config.steps {
        let words: Vec<_> = step.command.iter().map(|w| fill(w, dir, 0)).collect();
        let shown = words.join(" ");
        writeln!(log, "# {shown}")?;
        let env = step.env.iter().map(|(k, v)| (k.clone(), fill(v, dir, 0)));
        let command = Command::of_words(&words)
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "a step has no command"))?;
        let command = command.dir(dir.join(&step.dir)).envs(env);
        let mut running = command.start(Some(log.try_clone()?))?;
        let limit = seconds(step.limit_seconds);
        let status = match tokio::time::timeout(limit, running.wait()).await {
            Ok(status) => status?,
            Err(_) => {
                let text = format!("{shown} did not end within {} s", limit.as_secs_f64());
                return Err(Error::new(ErrorKind::TimedOut, text));
            }
        };
        if !status.success() {
            return Err(Error::new(ErrorKind::Invalid, format!("{shown}: {status}")));
        }
    }
    Ok(())
}

/// The last lines of a side's log of building.
pub(super) fn log_tail(dir: &Path, name: &str) -> String {
    let text = fs::read(dir.join(name)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().rev().take(60).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Remembers that a side was good, and which one is live: on disk when this returns.
pub(super) fn mark_live(data: &Path, number: u64, signature: &str) -> Result<()> {
    let good = fs::File::create(side_dir(data, number).join(GOOD))?;
    good.sync_all()?;
    let new = data.join("live.new");
    let mut file = fs::File::create(&new)?;
    write!(file, "{number} {signature}")?;
    file.sync_all()?;
    fs::rename(new, data.join("live"))?;
    fs::File::open(data)?.sync_all()?;
    Ok(())
}

/// The side that was live last: its number and signature.
pub(super) fn last_live(data: &Path) -> Option<(u64, String)> {
    let text = fs::read_to_string(data.join("live")).ok()?;
    let (number, signature) = text.split_once(' ')?;
    let number = number.parse().ok()?;
    side_dir(data, number)
        .join(GOOD)
        .exists()
        .then(|| (number, signature.to_owned()))
}

/// The highest number of a side there is.
pub(super) fn last_number(data: &Path) -> u64 {
    numbers(data).into_iter().max().unwrap_or(0)
}

fn numbers(data: &Path) -> Vec<u64> {
    let entries = fs::read_dir(data.join("sides")).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Deletes sides that never were good, and good ones beyond the newest `keep`; never one of `used`.
pub(super) fn sweep(data: &Path, keep: usize, used: &[u64]) {
    let mut old = numbers(data);
    old.sort_unstable_by(|a, b| b.cmp(a));
    old.retain(|number| !used.contains(number));
    let mut kept = 0;
    for number in old {
        let dir = side_dir(data, number);
        if dir.join(GOOD).exists() && kept < keep {
            kept += 1;
            continue;
        }
        if let Err(error) = fs::remove_dir_all(&dir) {
            tracing::warn!(dir = %dir.display(), %error, "an old side cannot be deleted");
        }
    }
}
