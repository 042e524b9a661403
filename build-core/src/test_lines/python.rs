//! pytest, alone and spread over workers, and unittest.

use super::line::first_word;
use super::{Ended, Told};

fn ended(word: &str) -> Option<Ended> {
    Some(match word {
        "PASSED" | "XPASS" => Ended::Passed,
        "FAILED" | "ERROR" => Ended::Failed,
        "SKIPPED" | "XFAIL" => Ended::Skipped,
        _ => return None,
    })
}

/// `FILE::NAME PASSED [ 50%]`, `[gw0] [ 50%] PASSED FILE::NAME`, in the summary
/// `FAILED FILE::NAME - reason`, and the last line `1 failed, 2 passed in 0.05s`.
pub(super) fn pytest(line: &str, failures: &[String]) -> Option<Told> {
    if let Some(rest) = line.strip_prefix("[gw") {
        return of_worker(rest);
    }
    if line.starts_with('=') {
        return in_all(line.trim_matches('=').trim());
    }
    if line.starts_with("collected 0 items") {
        return Some(Told::NoneRan);
    }
    for word in ["FAILED ", "ERROR "] {
        if let Some(rest) = line.strip_prefix(word) {
            let name = summed_up(rest.trim_end(), failures);
            return name
                .contains(".py")
                .then(|| Told::test(name, Ended::Failed));
        }
    }
    if !line.contains(".py::") {
        return in_all(line.trim());
    }
    let line = line.trim_end();
    let line = match line.rsplit_once(" [") {
        Some((rest, percent)) if percent.ends_with("%]") => rest.trim_end(),
        _ => line,
    };
    // The reason of a skipped test stands in brackets behind it, and may hold anything.
    if let Some((name, _)) = line
        .split_once(" SKIPPED (")
        .or(line.split_once(" XFAIL ("))
    {
        return Some(Told::test(name, Ended::Skipped));
    }
    let (name, word) = line.rsplit_once(' ')?;
    Some(Told::test(name.trim_end(), ended(word)?))
}

/// `0] [ 50%] PASSED FILE::NAME`
fn of_worker(rest: &str) -> Option<Told> {
    let (worker, rest) = rest.split_once("] [")?;
    worker.parse::<u32>().ok()?;
    let (_, rest) = rest.split_once("%] ")?;
    let (word, name) = rest.split_once(' ')?;
    Some(Told::test(name.trim(), ended(word)?))
}

/// The name in a line of the summary, whose reason stands behind ` - `, as may parts of the name.
fn summed_up<'a>(rest: &'a str, failures: &[String]) -> &'a str {
    let is_told = |name: &&String| {
        rest.strip_prefix(name.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(" - "))
    };
    if let Some(name) = failures
        .iter()
        .filter(is_told)
        .max_by_key(|name| name.len())
    {
        return &rest[..name.len()];
    }
    let plain = rest.split(" - ").next().unwrap_or(rest);
    match plain.find('[') {
        // The parameters end with the bracket before the reason, or with the line.
        Some(open) => match rest[open..].find("] - ") {
            Some(close) => &rest[..=open + close],
            None if rest.ends_with(']') => rest,
            None => plain,
        },
        None => plain,
    }
}

/// `1 failed, 2 passed, 3 skipped in 0.05s`
fn in_all(line: &str) -> Option<Told> {
    if line.starts_with("no tests ran") {
        return Some(Told::NoneRan);
    }
    let (counts, time) = line.rsplit_once(" in ")?;
    first_word(time).strip_suffix('s')?.parse::<f64>().ok()?;
    let (mut passed, mut skipped) = (0, 0);
    for part in counts.split(", ") {
        let (number, word) = part.split_once(' ')?;
        let number: u64 = number.parse().ok()?;
        match word {
            "passed" | "xpassed" => passed += number,
            "skipped" | "xfailed" => skipped += number,
            "failed" | "error" | "errors" | "deselected" | "warning" | "warnings" | "rerun" => {}
            _ => return None,
        }
    }
    Some(Told::InAll { passed, skipped })
}

/// `test_x (pkg.T.test_x) ... ok`, in the report `FAIL: test_x (pkg.T.test_x)`, `Ran 0 tests in 0.0s`
pub(super) fn unittest(line: &str) -> Option<Told> {
    if line.starts_with("Ran 0 tests in ") {
        return Some(Told::NoneRan);
    }
    for word in ["FAIL: ", "ERROR: "] {
        if let Some(name) = line.strip_prefix(word) {
            return is_unit(name.trim_end()).then(|| Told::test(name.trim_end(), Ended::Failed));
        }
    }
    let (name, end) = line.rsplit_once(" ... ")?;
    if !is_unit(name) {
        return None;
    }
    let ended = match end.trim_end() {
        "ok" | "unexpected success" => Ended::Passed,
        "FAIL" | "ERROR" => Ended::Failed,
        "expected failure" => Ended::Skipped,
        end if end.starts_with("skipped") => Ended::Skipped,
        _ => return None,
    };
    Some(Told::test(name, ended))
}

/// `test_x (pkg.T.test_x)`
fn is_unit(name: &str) -> bool {
    let Some((method, class)) = name.split_once(" (") else {
        return false;
    };
    !method.contains(' ') && class.split(')').next().is_some_and(|c| c.contains('.'))
}
