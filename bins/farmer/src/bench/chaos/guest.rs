//! Commits that a farm meets.

use std::fmt;

/// Lines that a plain build prints.
const LINES: usize = 30;

/// What a commit does to its farm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guest {
    /// Prints lines, slowly enough to be met by faults.
    Plain,
    /// Fails.
    Broken,
    /// Leaves a very deep directory.
    Deep,
    /// Keeps many files.
    Wide,
    /// Keeps a directory for the next build.
    Cached,
    /// Works in a directory that is a link out of its tree.
    WorksOutside,
    /// Keeps a directory that is a link out of its tree.
    KeepsOutside,
    /// Has children that ignore to be told to end.
    Stubborn,
}

/// How a build of a commit has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passes,
    Fails,
    /// It may be refused, or fail, or pass: outside nothing may change.
    Any,
}

impl Guest {
    pub(super) const ALL: [Self; 8] = [
        Self::Plain,
        Self::Broken,
        Self::Deep,
        Self::Wide,
        Self::Cached,
        Self::WorksOutside,
        Self::KeepsOutside,
        Self::Stubborn,
    ];

    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::Broken => Verdict::Fails,
            Self::WorksOutside | Self::KeepsOutside => Verdict::Any,
            _ => Verdict::Passes,
        }
    }

    /// Whether its tree has a link out of it, `outside`.
    pub(super) fn leads_outside(self) -> bool {
        matches!(self, Self::WorksOutside | Self::KeepsOutside)
    }

    /// The file `.farmer.toml` of its commit; `outside` is a link to a directory elsewhere.
    pub(super) fn plan(self) -> String {
        let (keys, run) = match self {
            Self::Plain => (
                "",
                format!("for n in $(seq 1 {LINES}); do echo line $n; sleep 0.05; done"),
            ),
            Self::Broken => ("", "echo line 1; exit 7".to_owned()),
            Self::Deep => ("", DEEP.to_owned()),
            Self::Wide => (
                "artifacts = [\"kept/**\"]\n",
                "mkdir -p kept; for n in $(seq 1 500); do echo $n > kept/$n; done".to_owned(),
            ),
            Self::Cached => (
                "cache = [\"cached\"]\n",
                "mkdir -p cached; echo more >> cached/all; sleep 0.2".to_owned(),
            ),
            Self::WorksOutside => (
                "dir = \"outside\"\n",
                "echo written > by-a-build".to_owned(),
            ),
            Self::KeepsOutside => ("cache = [\"outside\"]\n", "sleep 0.1".to_owned()),
            Self::Stubborn => (
                "",
                "trap '' TERM INT HUP; (trap '' TERM INT HUP; sleep 8) & sleep 8; echo line 1"
                    .to_owned(),
            ),
        };
        // The small disk is the bound, and no other one.
        format!("[limits]\ndisk = 0\n[[step]]\nname = \"step\"\n{keys}run = '''\n{run}\n'''\n")
    }

    /// What a whole log of a build that passed is, when that is known.
    pub(super) fn log(self) -> Option<String> {
        let lines = |count| (1..=count).map(|n| format!("line {n}\n")).collect();
        match self {
            Self::Plain => Some(lines(LINES)),
            Self::Stubborn => Some(lines(1)),
            _ => None,
        }
    }
}

const DEEP: &str = "\
python3 -c '
import os
for n in range(30000):
    os.mkdir(\"d\")
    os.chdir(\"d\")
'";

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "a plain build",
            Self::Broken => "a broken build",
            Self::Deep => "a deep tree",
            Self::Wide => "many files",
            Self::Cached => "a cache",
            Self::WorksOutside => "work in a link out",
            Self::KeepsOutside => "a cache that is a link out",
            Self::Stubborn => "children that ignore signals",
        })
    }
}
