//! What the past says of the tests that failed in a build.

mod seen;

use std::collections::{BTreeMap, BTreeSet};

use build_core::Result;
use build_core::event::{BlobRef, Seq};
use build_core::flakes::{self, HISTORY_RUNS, Verdict};
use build_core::ids::{BuildId, CommitHash, StepName};
use build_core::name::Name;
use build_core::report::FailedTest;
use build_core::test_lines::TestEnd;
use build_core::work::WorkItem;

use self::seen::{Ends, look_into, never_seen};
use crate::record::{BuildRow, Tested};
use crate::source::Checkouts;
use crate::store::{Blobs, Records};

/// The tests that failed in the last attempt of each unit of a build, each judged by up to 500
/// runs of its step on the same builder, along the history of the commit. Of the nearest ten the
/// results in `blobs` tell whether it was there at all.
///
/// # Errors
/// When the store cannot be read.
pub async fn failed_tests(
    records: &dyn Records,
    blobs: &dyn Blobs,
    checkouts: &dyn Checkouts,
    row: &BuildRow,
) -> Result<Vec<FailedTest>> {
    let mut found = Vec::new();
    let failures = failures(row);
    if failures.is_empty() {
        return Ok(found);
    }
    let history = history(checkouts, &row.item).await;
    let first = row.item.rerun_of.as_ref().unwrap_or(&row.id);
    for (step, tests) in failures {
        let past = past_of(records, row, &step).await?;
        let mut runs = by_build(&past);
        let history = match &history {
            Some(history) => history.clone(),
            None => order_of_builds(&row.item.commit, &runs),
        };
        runs.retain(|_, run| run.tells_of(row, first));
        look_into(blobs, &mut runs, &history, &tests).await;
        let others: Vec<&Past<'_>> = runs.values().collect();
        for test in tests {
            let runs: Vec<_> = others.iter().filter_map(|run| run.of(&test)).collect();
            let verdict = match (flakes::judge(&history, &runs), never_seen(&others, &test)) {
                (Verdict::New { .. }, Some(runs)) => Verdict::NewTest { runs },
                (verdict, _) => verdict,
            };
            found.push(FailedTest::new(step.clone(), test, &verdict));
        }
    }
    Ok(found)
}

/// Whether running a build again may tell something: tests failed, and of all of them it is not
/// known that they are broken.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn is_worth_a_rerun(
    records: &dyn Records,
    blobs: &dyn Blobs,
    checkouts: &dyn Checkouts,
    row: &BuildRow,
) -> Result<bool> {
    let failed = failed_tests(records, blobs, checkouts, row).await?;
    let worth = |test: &FailedTest| test.verdict.is_worth_a_rerun();
    Ok(!failed.is_empty() && failed.iter().all(worth))
}

/// The commit, its first parent and so on, when that can be told.
pub(crate) async fn history(checkouts: &dyn Checkouts, item: &WorkItem) -> Option<Vec<CommitHash>> {
    match checkouts.history(item, HISTORY_RUNS).await {
        Ok(history) => history.filter(|commits| !commits.is_empty()),
        Err(error) => {
            // A verdict that is less exact is better than none.
            tracing::warn!(repo = %item.repo, error = error.chain(), "no history to judge tests by");
            None
        }
    }
}

/// Instead of a history: commits as they were first built, those after `newest` left out.
pub(crate) fn order_of_builds(
    newest: &CommitHash,
    runs: &BTreeMap<u64, Past<'_>>,
) -> Vec<CommitHash> {
    let mut order: Vec<CommitHash> = Vec::new();
    for run in runs.values() {
        if run.commit == newest {
            break;
        }
        if !order.contains(run.commit) {
            order.push(run.commit.clone());
        }
    }
    order.push(newest.clone());
    order.reverse();
    order
}

/// Runs of a step of the repository and builder of `row`, those of other repositories that go by
/// the same name left out. Commits before it may be built after it, so the newest runs are
/// looked at as well as those before it.
async fn past_of(records: &dyn Records, row: &BuildRow, step: &StepName) -> Result<Vec<Tested>> {
    let (repo, builder) = (&row.item.repo, &row.builder);
    let newest = Seq(u64::MAX);
    let mut past = records
        .tested(repo, builder, step, newest, HISTORY_RUNS)
        .await?;
    let oldest = past.iter().map(|tested| tested.number).min();
    if let Some(oldest) = oldest.filter(|oldest| past.len() == HISTORY_RUNS && *oldest > row.number)
    {
        let until = Seq(row.number.0.saturating_add(1).min(oldest.0));
        let earlier = records.tested(repo, builder, step, until, HISTORY_RUNS);
        past.extend(earlier.await?);
    }
    past.retain(|tested| tested.is_of(&row.item));
    Ok(past)
}

/// The failed tests of each step, without those of attempts that were repeated.
fn failures(row: &BuildRow) -> BTreeMap<StepName, BTreeSet<Name>> {
    let mut last = BTreeMap::new();
    for run in &row.runs {
        last.insert(&run.unit, run);
    }
    let mut failures: BTreeMap<StepName, BTreeSet<Name>> = BTreeMap::new();
    for run in last.into_values() {
        let tests = run.tested.failures.iter().cloned();
        failures
            .entry(run.unit.step.clone())
            .or_default()
            .extend(tests);
    }
    failures.retain(|_, tests| !tests.is_empty());
    failures
}

/// A step of a build, all its shards together.
pub(crate) struct Past<'a> {
    build: &'a BuildId,
    number: Seq,
    rerun_of: Option<&'a BuildId>,
    pub(crate) commit: &'a CommitHash,
    failures: BTreeSet<&'a Name>,
    /// More failed than are named.
    unnamed: bool,
    /// The results of all its tests; `None` when those of a part of it were not kept.
    results: Option<Vec<&'a BlobRef>>,
    /// How the tests in question ended, when that was looked up.
    seen: Option<Ends>,
}

impl Past<'_> {
    /// Whether the run is evidence for or against a failure in `row`, which runs `first` again or
    /// is it: not the failure itself, nor what was asked for later at the same commit. Of the
    /// repetitions only one that failed says something of the past: that it is no flake.
    fn tells_of(&self, row: &BuildRow, first: &BuildId) -> bool {
        let is_again = self.rerun_of == Some(first);
        if is_again {
            return !self.failures.is_empty();
        }
        let is_same = *self.commit == row.item.commit;
        *self.build != row.id && self.build != first && (!is_same || self.number < row.number)
    }

    /// How `test` went; `None` when it was not in the run, or that cannot be known, for not all
    /// failures are named.
    pub(crate) fn of(&self, test: &Name) -> Option<flakes::Run> {
        let failed = self.failures.contains(test);
        let has_passed = || match &self.seen {
            Some(seen) => seen.get(test) == Some(&TestEnd::Passed),
            None => !self.unnamed,
        };
        (failed || has_passed()).then(|| flakes::Run {
            commit: self.commit.clone(),
            failed,
            again: self.rerun_of.is_some(),
        })
    }
}

/// Each build under its number.
pub(crate) fn by_build(past: &[Tested]) -> BTreeMap<u64, Past<'_>> {
    let mut builds = BTreeMap::new();
    for tested in past {
        let past: &mut Past<'_> = builds.entry(tested.number.0).or_insert_with(|| Past {
            build: &tested.build,
            number: tested.number,
            rerun_of: tested.rerun_of.as_ref(),
            commit: &tested.commit,
            failures: BTreeSet::new(),
            unnamed: false,
            results: Some(Vec::new()),
            seen: None,
        });
        let named = &tested.tests.failures;
        past.unnamed |= tested.tests.failed > named.len() as u64;
        past.failures.extend(named);
        let known = past.results.take().zip(tested.results.as_ref());
        past.results = known.map(|(mut all, results)| {
            all.push(results);
            all
        });
    }
    builds
}
