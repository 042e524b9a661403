//! CTest, Meson, Automake and TAP.

use super::line::duration;
use super::{Ended, Told};

/// `1/3`, with the rest behind it.
fn counted(line: &str) -> Option<&str> {
    let (count, rest) = line.trim_start().split_once(' ')?;
    let (at, of) = count.split_once('/')?;
    (at.parse::<u32>().is_ok() && of.parse::<u32>().is_ok()).then_some(rest)
}

/// `1/3 Test  #1: NAME ......   Passed    0.01 sec`
pub(super) fn ctest(line: &str) -> Option<Told> {
    if line.starts_with("No tests were found!!!") {
        return Some(Told::NoneRan);
    }
    let rest = counted(line)?.trim_start().strip_prefix("Test ")?;
    let (_, rest) = rest.split_once(": ")?;
    let (name, end) = rest.rsplit_once(" ..").or_else(|| rest.split_once(" .."))?;
    let end = end.trim_start_matches('.').trim_start();
    let ended = if end.starts_with("Passed") {
        Ended::Passed
    } else if end.starts_with("***Skipped") || end.starts_with("***Not Run (Disabled)") {
        Ended::Skipped
    } else if end.starts_with("***") {
        Ended::Failed
    } else {
        return None;
    };
    let mut words = end.trim_end().rsplit(' ').filter(|word| !word.is_empty());
    let took = (words.next() == Some("sec"))
        .then(|| words.next())
        .flatten();
    let took = took.and_then(|seconds| duration(&format!("{seconds}s")));
    Some(Told::Test(name.trim_end().to_owned(), ended, took))
}

/// `1/3 PROJECT:SUITE / NAME   OK   0.01s`
pub(super) fn meson(line: &str) -> Option<Told> {
    if line.starts_with("No tests defined.") {
        return Some(Told::NoneRan);
    }
    let mut rest = counted(line)?.trim();
    let mut took = None;
    // Behind the time may stand the exit status: `FAIL 0.01s exit status 1`.
    if let Some((before, _)) = rest
        .split_once("   exit status ")
        .or(rest.split_once("   killed by "))
    {
        rest = before.trim_end();
    }
    if let Some((before, time)) = rest.rsplit_once(' ')
        && let Some(time) = duration(time)
    {
        (rest, took) = (before.trim_end(), Some(time));
    }
    took?;
    let (name, word) = rest.rsplit_once(' ')?;
    let ended = match word {
        "OK" | "UNEXPECTEDPASS" => Ended::Passed,
        "FAIL" | "TIMEOUT" | "ERROR" => Ended::Failed,
        "SKIP" | "EXPECTEDFAIL" => Ended::Skipped,
        _ => return None,
    };
    Some(Told::Test(name.trim().to_owned(), ended, took))
}

/// `PASS: NAME`, `XFAIL: NAME`
pub(super) fn automake(line: &str) -> Option<Told> {
    let (word, name) = line.split_once(": ")?;
    let ended = match word {
        "PASS" => Ended::Passed,
        "FAIL" | "XPASS" => Ended::Failed,
        "SKIP" | "XFAIL" => Ended::Skipped,
        _ => return None,
    };
    let name = name.trim_end();
    (!name.is_empty()).then(|| Told::test(name, ended))
}

/// `ok 1 - NAME`, `not ok 2 - NAME # SKIP`, `not ok 3 # TODO`, `1..0`
pub(super) fn tap(line: &str) -> Option<Told> {
    let line = line.trim_start();
    if line.starts_with("1..0") && !line.starts_with("1..0.") {
        return Some(Told::NoneRan);
    }
    if let Some(why) = line.strip_prefix("Bail out!") {
        return Some(Told::test(
            format!("Bail out!{why}").trim_end(),
            Ended::Failed,
        ));
    }
    let (failed, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix("ok ")?),
    };
    let (number, name) = rest.split_once(' ').unwrap_or((rest.trim_end(), ""));
    number.parse::<u32>().ok()?;
    let name = name.strip_prefix("- ").unwrap_or(name);
    let (name, directive) = match name.strip_prefix("# ") {
        Some(directive) => ("", directive),
        None => name.split_once(" # ").unwrap_or((name, "")),
    };
    let ended = match directive.get(..4).map(str::to_ascii_uppercase).as_deref() {
        Some("SKIP" | "TODO") => Ended::Skipped,
        _ if failed => Ended::Failed,
        _ => Ended::Passed,
    };
    let name = name.trim_end();
    // A test without a name is known by its number.
    let name = if name.is_empty() { number } else { name };
    Some(Told::test(name, ended))
}
