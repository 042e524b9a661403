//! Is a failed test new, flaky, or broken since some commit? Told from its past.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::CommitHash;

/// How many runs of the past are looked at.
pub const HISTORY_RUNS: usize = 500;

/// One run of the step that holds the test, on the same builder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What was built.
    pub commit: CommitHash,
    /// Whether the test failed in it.
    pub failed: bool,
}

/// What the past says of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// It never failed for a while and then passed by itself: this change is the first suspect.
    New {
        /// How many runs there were before.
        runs: usize,
    },
    /// It failed before and passed again without anybody's doing.
    KnownFlake {
        /// Such failures among the runs before.
        failed: usize,
        /// The runs before.
        runs: usize,
    },
    /// It has failed in every run since a commit.
    BrokenSince {
        /// The first that failed.
        commit: CommitHash,
        /// How many runs failed before this one.
        failed: usize,
    },
}

impl Verdict {
    /// Whether running the test again may tell something: not of one that is known to be broken.
    pub fn is_worth_a_rerun(&self) -> bool {
        matches!(self, Self::New { .. } | Self::KnownFlake { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New { runs: 0 } => f.write_str("new (no runs before)"),
            Self::New { runs } => write!(f, "new (passed in {runs} before)"),
            Self::KnownFlake { failed, runs } => write!(f, "known flake ({failed} in {runs})"),
            Self::BrokenSince { commit, .. } => write!(f, "broken since {}", commit.short()),
        }
    }
}

/// Judges a failure by the runs before it, the oldest first.
///
/// A failure counts as a flake when the next run passed although it built the same commit, or
/// when it stood alone between runs that passed; a longer row of failures was a real one that
/// somebody mended.
///
/// ```
/// use build_core::flakes::{Run, Verdict, judge};
/// use build_core::ids::CommitHash;
///
/// let commit = |n: char| CommitHash::new(n.to_string().repeat(40)).unwrap();
/// let run = |n, failed| Run { commit: commit(n), failed };
/// assert_eq!(judge(&[run('a', false)]), Verdict::New { runs: 1 });
/// let alone = [run('a', false), run('b', true), run('c', false)];
/// assert_eq!(judge(&alone).to_string(), "known flake (1 in 3)");
/// let row = [run('a', false), run('b', true), run('c', true)];
/// assert_eq!(judge(&row).to_string(), "broken since bbbbbbbbbb");
/// ```
pub fn judge(before: &[Run]) -> Verdict {
    let runs = before.len();
    let row = before.iter().rev().take_while(|run| run.failed).count();
    let flakes = flakes(&before[..runs - row]);
    match row {
        // A flake that happens twice in a row is still one.
        0 | 1 if flakes > 0 => Verdict::KnownFlake {
            failed: flakes + row,
            runs,
        },
        0 => Verdict::New { runs },
        _ => Verdict::BrokenSince {
            commit: before[runs - row].commit.clone(),
            failed: row,
        },
    }
}

/// Failures that went away by themselves, in runs that end with one that passed.
fn flakes(runs: &[Run]) -> usize {
    let mut flakes = 0;
    let mut row = 0;
    for (at, run) in runs.iter().enumerate() {
        if run.failed {
            row += 1;
            continue;
        }
        let same_commit = row > 0 && runs[at - 1].commit == run.commit;
        if row == 1 || same_commit {
            flakes += 1;
        }
        row = 0;
    }
    flakes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+` passed, `-` failed; each run a commit of its own.
    fn past(text: &str) -> Vec<Run> {
        let commit = |n: usize| CommitHash::new(format!("{n:010x}{:030}", 0)).unwrap();
        let runs = text.chars().enumerate();
        runs.map(|(n, c)| Run {
            commit: commit(n),
            failed: c == '-',
        })
        .collect()
    }

    fn verdict(text: &str) -> String {
        judge(&past(text)).to_string()
    }

    #[test]
    fn the_past_tells() {
        assert_eq!(verdict(""), "new (no runs before)");
        assert_eq!(verdict("+++++"), "new (passed in 5 before)");
        assert_eq!(verdict("++-++"), "known flake (1 in 5)");
        assert_eq!(verdict("++-+-"), "known flake (2 in 5)");
        assert_eq!(verdict("-"), "broken since 0000000000");
        assert_eq!(verdict("+-++--"), "broken since 0000000004");
    }

    #[test]
    fn a_row_that_somebody_mended_is_no_flake() {
        assert_eq!(verdict("++---++"), "new (passed in 7 before)");
    }

    #[test]
    fn passing_again_on_the_same_commit_is_one_whatever_the_row() {
        let mut runs = past("+--+");
        runs[3].commit = runs[2].commit.clone();
        assert_eq!(judge(&runs).to_string(), "known flake (1 in 4)");
    }
}
