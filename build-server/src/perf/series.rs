//! Benchmarks over commits: what the dashboard shows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use build_core::Result;
use build_core::benchfmt::{Better, Result as Bench, better};
use build_core::benchstat::{Change, Sample, changes};
use serde::Serialize;

use super::store::PerfStore;

/// Changes are told when they are less probable than this by chance.
const ALPHA: f64 = 0.01;
/// And at least this large, as a ratio.
const LEAST: f64 = 0.01;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// A benchmark's name; empty or `all` for each.
    pub(super) benchmark: String,
    /// A unit; empty for each.
    pub(super) unit: String,
    /// The label `repository`; empty for each.
    pub(super) repository: String,
    /// The label `branch`; empty for each.
    pub(super) branch: String,
    /// `goos/goarch`; empty or `all` for each.
    pub(super) platform: String,
    /// Times between which commits are; as text they compare as they do as times.
    pub(super) since: String,
    pub(super) until: String,
}

/// A benchmark, in a unit, on a platform, over commits.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) platform: String,
    pub(super) higher_is_better: bool,
    pub(super) values: Vec<Point>,
    pub(super) regression: Option<Regression>,
    #[serde(skip)]
    pub(super) changes: Vec<Change>,
}

/// One commit: ratios to the baseline, less one.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Point {
    pub(super) commit_hash: String,
    pub(super) commit_date: String,
    pub(super) baseline_commit_hash: String,
    pub(super) benchmarks_commit_hash: String,
    pub(super) low: f64,
    pub(super) center: f64,
    pub(super) high: f64,
    /// The median itself.
    #[serde(skip)]
    pub(super) median: f64,
}

/// The last change for the worse.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Regression {
    /// By how much, as a ratio.
    pub(super) change: f64,
    /// The index of the first value after it.
    pub(super) delta_index: usize,
}

#[derive(Default)]
struct Commit {
    experiment: Vec<f64>,
    baseline: Vec<f64>,
    labels: BTreeMap<&'static str, String>,
}

/// The name of a benchmark, its unit and its platform.
type Key = (String, String, String);

fn text(result: &Bench, keys: &[&str]) -> String {
    let found = keys.iter().find_map(|key| result.labels.get(*key));
    found.cloned().unwrap_or_default()
}

fn platform(result: &Bench) -> String {
    let part = |key| text(result, &[key]);
    match (part("goos"), part("goarch")) {
        (os, arch) if os.is_empty() && arch.is_empty() => part("platform"),
        (os, arch) => format!("{os}/{arch}"),
    }
}

/// When a commit was made; the time of the upload when it is not said.
pub(super) fn date(result: &Bench) -> String {
    text(
        result,
        &["commit-time", "experiment-commit-time", "upload-time"],
    )
}

impl Wanted {
    fn is_wanted(&self, result: &Bench) -> bool {
        let all = |wanted: &str| wanted.is_empty() || wanted == "all";
        let label = |wanted: &str, key: &str| {
            wanted.is_empty() || result.labels.get(key).is_none_or(|v| v == wanted)
        };
        let name = result.name().without_procs();
        let date = date(result);
        (all(&self.benchmark) || self.benchmark == name || self.benchmark == result.name().base())
            && label(&self.repository, "repository")
            && label(&self.branch, "branch")
            && (all(&self.platform) || self.platform == platform(result))
            && (self.since.is_empty() || date >= self.since)
            && (self.until.is_empty() || date <= self.until)
    }
}

/// The names of all benchmarks, with their repositories.
pub(super) fn benchmarks(store: &PerfStore) -> Result<BTreeMap<String, String>> {
    let mut names = BTreeMap::new();
    for upload in store.uploads() {
        if let Some(known) = upload.summary.names() {
            names.extend(known.clone());
            continue;
        }
        let results = store.results(&upload)?;
        for result in results.iter().filter(|result| has_commit(result)) {
            let name = result.name().without_procs().to_owned();
            names.insert(name, repository(result));
        }
    }
    Ok(names)
}

pub(super) fn has_commit(result: &Bench) -> bool {
    !text(result, &["experiment-commit", "commit"]).is_empty()
}

/// The repository that a result is of.
pub(super) fn repository(result: &Bench) -> String {
    text(result, &["repository"])
}

/// The series of what is wanted, by name, unit and platform.
///
/// Values of a commit are compared with results of the same commit that are labelled
/// `toolchain: baseline`; without such ones with the first commit of the series.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn series(store: &PerfStore, wanted: &Wanted) -> Result<Vec<Series>> {
    let mut all: BTreeMap<Key, BTreeMap<(String, String), Commit>> = BTreeMap::new();
    let mut add = |result: &Bench| {
        if !has_commit(result) || !wanted.is_wanted(result) {
            return;
        }
        let commit = text(result, &["experiment-commit", "commit"]);
        let is_baseline = text(result, &["toolchain"]) == "baseline";
        for measure in &result.values {
            if !wanted.unit.is_empty() && wanted.unit != measure.unit {
                continue;
            }
            let name = result.name().without_procs().to_owned();
            let key = (name, measure.unit.clone(), platform(result));
            let commits = all.entry(key).or_default();
            let commit = commits.entry((date(result), commit.clone())).or_default();
            match is_baseline {
                true => commit.baseline.push(measure.value),
                false => commit.experiment.push(measure.value),
            }
            for key in ["baseline-commit", "benchmarks-commit"] {
                if let Some(value) = result.labels.get(key) {
                    commit.labels.insert(key, value.clone());
                }
            }
        }
    };
    store.visit(
        |summary| summary.may_be_between(&wanted.since, &wanted.until),
        |result| {
            add(result);
            ControlFlow::Continue(())
        },
    )?;
    let all = all.into_iter();
    Ok(all.filter_map(|(key, commits)| one(key, commits)).collect())
}

fn one((name, unit, platform): Key, commits: BTreeMap<(String, String), Commit>) -> Option<Series> {
    let mut values: Vec<Point> = Vec::new();
    let mut first = None;
    for ((date, hash), mut commit) in commits {
        let Some(summary) = Sample::new(commit.experiment.iter().copied()).summary() else {
            continue;
        };
        let baseline = Sample::new(commit.baseline.iter().copied()).median();
        let base = baseline.unwrap_or_else(|| *first.get_or_insert(summary.center));
        let ratio = |value: f64| if base == 0.0 { 0.0 } else { value / base - 1.0 };
        let (low, high) = summary.interval.unwrap_or_else(|| {
            let sample = Sample::new(commit.experiment.iter().copied());
            let all = sample.values();
            (all[0], all[all.len() - 1])
        });
        values.push(Point {
            commit_hash: hash,
            commit_date: date,
            baseline_commit_hash: commit.labels.remove("baseline-commit").unwrap_or_default(),
            benchmarks_commit_hash: commit
                .labels
                .remove("benchmarks-commit")
                .unwrap_or_default(),
            low: ratio(low),
            center: ratio(summary.center),
            high: ratio(high),
            median: summary.center,
        });
    }
    // Ratios around nought have no ratio of their own: one more than each has.
    let centers: Vec<f64> = values.iter().map(|v| v.center + 1.0).collect();
    let changes = changes(&centers, ALPHA, LEAST);
    let higher_is_better = better(&unit) == Better::Higher;
    let worse = changes
        .iter()
        .rev()
        .find(|c| (c.delta() < 0.0) == higher_is_better);
    let regression = worse.map(|change| Regression {
        change: change.delta(),
        delta_index: change.at,
    });
    (!values.is_empty()).then_some(Series {
        name,
        unit,
        platform,
        higher_is_better,
        values,
        regression,
        changes,
    })
}
