//! How much a log holds.

use std::str::FromStr;

/// A size of log. The larger ones resemble the Go project's at a time. Each
/// entity has its own random stream, so the same issue or change lives the same
/// life in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// About 12 MB, for tests.
    Tiny,
    /// About 0.4 GB.
    Go2017,
    /// About 1.65 GB.
    Go2020,
    /// About 2.2 GB.
    Go2022,
}

impl Profile {
    /// All profiles, small to large.
    pub const ALL: [Self; 4] = [Self::Tiny, Self::Go2017, Self::Go2020, Self::Go2022];

    /// The name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Go2017 => "go2017",
            Self::Go2020 => "go2020",
            Self::Go2022 => "go2022",
        }
    }

    pub(super) fn counts(self) -> Counts {
        match self {
            Self::Tiny => Counts {
                issues: 500,
                changes: 600,
                imported: 40,
                history: 1_500,
                projects: 5,
                repos: 5,
            },
            Self::Go2017 => Counts {
                issues: 22_000,
                changes: 14_000,
                imported: 1_000,
                history: 40_000,
                projects: 35,
                repos: 35,
            },
            Self::Go2020 => Counts {
                issues: 52_000,
                changes: 60_000,
                imported: 3_000,
                history: 32_000,
                projects: 48,
                repos: 45,
            },
            Self::Go2022 => Counts {
                issues: 64_000,
                changes: 78_000,
                imported: 3_000,
                history: 32_000,
                projects: 52,
                repos: 50,
            },
        }
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name() == name)
            .ok_or_else(|| UnknownProfile(name.to_owned()))
    }
}

/// There is no profile of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile {0:?}; there are tiny, go2017, go2020 and go2022")]
pub struct UnknownProfile(String);

/// How many entities of each kind begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) issues: u64,
    pub(super) changes: u64,
    /// Changes that are already there at the start.
    pub(super) imported: u64,
    /// Commits that are already there at the start.
    pub(super) history: u64,
    pub(super) projects: u64,
    pub(super) repos: u64,
}
