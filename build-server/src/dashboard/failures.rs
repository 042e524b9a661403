//! The tests that have failed in the past that is kept: how often, when last, and what that says.

use std::collections::{BTreeMap, BTreeSet};

use build_core::Result;
use build_core::event::Seq;
use build_core::flakes::{HISTORY_RUNS, Run, Verdict, judge};
use build_core::ids::StepName;
use build_core::name::Name;

use super::words::{FAILED, Mark, PASSED};
use crate::flakes::{Past, PastPlace, by_build};
use crate::record::{BuildRow, Tested};
use crate::store::Records;

/// Tests on the page: with a cell for each build, this many stay below its 60 KB.
const TESTS: usize = 20;

/// One test in each build of the page; empty where its step printed nothing of tests.
pub(super) struct TestHistory {
    pub(super) name: String,
    pub(super) step: String,
    /// What its past says.
    pub(super) verdict: String,
    /// Failures among so many runs.
    pub(super) rate: String,
    pub(super) cells: Vec<Option<TestCell>>,
    order: (bool, usize),
}

pub(super) struct TestCell {
    pub(super) build: String,
    pub(super) mark: Mark,
}

/// The tests that have failed among the last 500 runs of each step of `rows`, which are of one
/// repository and builder, newest first: those that fail now, then those that failed most often.
///
/// # Errors
/// When the records cannot be read.
pub(super) async fn test_histories(
    records: &dyn Records,
    rows: &[BuildRow],
) -> Result<Vec<TestHistory>> {
    let Some(newest) = rows.first() else {
        return Ok(Vec::new());
    };
    let (repo, builder) = (&newest.item.repo, &newest.builder);
    let steps: BTreeSet<_> = rows.iter().flat_map(|row| &row.steps).collect();
    let mut histories = Vec::new();
    for step in steps {
        let past = records.tested(repo, builder, step, Seq(u64::MAX), HISTORY_RUNS);
        histories.extend(of_step(step, &past.await?, rows));
    }
    histories.sort_by(|a, b| (b.order, &a.name).cmp(&(a.order, &b.name)));
    histories.truncate(TESTS);
    Ok(histories)
}

fn of_step(step: &StepName, past: &[Tested], rows: &[BuildRow]) -> Vec<TestHistory> {
    let runs = by_build(past);
    let failed: BTreeSet<&Name> = past
        .iter()
        .flat_map(|tested| &tested.tests.failures)
        .collect();
    let of = |test: &&Name| history(step, test, &runs, rows);
    failed.iter().map(of).collect()
}

fn history(
    step: &StepName,
    test: &Name,
    past: &BTreeMap<PastPlace, Past<'_>>,
    rows: &[BuildRow],
) -> TestHistory {
    let runs: Vec<Run> = past.values().map(|run| run.of(test)).collect();
    let failures = runs.iter().filter(|run| run.failed).count();
    let in_build: BTreeMap<u64, bool> = past
        .iter()
        .zip(&runs)
        .map(|(((_, number), _), run)| (*number, run.failed))
        .collect();
    let cell = |row: &BuildRow| {
        let failed = *in_build.get(&row.number.0)?;
        Some(TestCell {
            build: row.id.to_string(),
            mark: if failed { FAILED } else { PASSED },
        })
    };
    let fails_now = runs.last().is_some_and(|run| run.failed);
    TestHistory {
        name: test.to_string(),
        step: step.to_string(),
        verdict: verdict(&runs),
        rate: format!("{failures} in {}", runs.len()),
        cells: rows.iter().map(cell).collect(),
        order: (fails_now, failures),
    }
}

/// What is known of a test after all its runs.
fn verdict(runs: &[Run]) -> String {
    match runs.split_last() {
        Some((last, before)) if last.failed => judge(before).to_string(),
        _ => match judge(runs) {
            Verdict::KnownFlake { .. } => "flaky, passes now".into(),
            _ => "mended, passes now".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use build_core::ids::CommitHash;

    /// `+` passed, `-` failed; each run a commit of its own.
    fn said(text: &str) -> String {
        let commit = |n: usize| CommitHash::new(format!("{n:040x}")).unwrap();
        let runs = text.chars().enumerate().map(|(n, c)| Run {
            commit: commit(n),
            failed: c == '-',
        });
        verdict(&runs.collect::<Vec<_>>())
    }

    #[test]
    fn a_test_that_passes_again_was_a_flake_or_was_mended() {
        assert_eq!(said("++-"), "new (passed in 2 before)");
        assert_eq!(said("+-+-"), "known flake (1 in 3)");
        assert_eq!(said("+--"), "broken since 0000000000");
        assert_eq!(said("+-+"), "flaky, passes now");
        assert_eq!(said("+--+"), "mended, passes now");
    }
}
