//! Conditions: for which commits a step runs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{BuildId, StepName};
use crate::name::Name;
use crate::tarutil::Glob;
use crate::work::{Trust, WorkItem};

/// A condition. Everything that it says must hold; of what it lists one is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct When {
    /// Globs of branches. A commit that was found on no branch is on none of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub branch: Vec<String>,
    /// Globs of tags. A commit that is not built for a tag has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tag: Vec<String>,
    /// Globs of files, one of which must have changed; those that begin with `!` take files out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// How far the author is trusted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust: Vec<Trust>,
}

/// The conditions of a step: all of them must hold, and of each one way to hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conditions(pub Vec<Vec<When>>);

impl When {
    /// Whether it holds for a commit, as far as it does not speak of files.
    pub fn fits(&self, item: &WorkItem) -> bool {
        let is_named = |globs: &[String], name: Option<&Name>| {
            let is_one = |name: &Name| globs.iter().any(|g| Glob::new(g).matches(name.as_bytes()));
            globs.is_empty() || name.is_some_and(is_one)
        };
        is_named(&self.branch, item.branch.as_ref())
            && is_named(&self.tag, item.tag.as_ref())
            && (self.trust.is_empty() || self.trust.contains(&item.trust))
    }

    /// Whether one of these files is among those that it names.
    pub fn concerns(&self, changed: &[Name]) -> bool {
        let (out, only): (Vec<&String>, Vec<&String>) =
            self.paths.iter().partition(|glob| glob.starts_with('!'));
        let only: Vec<Glob> = only.iter().map(|glob| Glob::new(glob)).collect();
        let out: Vec<Glob> = out.iter().map(|glob| Glob::new(&glob[1..])).collect();
        changed.iter().any(|name| {
            let matches = |glob: &Glob| glob.matches(name.as_bytes());
            (only.is_empty() || only.iter().any(matches)) && !out.iter().any(matches)
        })
    }
}

impl Conditions {
    /// Whether there are none: the step runs for every commit.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What of them is still open for a commit: those that speak of files, and of nothing else.
    /// `None` when one of them does not hold.
    pub fn open_for(&self, item: &WorkItem) -> Option<Self> {
        let mut open = Vec::new();
        for ways in &self.0 {
            let fitting: Vec<&When> = ways.iter().filter(|way| way.fits(item)).collect();
            if fitting.is_empty() {
                return None;
            }
            if fitting.iter().all(|way| !way.paths.is_empty()) {
                let of_files = |way: &&When| When {
                    paths: way.paths.clone(),
                    ..When::default()
                };
                open.push(fitting.iter().map(of_files).collect());
            }
        }
        Some(Self(open))
    }

    /// Whether those that speak of files alone hold when these have changed.
    pub fn concern(&self, changed: &[Name]) -> bool {
        let holds = |ways: &Vec<When>| ways.iter().any(|way| way.concerns(changed));
        self.0.iter().all(holds)
    }
}

impl fmt::Display for Conditions {
    /// As they stand behind "only".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = |ways: &Vec<When>| {
            let ways: Vec<_> = ways.iter().map(ToString::to_string).collect();
            ways.join(", or ")
        };
        let all: Vec<_> = self.0.iter().map(ways).collect();
        f.write_str(&all.join("; and "))
    }
}

impl fmt::Display for When {
    /// As it stands behind "only".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.branch.is_empty() {
            parts.push(format!("on branch {}", self.branch.join(" or ")));
        }
        if !self.tag.is_empty() {
            parts.push(format!("for tag {}", self.tag.join(" or ")));
        }
        if !self.trust.is_empty() {
            let words: Vec<_> = self.trust.iter().map(|trust| trust.word()).collect();
            parts.push(format!("for commits of {} trust", words.join(" or ")));
        }
        let (out, only): (Vec<&String>, Vec<&String>) =
            self.paths.iter().partition(|glob| glob.starts_with('!'));
        let list = |globs: &[&String]| {
            let globs: Vec<_> = globs.iter().map(|g| g.trim_start_matches('!')).collect();
            globs.join(" or ")
        };
        match (only.is_empty(), out.is_empty()) {
            (true, true) => {}
            (false, true) => parts.push(format!("when {} changes", list(&only))),
            (true, false) => parts.push(format!("when more than {} changes", list(&out))),
            (false, false) => {
                parts.push(format!(
                    "when {} changes, and not {}",
                    list(&only),
                    list(&out)
                ));
            }
        }
        f.write_str(&parts.join(" and "))
    }
}

/// A step that does not run in a build, though its builder has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The step.
    pub step: StepName,
    /// Why, in a few words.
    pub why: String,
    /// The build in which it passed, where nothing that it is for has changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<BuildId>,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.step, self.why)
    }
}

impl LeftOut {
    /// A reason with what is left out behind it.
    pub fn told_with(reason: &str, left_out: &[Self]) -> String {
        if left_out.is_empty() {
            return reason.to_owned();
        }
        let left_out: Vec<_> = left_out.iter().map(ToString::to_string).collect();
        format!("{reason}; left out: {}", left_out.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CommitHash, RepoName};

    fn when(branch: &[&str], tag: &[&str], paths: &[&str]) -> When {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        When {
            branch: list(branch),
            tag: list(tag),
            paths: list(paths),
            trust: Vec::new(),
        }
    }

    fn item(branch: Option<&str>, tag: Option<&str>, trust: Trust) -> WorkItem {
        let commit = CommitHash::new("0".repeat(40)).unwrap();
        WorkItem {
            branch: branch.map(Name::from),
            tag: tag.map(Name::from),
            trust,
            ..WorkItem::new(RepoName::new("r").unwrap(), "/r", commit)
        }
    }

    #[test]
    fn a_condition_holds_when_all_it_says_holds() {
        let releases = when(&["main", "release/*"], &[], &[]);
        let fits = |branch: Option<&str>| releases.fits(&item(branch, None, Trust::Unknown));
        let all = [Some("main"), Some("release/1"), Some("release"), None].map(fits);
        assert_eq!(all, [true, true, false, false]);
        let tagged = when(&[], &["v*"], &[]);
        assert!(tagged.fits(&item(None, Some("v1"), Trust::Unknown)));
        assert!(!tagged.fits(&item(Some("main"), None, Trust::Unknown)));
        let trusted = When {
            trust: vec![Trust::Trusted],
            ..When::default()
        };
        assert!(trusted.fits(&item(None, None, Trust::Trusted)));
        assert!(!trusted.fits(&item(None, None, Trust::Unknown)));
    }

    #[test]
    fn files_are_named_and_taken_out() {
        let names = |all: &[&str]| all.iter().map(|name| Name::from(*name)).collect::<Vec<_>>();
        let cases: [(&[&str], &[&str], bool); 7] = [
            (&["src/**"], &["src/a/b"], true),
            (&["src/**"], &["docs/a"], false),
            (&["src/**", "!**/*.md"], &["src/a.md"], false),
            (&["src/**", "!**/*.md"], &["src/a.md", "src/b"], true),
            (&["!docs/**"], &["docs/a"], false),
            (&["!docs/**"], &["docs/a", "x"], true),
            (&["**"], &[], false),
        ];
        for (paths, changed, expected) in cases {
            let concerns = when(&[], &[], paths).concerns(&names(changed));
            assert_eq!(concerns, expected, "{paths:?} {changed:?}");
        }
        let bytes = Name::from(b"src/caf\xe9".to_vec());
        assert!(when(&[], &[], &["src/*"]).concerns(&[bytes]));
    }

    #[test]
    fn what_is_open_for_a_commit_speaks_of_files_alone() {
        let main = item(Some("main"), None, Trust::Unknown);
        let other = item(Some("topic"), None, Trust::Unknown);
        let ways = Conditions(vec![vec![
            when(&["main"], &[], &[]),
            when(&[], &[], &["src/**"]),
        ]]);
        assert_eq!(ways.open_for(&main), Some(Conditions::default()));
        let of_files = Conditions(vec![vec![when(&[], &[], &["src/**"])]]);
        assert_eq!(ways.open_for(&other), Some(of_files));
        let both = Conditions(vec![
            vec![when(&["main"], &[], &[])],
            vec![when(&[], &["v*"], &[])],
        ]);
        assert_eq!(both.open_for(&main), None);
        assert_eq!(both.to_string(), "on branch main; and for tag v*");
        assert_eq!(ways.to_string(), "on branch main, or when src/** changes");
        let mixed = when(&["a", "b"], &[], &["x", "!y"]);
        assert_eq!(
            mixed.to_string(),
            "on branch a or b and when x changes, and not y"
        );
    }
}
