//! What the past says of the tests that failed in a build.

use std::collections::{BTreeMap, BTreeSet};

use build_core::Result;
use build_core::event::Seq;
use build_core::flakes::{self, HISTORY_RUNS, Verdict};
use build_core::ids::{BuildId, StepName};
use build_core::name::Name;
use serde::{Deserialize, Serialize};

use crate::record::{BuildRow, Tested};
use crate::store::Records;

/// A test that failed, and whether that is news.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedTest {
    /// The step that ran it.
    pub step: StepName,
    /// Its name, as its runner prints it.
    pub test: Name,
    /// What its past says.
    pub verdict: Verdict,
}

/// The tests that failed in the last attempt of each unit of a build, each judged by up to 500
/// earlier runs of its step on the same builder.
///
/// # Errors
/// When the store cannot be read.
pub async fn failed_tests(records: &dyn Records, row: &BuildRow) -> Result<Vec<FailedTest>> {
    let mut found = Vec::new();
    let before = first_number(records, row).await?;
    for (step, tests) in failures(row) {
        let (repo, builder) = (&row.item.repo, &row.builder);
        let past = records
            .tested(repo, builder, &step, before, HISTORY_RUNS)
            .await?;
        let past = by_build(&past);
        for test in tests {
            let runs: Vec<_> = past.values().map(|run| run.of(&test)).collect();
            found.push(FailedTest {
                step: step.clone(),
                verdict: flakes::judge(&runs),
                test,
            });
        }
    }
    Ok(found)
}

/// Whether running a build again may tell something: tests failed, and of all of them it is not
/// known that they are broken.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn is_worth_a_rerun(records: &dyn Records, row: &BuildRow) -> Result<bool> {
    let failed = failed_tests(records, row).await?;
    let worth = |test: &FailedTest| test.verdict.is_worth_a_rerun();
    Ok(!failed.is_empty() && failed.iter().all(worth))
}

/// What a build that runs another one again shows is judged by the past of the first one.
async fn first_number(records: &dyn Records, row: &BuildRow) -> Result<Seq> {
    let Some(first) = &row.item.rerun_of else {
        return Ok(row.number);
    };
    let first = records.build(first).await?;
    Ok(first.map_or(row.number, |first| first.number))
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

/// A step of an earlier build, all its shards together.
pub(crate) struct Past<'a> {
    commit: &'a build_core::ids::CommitHash,
    failures: BTreeSet<&'a Name>,
}

impl Past<'_> {
    pub(crate) fn of(&self, test: &Name) -> flakes::Run {
        flakes::Run {
            commit: self.commit.clone(),
            failed: self.failures.contains(test),
        }
    }
}

/// Where a build stands among the others: one that runs another again directly behind it.
pub(crate) type PastPlace = (u64, u64);

/// Oldest build first.
pub(crate) fn by_build(past: &[Tested]) -> BTreeMap<PastPlace, Past<'_>> {
    let numbers: BTreeMap<&BuildId, u64> = past.iter().map(|t| (&t.build, t.number.0)).collect();
    let mut builds = BTreeMap::new();
    for tested in past {
        let first = tested.rerun_of.as_ref().and_then(|id| numbers.get(id));
        let own = tested.number.0;
        let entry = builds.entry((first.copied().unwrap_or(own), own));
        let past: &mut Past<'_> = entry.or_insert_with(|| Past {
            commit: &tested.commit,
            failures: BTreeSet::new(),
        });
        past.failures.extend(&tested.tests.failures);
    }
    builds
}
