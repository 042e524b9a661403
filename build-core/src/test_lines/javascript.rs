//! The runner of Node, jest, vitest and mocha.

use super::line::duration;
use super::{Ended, Told};

/// `✔ NAME (1.2ms)`, `✖ NAME (1.2ms)`
pub(super) fn node(line: &str) -> Option<Told> {
    let line = line.trim_start();
    let (failed, rest) = match line.strip_prefix("✖ ") {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix("✔ ")?),
    };
    let (name, time) = rest.trim_end().rsplit_once(" (")?;
    let took = duration(time.strip_suffix("ms)").map(|t| format!("{t}ms"))?.as_str());
    let ended = if failed { Ended::Failed } else { Ended::Passed };
    Some(Told::Test(name.to_owned(), ended, took))
}

/// `✓ NAME (2 ms)`, `✕ NAME`, `● SUITE › NAME` in the report, `Tests:  1 failed, 2 passed, 3 total`
pub(super) fn jest(line: &str) -> Option<Told> {
    if line.starts_with("No tests found") {
        return Some(Told::NoneRan);
    }
    if let Some(counts) = line.strip_prefix("Tests:") {
        return in_all(counts.trim(), ", ");
    }
    let line = line.trim();
    if let Some(name) = line.strip_prefix("● ") {
        // A line of a console or of a suite that did not start has no test behind a suite.
        let is_test = name.contains(" › ");
        return is_test.then(|| Told::Detailed(name.to_owned()));
    }
    if let Some(name) = line.strip_prefix("○ skipped ") {
        return Some(Told::test(name, Ended::Skipped));
    }
    if let Some(name) = line.strip_prefix("✕ ") {
        return Some(Told::Titled(without_time(name).to_owned()));
    }
    let name = line.strip_prefix("✓ ").filter(|name| !is_file(name))?;
    let name = without_time(name);
    Some(Told::test(name, Ended::Passed))
}

/// ` FAIL  FILE > SUITE > NAME`, `Tests  1 failed | 2 passed (3)`
pub(super) fn vitest(line: &str) -> Option<Told> {
    if line.starts_with("No test files found") {
        return Some(Told::NoneRan);
    }
    let line = line.trim();
    if let Some(counts) = line.strip_prefix("Tests  ") {
        let (counts, _) = counts.rsplit_once(" (")?;
        return in_all(counts.trim(), " | ");
    }
    if let Some(name) = line.strip_prefix("FAIL  ") {
        let name = name.trim();
        return name
            .contains(" > ")
            .then(|| Told::Detailed(name.to_owned()));
    }
    let name = line.strip_prefix("× ")?;
    Some(Told::Titled(without_time(name).to_owned()))
}

/// `2 passing (5ms)`, `1 pending`, `1) NAME` where the test is
pub(super) fn mocha(line: &str) -> Option<Told> {
    let (number, rest) = line.trim().split_once(' ')?;
    if let Some(count) = number.strip_suffix(')') {
        count.parse::<u32>().ok()?;
        // In the report the suite stands in its place, less deep and with the test below it.
        let is_in_tree = line.starts_with("    ");
        return is_in_tree.then(|| Told::Titled(rest.to_owned()));
    }
    let number: u64 = number.parse().ok()?;
    match rest.split(" (").next()? {
        "passing" if number == 0 => Some(Told::NoneRan),
        "passing" => Some(Told::InAll {
            passed: number,
            skipped: 0,
        }),
        "pending" => Some(Told::More {
            passed: 0,
            skipped: number,
        }),
        _ => None,
    }
}

/// `1 failed, 2 passed, 3 total`
fn in_all(counts: &str, between: &str) -> Option<Told> {
    let (mut passed, mut skipped) = (0, 0);
    for part in counts.split(between) {
        let (number, word) = part.trim().split_once(' ')?;
        let number: u64 = number.parse().ok()?;
        match word {
            "passed" => passed += number,
            "skipped" | "todo" | "pending" => skipped += number,
            "failed" | "total" => {}
            _ => return None,
        }
    }
    Some(Told::InAll { passed, skipped })
}

/// `NAME (2 ms)`, `NAME 2ms`
fn without_time(name: &str) -> &str {
    let name = name.trim_end();
    if let Some((rest, time)) = name.rsplit_once(" (")
        && time
            .strip_suffix(')')
            .is_some_and(|time| duration(time).is_some())
    {
        return rest;
    }
    match name.rsplit_once(' ') {
        Some((rest, time)) if time.ends_with("ms") && duration(time).is_some() => rest.trim_end(),
        _ => name,
    }
}

/// vitest marks files as others mark tests: `✓ src/a.test.ts (3 tests) 2ms`.
fn is_file(name: &str) -> bool {
    name.contains(" tests)") || name.contains(" test)")
}
