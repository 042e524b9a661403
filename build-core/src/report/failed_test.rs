//! A test that failed, and whether that is news.

use serde::{Deserialize, Serialize};

use crate::flakes::Verdict;
use crate::ids::{CommitHash, StepName};
use crate::name::Name;

/// A test that failed in a build, judged by its past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedTest {
    /// The step that ran it.
    pub step: StepName,
    /// Its name, as its runner prints it.
    pub test: Name,
    /// What its past says.
    pub verdict: VerdictWord,
    /// The runs before that were looked at: since it failed last of a new failure, all of a flake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<usize>,
    /// How many of them failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<usize>,
    /// The first commit at which it failed, of what is broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<CommitHash>,
    /// The verdict in words, such as `known flake (7 in 500)`.
    pub text: String,
}

/// What the past says of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictWord {
    /// It did not fail for a while, or was never seen.
    New,
    /// It failed and passed at one commit.
    KnownFlake,
    /// It has failed in every run since a commit.
    BrokenSince,
}

impl VerdictWord {
    /// Whether running the test again may tell something: not of one that is known to be broken.
    pub fn is_worth_a_rerun(self) -> bool {
        self != Self::BrokenSince
    }
}

impl FailedTest {
    /// The report of a verdict.
    pub fn new(step: StepName, test: Name, verdict: &Verdict) -> Self {
        let text = verdict.to_string();
        let (verdict, runs, failed, since) = match verdict {
            Verdict::New { runs } => (VerdictWord::New, Some(*runs), None, None),
            Verdict::NewTest { .. } => (VerdictWord::New, Some(0), None, None),
            Verdict::KnownFlake { failed, runs } => {
                (VerdictWord::KnownFlake, Some(*runs), Some(*failed), None)
            }
            Verdict::BrokenSince { commit, failed } => {
                let since = Some(commit.clone());
                (VerdictWord::BrokenSince, None, Some(*failed), since)
            }
        };
        Self {
            step,
            test,
            verdict,
            runs,
            failed,
            since,
            text,
        }
    }
}
