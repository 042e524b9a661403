//! The steps of a build, with every run of every unit and its reasons.

use build_core::ids::StepName;
use build_core::sentences::{self, took};

use super::page::Frame;
use super::time::When;
use super::words::{self, Mark, NOT_RUN, WAITING};
use crate::record::{BuildRow, Run};

/// A step.
pub(super) struct StepView {
    pub(super) name: String,
    pub(super) mark: Mark,
    pub(super) runs: Vec<RunView>,
}

/// A run of a unit of it.
pub(super) struct RunView {
    /// Counted from 1 in order of being started.
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) mark: Mark,
    /// How it ended, or for how long it has run.
    pub(super) text: String,
    /// Why there is more than one attempt.
    pub(super) why: Option<String>,
    pub(super) tests: u64,
    pub(super) when: When,
    pub(super) took: String,
    pub(super) bytes: Option<String>,
}

/// Every step in the order of the plan.
pub(super) fn steps(frame: &Frame, row: &BuildRow) -> Vec<StepView> {
    let numbered = || (1..).zip(&row.runs);
    let step = |name: &StepName| {
        let runs: Vec<_> = numbered().filter(|(_, r)| r.unit.step == *name).collect();
        StepView {
            name: name.to_string(),
            mark: mark(row, &runs),
            runs: runs.iter().map(|(n, r)| view(frame, row, *n, r)).collect(),
        }
    };
    row.steps.iter().map(step).collect()
}

/// What a step as a whole is: what is worst among the last attempts of its units.
fn mark(row: &BuildRow, runs: &[(usize, &Run)]) -> Mark {
    let is_last = |run: &Run| {
        let same = runs.iter().filter(|(_, other)| other.unit == run.unit);
        same.map(|(_, other)| other.attempt).max() == Some(run.attempt)
    };
    let last = runs.iter().map(|(_, run)| *run).filter(|run| is_last(run));
    let marks: Vec<Mark> = last.map(Mark::from).collect();
    let order = [
        words::FAILED,
        words::MISCONFIGURED,
        words::RUNNING,
        words::LOST,
        words::CANCELED,
        words::PASSED,
    ];
    let worst = order.into_iter().find(|mark| marks.contains(mark));
    worst.unwrap_or(if row.state.is_final() {
        NOT_RUN
    } else {
        WAITING
    })
}

fn view(frame: &Frame, row: &BuildRow, number: usize, run: &Run) -> RunView {
    let spent = run.took.unwrap_or_else(|| frame.now.since(run.started));
    RunView {
        number,
        name: name(run),
        mark: run.into(),
        text: run
            .end
            .as_ref()
            .map_or_else(|| "running".into(), sentences::end),
        why: why_again(row, run),
        tests: run.tests,
        when: frame.when(run.started),
        took: took(spent),
        bytes: run.end.is_some().then(|| size(run.output_bytes)),
    }
}

/// A run by its unit and, beyond the first, its attempt.
pub(super) fn name(run: &Run) -> String {
    match run.attempt {
        0 | 1 => run.unit.to_string(),
        n => format!("{}, attempt {n}", run.unit),
    }
}

/// Why a unit is run again: how the attempt before ended.
fn why_again(row: &BuildRow, run: &Run) -> Option<String> {
    let before = run.attempt.checked_sub(1)?;
    let mut runs = row.runs.iter().filter(|other| other.unit == run.unit);
    let before = runs.find(|other| other.attempt == before)?;
    let reason = sentences::end(before.end.as_ref()?);
    Some(format!(
        "again, because attempt {}: {reason}",
        before.attempt
    ))
}

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
