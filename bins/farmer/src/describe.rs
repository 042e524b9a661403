//! Sentences about builds, the same in every command.

use std::time::Duration;

use build_core::event::{Outcome, UnitEnd};
use build_core::recipe::show_duration;
use build_server::record::BuildRow;

/// How a build ended, in one sentence without its subject.
pub(crate) fn outcome(outcome: &Outcome) -> String {
    outcome.to_string()
}

/// What a person can do about it, if that is known.
pub(crate) fn hint(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Misconfigured { hint, .. } if !hint.is_empty() => Some(hint),
        _ => None,
    }
}

/// How a unit ended, in a few words.
pub(crate) fn unit_end(end: &UnitEnd) -> String {
    match end {
        UnitEnd::Exited(how) if how.is_ok() => "passed".to_owned(),
        UnitEnd::Exited(how) => format!("failed: {how}"),
        UnitEnd::TimedOut(limit) => format!("failed: ran longer than {}", show_duration(*limit)),
        UnitEnd::Silent(limit) => format!("failed: printed nothing for {}", show_duration(*limit)),
        UnitEnd::DiskQuota => "failed: disk quota".to_owned(),
        UnitEnd::NoTests => "failed: no tests ran".to_owned(),
        UnitEnd::MissingTool(tool) => format!("{tool} is missing"),
        UnitEnd::Lost(reason) => format!("lost: {reason}"),
        UnitEnd::Interrupted => "interrupted, will run again".to_owned(),
        UnitEnd::Canceled => "canceled".to_owned(),
        other => format!("ended in a way this version does not know: {other:?}"),
    }
}

/// The commit of a build: short hash and subject.
pub(crate) fn commit(row: &BuildRow) -> String {
    format!("{} {:?}", row.item.commit.short(), row.item.subject)
}

/// The commit of a build that has ended, and what is or was done about failed tests.
pub(crate) fn ended(row: &BuildRow) -> String {
    let commit = commit(row);
    match (&row.rerun, row.as_rerun()) {
        (Some(rerun), _) => format!("{commit} {} as {}", rerun.verdict(), rerun.build),
        (None, Some((first, rerun))) => format!("{commit}: {first} {}", rerun.verdict()),
        (None, None) => commit,
    }
}

/// The first of the tests that failed, behind a semicolon; nothing when none did.
pub(crate) fn failed_tests(row: &BuildRow) -> String {
    const NAMED: usize = 3;
    let mut names: Vec<String> = Vec::new();
    for name in row.runs.iter().flat_map(|run| &run.tested.failures) {
        let name = name.to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    names.truncate(NAMED);
    match names.is_empty() {
        true => String::new(),
        false => format!("; failed: {}{more}", names.join(", ")),
    }
}

/// A duration as people read it: `0.3s`, `12s`, `3m5s`.
pub(crate) fn took(duration: Duration) -> String {
    match duration.as_secs() {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        seconds => show_duration(Duration::from_secs(seconds)),
    }
}

/// Says how many files of a work tree differ from its commit, and whether they are built.
pub(crate) fn say_uncommitted(count: usize, are_built: bool) {
    if let Some(text) = uncommitted(count, are_built) {
        farmer_cli::say!("{text}");
    }
}

/// As [`say_uncommitted`]; nothing when there are none.
pub(crate) fn uncommitted(count: usize, are_built: bool) -> Option<String> {
    let files = if count == 1 {
        "1 uncommitted file".to_owned()
    } else {
        format!("{count} uncommitted files")
    };
    match (count, are_built) {
        (0, _) => None,
        (_, true) => Some(format!("{files} built too")),
        (1, false) => Some(format!("{files} is not built; --worktree builds it")),
        (_, false) => Some(format!("{files} are not built; --worktree builds them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!(took(Duration::from_millis(312)), "0.3s");
        assert_eq!(took(Duration::from_millis(12_900)), "12s");
        assert_eq!(took(Duration::from_secs(185)), "3m5s");
    }
}
