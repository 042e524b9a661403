//! libtest and nextest.

use super::line::duration;
use super::{Ended, Told};

/// `test NAME ... ok`, `test NAME ... ok <0.001s>`, `running 0 tests`
pub(super) fn libtest(line: &str) -> Option<Told> {
    if line == "running 0 tests" {
        return Some(Told::NoneRan);
    }
    let (name, end) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    let (word, time) = end
        .trim_end()
        .split_once(" <")
        .unwrap_or((end.trim_end(), ""));
    let ended = match word {
        "ok" => Ended::Passed,
        "FAILED" => Ended::Failed,
        other if other.starts_with("ignored") => Ended::Skipped,
        _ => return None,
    };
    let took = time.strip_suffix('>').and_then(duration);
    Some(Told::Test(name.to_owned(), ended, took))
}

/// `PASS [   0.005s] CRATE NAME`, `PASS [   0.005s] ( 1/20) CRATE NAME`
pub(super) fn nextest(line: &str) -> Option<Told> {
    let (word, rest) = line.trim_start().split_once(" [")?;
    let (time, name) = rest.split_once("] ")?;
    let ended = match word {
        "PASS" | "LEAK" => Ended::Passed,
        "FAIL" | "TIMEOUT" => Ended::Failed,
        "SKIP" => Ended::Skipped,
        // It passed at last.
        flaky if flaky.starts_with("FLAKY") => Ended::Passed,
        signal if signal.starts_with("SIG") => Ended::Failed,
        _ => return None,
    };
    let took = duration(time.trim_start_matches('>'));
    if took.is_none() && ended != Ended::Skipped {
        return None;
    }
    let name = match name
        .trim_start()
        .strip_prefix('(')
        .and_then(|n| n.split_once(") "))
    {
        Some((count, rest)) if count.contains('/') => rest,
        _ => name,
    };
    Some(Told::Test(name.trim().to_owned(), ended, took))
}
