//! The dashboard: commits down, builders across.

use serde::{Deserialize, Serialize};

use super::{BuildStatus, Rerun, rfc3339};
use crate::clock::Timestamp;
use crate::ids::{BuildId, BuilderName, CommitHash, RepoName};
use crate::name::Name;

/// A part of the board of one repository, newest commits first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// The commits.
    pub commits: Vec<BoardCommit>,
    /// Give this as `before` to get the next part; nothing at the end.
    pub next: Option<String>,
}

/// A commit, and what became of it on each builder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardCommit {
    /// Its hash.
    pub commit: CommitHash,
    /// First line of its message.
    pub subject: String,
    /// The branch it was found on.
    pub branch: Option<Name>,
    /// Who wrote it.
    pub author: Option<String>,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// Its latest build on each builder that was asked for it, in order of the builders' names.
    pub builds: Vec<BoardBuild>,
}

/// The latest build of a commit on a builder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardBuild {
    /// The builder.
    pub builder: BuilderName,
    /// The build.
    pub build: BuildId,
    /// Where it stands.
    pub state: BuildStatus,
    /// When its first machine was granted.
    #[serde(with = "rfc3339::option")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(with = "rfc3339::option")]
    pub finished: Option<Timestamp>,
    /// The build that runs its failed tests again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun: Option<Rerun>,
}

/// Which part of which board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoardQuery {
    /// The repository.
    pub repo: RepoName,
    /// Only this branch; bytes that are no text as `%XX`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// [`Board::next`] of the part before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// How many commits at most: 50 when not given, never more than 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}
