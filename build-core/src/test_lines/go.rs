//! `go test`, as text and with `-json`.

use std::time::Duration;

use serde::Deserialize;

use super::line::{duration, first_word};
use super::{Ended, Told};

/// One line of `go test -json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    test: String,
    elapsed: Option<f64>,
}

/// `{"Action":"fail","Package":"p","Test":"T","Elapsed":0.1}`
pub(super) fn json(line: &str, failures: &[String]) -> Option<Told> {
    if !line.starts_with("{\"") || !line.contains("\"Action\":") {
        return None;
    }
    let event: Event = serde_json::from_str(line.trim_end()).ok()?;
    let ended = match event.action.as_str() {
        "pass" => Ended::Passed,
        "fail" => Ended::Failed,
        "skip" => Ended::Skipped,
        _ => return None,
    };
    if event.test.is_empty() {
        let package = event.package;
        let is_of_it = |name: &String| {
            let rest = name.strip_prefix(package.as_str());
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        // A package fails with its tests; alone it is named when it did not even start.
        let alone = ended == Ended::Failed && !failures.iter().any(is_of_it);
        return alone.then(|| Told::test(&package, ended));
    }
    let took = event
        .elapsed
        .and_then(|s| Duration::try_from_secs_f64(s).ok());
    let name = format!("{}.{}", event.package, event.test);
    Some(Told::Test(name, ended, took))
}

/// `ok PACKAGE 0.1s`, `FAIL PACKAGE 0.1s`, with tabs between, so that prose is not taken for it.
pub(super) fn package(line: &str) -> Option<Told> {
    let (word, rest) = line.split_once('\t')?;
    let name = rest.split(['\t', ' ']).next()?;
    if name.is_empty() {
        return None;
    }
    let ended = match word.trim_end() {
        "ok" if rest.ends_with("[no tests to run]") => return Some(Told::NoneRan),
        "ok" => Ended::Passed,
        "FAIL" => Ended::Failed,
        _ => return None,
    };
    Some(Told::Package(name.to_owned(), ended))
}

/// `--- PASS: NAME (0.00s)`; failures wait for their package.
///
/// What a test prints without an end of line stands before the mark of its end.
pub(super) fn test(line: &str) -> Option<Told> {
    let (before, rest) = line.split_once("--- ")?;
    let (word, rest) = rest.split_once(": ")?;
    let (name, time) = rest.trim_end().rsplit_once(" (")?;
    let took = duration(time.strip_suffix(')')?)?;
    // A test's name has no space.
    let name = first_word(name).to_owned();
    let ended = match word {
        "FAIL" => return Some(Told::OfPackage(name)),
        _ if !before.trim_start().is_empty() => return None,
        "PASS" => Ended::Passed,
        "SKIP" => Ended::Skipped,
        _ => return None,
    };
    Some(Told::Test(name, ended, Some(took)))
}
