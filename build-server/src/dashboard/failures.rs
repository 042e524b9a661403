//! The tests that have failed in the past that is kept: how often, when last, and what that says.

use std::collections::{BTreeMap, BTreeSet};

use build_core::Result;
use build_core::event::Seq;
use build_core::flakes::{HISTORY_RUNS, Run, judge, was_flaky};
use build_core::ids::{CommitHash, StepName};
use build_core::name::Name;

use super::words::{FAILED, Mark, PASSED};
use crate::flakes::{Past, by_build, history, order_of_builds};
use crate::record::{BuildRow, Tested};
use crate::web::Site;

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
pub(super) async fn test_histories(site: &Site, rows: &[BuildRow]) -> Result<Vec<TestHistory>> {
    // Judged along the branch of the newest commit, which need not be what was built last.
    let Some(newest) = rows.iter().max_by_key(|row| row.item.place()) else {
        return Ok(Vec::new());
    };
    let records = site.store().records();
    let (repo, builder) = (&newest.item.repo, &newest.builder);
    let line = history(&**site.handle().checkouts(), &newest.item).await;
    let steps: BTreeSet<_> = rows.iter().flat_map(|row| &row.steps).collect();
    let mut histories = Vec::new();
    for step in steps {
        let past = records.tested(repo, builder, step, Seq(u64::MAX), HISTORY_RUNS);
        let mut past = past.await?;
        past.retain(|tested| tested.is_of(&newest.item));
        histories.extend(of_step(step, &past, line.as_deref(), rows));
    }
    histories.sort_by(|a, b| (b.order, &a.name).cmp(&(a.order, &b.name)));
    histories.truncate(TESTS);
    Ok(histories)
}

fn of_step(
    step: &StepName,
    past: &[Tested],
    line: Option<&[CommitHash]>,
    rows: &[BuildRow],
) -> Vec<TestHistory> {
    let runs = by_build(past);
    let built = runs.values().last().map(|run| run.commit);
    let line = match (line, built) {
        (Some(line), _) => line.to_vec(),
        (None, Some(newest)) => order_of_builds(newest, &runs),
        (None, None) => return Vec::new(),
    };
    let failed: BTreeSet<&Name> = past
        .iter()
        .flat_map(|tested| &tested.tests.failures)
        .collect();
    let of = |test: &&Name| history_of(step, test, &runs, &line, rows);
    failed.iter().map(of).collect()
}

fn history_of(
    step: &StepName,
    test: &Name,
    past: &BTreeMap<u64, Past<'_>>,
    line: &[CommitHash],
    rows: &[BuildRow],
) -> TestHistory {
    let in_build: BTreeMap<u64, Run> = past
        .iter()
        .filter_map(|(number, run)| Some((*number, run.of(test)?)))
        .collect();
    let runs: Vec<Run> = in_build.values().cloned().collect();
    let failures = runs.iter().filter(|run| run.failed).count();
    let cell = |row: &BuildRow| {
        let failed = in_build.get(&row.number.0)?.failed;
        Some(TestCell {
            build: row.id.to_string(),
            mark: if failed { FAILED } else { PASSED },
        })
    };
    let (fails_now, verdict) = verdict(line, &runs);
    TestHistory {
        name: test.to_string(),
        step: step.to_string(),
        verdict,
        rate: format!("{failures} in {}", runs.len()),
        cells: rows.iter().map(cell).collect(),
        order: (fails_now, failures),
    }
}

/// Whether a test fails at the newest commit of `line` that was built, and what is known of it.
/// `runs` are in order of being asked for.
fn verdict(line: &[CommitHash], runs: &[Run]) -> (bool, String) {
    let is_built = |commit: &&CommitHash| runs.iter().any(|run| run.commit == **commit);
    let Some(newest) = line.iter().find(is_built) else {
        return (false, "failed on other branches".into());
    };
    let at = line.iter().position(|c| c == newest).unwrap_or_default();
    let last = runs.iter().rposition(|run| run.commit == *newest);
    match last.filter(|last| runs[*last].failed) {
        Some(last) => {
            let others = runs.iter().enumerate().filter(|(n, _)| *n != last);
            let others: Vec<Run> = others.map(|(_, run)| run.clone()).collect();
            (true, judge(&line[at..], &others).to_string())
        }
        None if was_flaky(line, runs) => (false, "flaky, passes now".into()),
        None if runs.iter().any(|r| r.failed && line.contains(&r.commit)) => {
            (false, "mended, passes now".into())
        }
        None => (false, "failed on other branches".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(n: usize) -> CommitHash {
        CommitHash::new(format!("{n:040x}")).unwrap()
    }

    /// `+` passed, `-` failed; each run of the commit whose number comes before it.
    fn said(text: &str) -> String {
        let runs: Vec<Run> = text
            .as_bytes()
            .chunks(2)
            .map(|run| Run {
                commit: commit(usize::from(run[0] - b'0')),
                failed: run[1] == b'-',
                again: false,
            })
            .collect();
        let line: Vec<_> = (0..5).rev().map(commit).collect();
        verdict(&line, &runs).1
    }

    #[test]
    fn a_test_that_passes_again_was_a_flake_or_was_mended() {
        assert_eq!(said("0+1+2-"), "new (no failure in 2 runs before)");
        assert_eq!(said("0+1-1+2-"), "known flake (1 in 3)");
        assert_eq!(said("0+1-2-"), "broken since 0000000000");
        assert_eq!(said("0+1-1+"), "flaky, passes now");
        assert_eq!(said("0+1-2+"), "mended, passes now");
        assert_eq!(said("0+9-"), "failed on other branches");
        // The commit in the middle was built last.
        assert_eq!(said("0+2+1-"), "mended, passes now");
    }
}
