//! Surefire, Maven's runner.

use super::line::duration;
use super::{Ended, Told};

/// `[INFO] Tests run: 3, Failures: 0, …, Time elapsed: 0.05 s -- in CLASS` and
/// `[ERROR] CLASS.METHOD -- Time elapsed: 0.01 s <<< FAILURE!`
pub(super) fn surefire(line: &str) -> Option<Told> {
    let (_, rest) = line.strip_prefix('[')?.split_once("] ")?;
    if rest.starts_with("No tests to run.") {
        return Some(Told::NoneRan);
    }
    let (before, after) = rest.split_once("Time elapsed: ")?;
    if let Some(counts) = before.strip_prefix("Tests run: ") {
        let mut numbers = counts.split(", ").map(|part| {
            let number = part.rsplit(' ').next().unwrap_or_default();
            number.parse::<u64>().unwrap_or_default()
        });
        let mut next = || numbers.next().unwrap_or_default();
        let (run, failures, errors, skipped) = (next(), next(), next(), next());
        let passed = run.saturating_sub(failures + errors + skipped);
        return Some(Told::More { passed, skipped });
    }
    let (time, mark) = after.split_once(" <<< ")?;
    if !mark.starts_with("FAILURE!") && !mark.starts_with("ERROR!") {
        return None;
    }
    let name = before.trim_end().trim_end_matches("--").trim_end();
    Some(Told::Test(name.to_owned(), Ended::Failed, duration(time)))
}
