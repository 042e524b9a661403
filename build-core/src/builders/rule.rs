use std::fmt;

use super::{ReleaseBranch, at_least_go1, at_most_go1};
use crate::{Error, ErrorKind, Result};

/// The main repository.
pub(super) const GO: &str = "go";

/// What may be built: a repository at a branch, with Go at a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The repository, `go` for the main one.
    pub repo: String,
    /// Its branch.
    pub branch: String,
    /// The branch of Go that it is built with.
    pub go_branch: String,
}

impl Target {
    /// The main repository at a branch.
    #[must_use]
    pub fn go(branch: &str) -> Self {
        Self::subrepo(GO, branch, branch)
    }

    /// Another repository, built with Go at a branch.
    #[must_use]
    pub fn subrepo(repo: &str, branch: &str, go_branch: &str) -> Self {
        Self {
            repo: repo.to_owned(),
            branch: branch.to_owned(),
            go_branch: go_branch.to_owned(),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let missing = match () {
            () if self.repo.is_empty() => "repository",
            () if self.branch.is_empty() => "branch",
            () if self.go_branch.is_empty() && self.repo != GO => "branch of Go",
            () => return Ok(()),
        };
        let said = format!("decide what is built: the {missing} is missing");
        Err(Error::new(ErrorKind::Invalid, said))
    }

    /// Go's branch; that of the main repository is its own.
    pub(super) fn go_branch(&self) -> &str {
        match self.go_branch.is_empty() {
            true => &self.branch,
            false => &self.go_branch,
        }
    }
}

/// Which repositories a clause is about.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "ReposText")]
pub enum Repos {
    /// All of them.
    All,
    /// All but those that the farm leaves out by default.
    Default,
    /// These.
    Some(Vec<String>),
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum ReposText {
    Word(String),
    List(Vec<String>),
}

impl TryFrom<ReposText> for Repos {
    type Error = String;

    fn try_from(text: ReposText) -> Result<Self, Self::Error> {
        match text {
            ReposText::List(names) => Ok(Self::Some(names)),
            ReposText::Word(word) if word == "all" => Ok(Self::All),
            ReposText::Word(word) if word == "default" => Ok(Self::Default),
            ReposText::Word(word) => Err(format!(
                "repos is {word:?}, neither \"all\", \"default\" nor a list"
            )),
        }
    }
}

/// What a clause demands of a branch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// One of these.
    Is(Vec<String>),
    /// A name that begins so.
    Prefix(String),
    /// See [`at_least_go1`].
    AtLeastGo1(u16),
    /// See [`at_most_go1`].
    AtMostGo1(u16),
}

impl Condition {
    fn holds(&self, branch: &str) -> bool {
        match self {
            Self::Is(names) => names.iter().any(|name| name == branch),
            Self::Prefix(prefix) => branch.starts_with(prefix.as_str()),
            Self::AtLeastGo1(minor) => at_least_go1(branch, *minor),
            Self::AtMostGo1(minor) => at_most_go1(branch, *minor),
        }
    }
}

/// One alternative of a rule: everything in it must hold.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// Which repositories.
    pub repos: Repos,
    /// Without these.
    #[serde(default)]
    pub except: Vec<String>,
    /// At which branches.
    #[serde(default)]
    pub branch: Option<Condition>,
    /// With Go at which branches.
    #[serde(default)]
    pub go_branch: Option<Condition>,
}

impl Clause {
    /// The rule of a builder that has none.
    pub(super) fn by_default() -> Vec<Self> {
        vec![Self {
            repos: Repos::Default,
            except: Vec::new(),
            branch: None,
            go_branch: None,
        }]
    }

    pub(super) fn holds(&self, target: &Target, left_out: &[String]) -> bool {
        let is = |name: &String| *name == target.repo;
        let repo = match &self.repos {
            Repos::All => true,
            Repos::Default => !left_out.iter().any(is),
            Repos::Some(names) => names.iter().any(is),
        };
        let holds = |condition: &Option<Condition>, branch: &str| {
            condition
                .as_ref()
                .is_none_or(|condition| condition.holds(branch))
        };
        repo && !self.except.iter().any(is)
            && holds(&self.branch, &target.branch)
            && holds(&self.go_branch, target.go_branch())
    }
}

/// Whether something is built, and what decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Yes, by this clause of its rule, counted from 0.
    Clause(usize),
    /// The builder only tries changes.
    TryOnly,
    /// The builder tries no such change: it has no rule, or none that holds.
    NotTried,
    /// A release branch of another major version, or older than the farm builds.
    ReleaseTooOld(ReleaseBranch),
    /// A release branch older than the builder builds.
    BelowMinimum(ReleaseBranch),
    /// The repository is not built on release branches.
    NotOnReleases,
    /// Only other builders build this branch.
    Pinned,
    /// The builder runs all tests in one go, which needs the main repository.
    NotSplit,
    /// No clause of its rule holds.
    NoClause,
}

impl Decision {
    /// Whether it is built.
    #[must_use]
    pub fn is_yes(&self) -> bool {
        matches!(self, Self::Clause(_))
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clause(at) => write!(f, "yes: clause {} of its rule", at + 1),
            Self::TryOnly => f.write_str("no: it only tries changes"),
            Self::NotTried => f.write_str("no: its rule for trying changes does not hold"),
            Self::ReleaseTooOld(branch) => {
                write!(f, "no: Go {} is older than the farm builds", branch.0)
            }
            Self::BelowMinimum(branch) => {
                write!(f, "no: Go {} is older than the builder builds", branch.0)
            }
            Self::NotOnReleases => f.write_str("no: the repository is not built on releases"),
            Self::Pinned => f.write_str("no: other builders build this branch"),
            Self::NotSplit => f.write_str("no: it builds the main repository only"),
            Self::NoClause => f.write_str("no: no clause of its rule holds"),
        }
    }
}
