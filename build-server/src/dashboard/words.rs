//! One language for how things went: a colour, a sign and a word, each enough alone.

use build_core::buildlet::ExecOutcome;
use build_core::event::{Outcome, UnitEnd};
use build_core::report::BuildStatus;
use build_core::sentences::took;

use crate::record::{BuildRow, Run};

/// How something went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Of the style sheet.
    pub(super) class: &'static str,
    /// A shape.
    pub(super) sign: &'static str,
    /// For people.
    pub(super) word: &'static str,
}

const fn mark(class: &'static str, sign: &'static str, word: &'static str) -> Mark {
    Mark { class, sign, word }
}

pub(super) const WAITING: Mark = mark("w", "○", "waiting");
pub(super) const RUNNING: Mark = mark("r", "◐", "running");
pub(super) const PASSED: Mark = mark("p", "✓", "passed");
pub(super) const FAILED: Mark = mark("f", "✗", "failed");
pub(super) const MISCONFIGURED: Mark = mark("c", "?", "misconfigured");
pub(super) const LOST: Mark = mark("i", "!", "machine lost");
pub(super) const CANCELED: Mark = mark("x", "–", "canceled");
pub(super) const NOT_RUN: Mark = mark("x", "·", "not run");

/// Every mark with what it means, for the legend.
pub(super) const LEGEND: [Mark; 7] = [
    PASSED,
    FAILED,
    RUNNING,
    WAITING,
    LOST,
    MISCONFIGURED,
    CANCELED,
];

impl From<BuildStatus> for Mark {
    fn from(state: BuildStatus) -> Self {
        match state {
            BuildStatus::Queued => WAITING,
            BuildStatus::Running => RUNNING,
            BuildStatus::Passed => PASSED,
            BuildStatus::Failed => FAILED,
            BuildStatus::Misconfigured => MISCONFIGURED,
            BuildStatus::Infrastructure => LOST,
            BuildStatus::Canceled => CANCELED,
        }
    }
}

impl From<&Run> for Mark {
    fn from(run: &Run) -> Self {
        match &run.end {
            None => RUNNING,
            Some(UnitEnd::Exited(ExecOutcome::Ok)) => PASSED,
            Some(UnitEnd::Exited(ExecOutcome::Lost) | UnitEnd::Lost(_) | UnitEnd::Interrupted) => {
                LOST
            }
            Some(UnitEnd::Canceled | UnitEnd::Exited(ExecOutcome::Killed)) => CANCELED,
            Some(UnitEnd::MissingTool(_)) => MISCONFIGURED,
            Some(_) => FAILED,
        }
    }
}

/// How a build that has ended did, and what running its failed tests again has shown.
pub(super) fn ended(row: &BuildRow, how: &Outcome) -> String {
    let sentence = outcome(row, how);
    match (&row.rerun, &row.item.rerun_of) {
        (Some(rerun), _) => format!("{sentence} The commit {}.", rerun.verdict()),
        (None, Some(first)) => format!("{sentence} It ran the failed tests of {first} again."),
        (None, None) => sentence,
    }
}

/// How a build that has ended did, as one sentence.
fn outcome(row: &BuildRow, outcome: &Outcome) -> String {
    let spent = match (row.started, row.finished) {
        (Some(started), Some(finished)) => took(finished.since(started)),
        _ => String::new(),
    };
    let after = |word: &str| match spent.is_empty() {
        true => String::new(),
        false => format!(" {word} {spent}"),
    };
    match outcome {
        Outcome::Passed => format!("Passed{} on {}.", after("in"), row.builder),
        Outcome::Failed { step, text } => {
            format!("Failed{}: step {step}: {text}.", after("after"))
        }
        Outcome::Misconfigured { text, .. } => format!("Could not be run as configured: {text}."),
        Outcome::Infrastructure { text } => format!("The machines failed, not the code: {text}."),
        Outcome::Canceled { by } => format!("Canceled by {by}{}.", after("after")),
        _ => "Ended in a way this version does not know.".into(),
    }
}
