//! Is a failed test new, flaky, or broken since some commit? Told from its past.
//!
//! The past of a failure is the history of its commit along first parents, whatever order the
//! commits were built in: old ones are built late, when machines are idle. Only a pass and a
//! failure of one commit prove a flake.

use std::collections::HashMap;
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
    /// Whether it ran the failed tests of another build again.
    pub again: bool,
}

/// What the past says of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// It did not fail for a while, or there were no runs: this change is the first suspect.
    New {
        /// How many runs there were before since it failed last.
        runs: usize,
    },
    /// It was in none of the runs before that could be looked into.
    NewTest {
        /// How many those were.
        runs: usize,
    },
    /// It failed and passed at one commit.
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

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New { runs: 0 } => f.write_str("new (no runs before)"),
            Self::New { runs: 1 } => f.write_str("new (no failure in the run before)"),
            Self::New { runs } => write!(f, "new (no failure in {runs} runs before)"),
            Self::NewTest { runs: 1 } => f.write_str("new test (not in the run before)"),
            Self::NewTest { runs } => write!(f, "new test (not in {runs} runs before)"),
            Self::KnownFlake { failed, runs } => write!(f, "known flake ({failed} in {runs})"),
            Self::BrokenSince { commit, .. } => write!(f, "broken since {}", commit.short()),
        }
    }
}

/// The runs of one commit.
#[derive(Clone, Copy, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    failed_again: bool,
}

impl Tally {
    fn is_flaky(self) -> bool {
        self.passed > 0 && self.failed > 0 && !self.failed_again
    }

    fn is_broken(self) -> bool {
        self.failed > 0 && self.passed == 0
    }

    fn runs(self) -> usize {
        self.passed + self.failed
    }
}

/// Judges a failure at the first commit of `history`, which is followed by its first parent, the
/// first parent of that one, and so on. `runs` are all other runs, in any order; those of commits
/// outside of `history` say nothing.
///
/// A commit at which the test passed and failed proves a flake, unless a run that repeated the
/// failure failed as well: what fails again is no accident. Nothing that merely went away
/// with a later commit is one.
///
/// ```
/// use build_core::flakes::{Run, Verdict, judge};
/// use build_core::ids::CommitHash;
///
/// let commit = |n: char| CommitHash::new(n.to_string().repeat(40)).unwrap();
/// let run = |n, failed| Run { commit: commit(n), failed, again: false };
/// let history = [commit('d'), commit('c'), commit('b'), commit('a')];
/// assert_eq!(judge(&history, &[run('c', false)]), Verdict::New { runs: 1 });
/// let both = [run('b', true), run('b', false), run('c', false)];
/// assert_eq!(judge(&history, &both).to_string(), "known flake (1 in 3)");
/// // The commits were built in another order than they were made.
/// let row = [run('a', false), run('c', true), run('b', true)];
/// assert_eq!(judge(&history, &row).to_string(), "broken since bbbbbbbbbb");
/// ```
pub fn judge(history: &[CommitHash], runs: &[Run]) -> Verdict {
    let mut tallies: HashMap<&CommitHash, Tally> = HashMap::new();
    for run in runs {
        let tally = tallies.entry(&run.commit).or_default();
        match run.failed {
            true => tally.failed += 1,
            false => tally.passed += 1,
        }
        tally.failed_again |= run.failed && run.again;
    }
    let Some((own, before)) = history.split_first() else {
        return Verdict::New { runs: 0 };
    };
    let own = tallies.get(own).copied().unwrap_or_default();
    let past = before.iter();
    let past: Vec<_> = past
        .filter_map(|commit| Some((commit, *tallies.get(commit)?)))
        .collect();
    let looked_at = own.runs() + past.iter().map(|(_, t)| t.runs()).sum::<usize>();
    let row: Vec<_> = past.iter().take_while(|(_, t)| t.is_broken()).collect();
    let row = match own.passed {
        0 => &row[..],
        _ => &[],
    };
    let failed_in_row = row.iter().map(|(_, t)| t.failed).sum::<usize>();
    let failed_before = match own.passed {
        0 if !own.failed_again => own.failed + failed_in_row,
        _ => failed_in_row,
    };
    let flaky = past.iter().filter(|(_, t)| t.is_flaky());
    let mut flakes: usize = flaky.map(|(_, t)| t.failed).sum();
    if own.passed > 0 {
        flakes += 1 + own.failed;
    }
    let failed_again = own.failed_again || row.iter().any(|(_, t)| t.failed_again);
    if flakes > 0 && failed_before <= 1 && !failed_again {
        // A flake that happens twice in a row is still one.
        return Verdict::KnownFlake {
            failed: flakes + failed_before,
            runs: looked_at,
        };
    }
    match row.last() {
        Some((commit, _)) => Verdict::BrokenSince {
            commit: (*commit).clone(),
            failed: failed_before.max(1),
        },
        None if own.is_broken() && !own.failed_again => Verdict::BrokenSince {
            commit: history[0].clone(),
            failed: own.failed,
        },
        None => {
            let since = past.iter().take_while(|(_, t)| t.failed == 0);
            Verdict::New {
                runs: since.map(|(_, t)| t.passed).sum(),
            }
        }
    }
}

/// Whether some commit of `history` proves that the test is a flake.
pub fn was_flaky(history: &[CommitHash], runs: &[Run]) -> bool {
    let of = |commit: &CommitHash| {
        let mut tally = Tally::default();
        for run in runs.iter().filter(|run| run.commit == *commit) {
            tally.passed += usize::from(!run.failed);
            tally.failed += usize::from(run.failed);
            tally.failed_again |= run.failed && run.again;
        }
        tally.is_flaky()
    };
    history.iter().any(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(n: usize) -> CommitHash {
        CommitHash::new(format!("{n:010x}{:030}", 0)).unwrap()
    }

    /// The runs of each commit, the oldest commit first: `+` passed, `-` failed, `=` failed
    /// when it was run again. The failure that is judged is of one commit more, or of the last
    /// one when the text ends in `!`.
    fn past(text: &str) -> (Vec<CommitHash>, Vec<Run>) {
        let own = text.ends_with('!');
        let commits: Vec<&str> = text.trim_end_matches('!').split_whitespace().collect();
        let mut runs = Vec::new();
        for (n, of_commit) in commits.iter().enumerate() {
            runs.extend(of_commit.chars().filter(|c| *c != '.').map(|c| Run {
                commit: commit(n),
                failed: c != '+',
                again: c == '=',
            }));
        }
        let newest = commits.len() + usize::from(!own);
        ((0..newest).rev().map(commit).collect(), runs)
    }

    fn verdict(text: &str) -> String {
        let (history, runs) = past(text);
        let said = judge(&history, &runs);
        // What is judged depends on the history of commits, never on the order of builds.
        let backwards: Vec<_> = runs.into_iter().rev().collect();
        assert_eq!(judge(&history, &backwards), said, "{text}");
        said.to_string()
    }

    #[test]
    fn the_past_tells() {
        assert_eq!(verdict(""), "new (no runs before)");
        assert_eq!(verdict(". . ."), "new (no runs before)");
        assert_eq!(verdict("+"), "new (no failure in the run before)");
        assert_eq!(verdict("+ + + + +"), "new (no failure in 5 runs before)");
        assert_eq!(verdict("-"), "broken since 0000000000");
        assert_eq!(verdict("+ - + + - -"), "broken since 0000000004");
        assert_eq!(verdict("+ . - . - ."), "broken since 0000000002");
    }

    #[test]
    fn only_a_pass_and_a_failure_of_one_commit_are_a_flake() {
        assert_eq!(verdict("+ + - + +"), "new (no failure in 2 runs before)");
        assert_eq!(verdict("+ - - - +"), "new (no failure in the run before)");
        assert_eq!(verdict("+ -+ + +"), "known flake (1 in 5)");
        assert_eq!(verdict("+ +- + -"), "known flake (2 in 5)");
        assert_eq!(verdict("-+ + - -"), "broken since 0000000002");
        assert_eq!(verdict("+ !"), "known flake (1 in 1)");
    }

    #[test]
    fn what_failed_again_is_no_flake() {
        assert_eq!(verdict("+ -= + +"), "new (no failure in 2 runs before)");
        assert_eq!(verdict("+ -=+ +"), "new (no failure in the run before)");
        assert_eq!(verdict("-+ + -="), "broken since 0000000002");
        assert_eq!(verdict("-+ + =!"), "new (no failure in the run before)");
        assert_eq!(verdict("-+ + - =!"), "broken since 0000000002");
    }

    #[test]
    fn other_branches_say_nothing() {
        let (history, mut runs) = past("+ +");
        runs.extend([true, false].map(|failed| Run {
            commit: commit(99),
            failed,
            again: false,
        }));
        let said = judge(&history, &runs).to_string();
        assert_eq!(said, "new (no failure in 2 runs before)");
        assert!(!was_flaky(&history, &runs));
        assert!(was_flaky(&[commit(99)], &runs));
    }
}
