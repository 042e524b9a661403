//! Builds: one, a list, a wish for some, and what is asked about them.

use serde::{Deserialize, Deserializer, Serialize};

use super::{BuildStatus, FailedTest, Input, Item, Outcome, PartName, Rerun, Review, Run, rfc3339};
use crate::clock::Timestamp;
use crate::event::{Artifact, Seq, Snapshot, Start};
use crate::ids::{BuildId, BuilderName, LeaseId, RepoName, StepName, WishKey};

/// One build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Which build.
    pub id: BuildId,
    /// Position of its first event: builds in order of being asked for.
    pub number: Seq,
    /// The commit.
    pub item: Item,
    /// What it is built on.
    pub builder: BuilderName,
    /// Where it stands.
    pub state: BuildStatus,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// When it was asked for.
    #[serde(with = "rfc3339")]
    pub queued: Timestamp,
    /// When its first machine was granted.
    #[serde(with = "rfc3339::option")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(with = "rfc3339::option")]
    pub finished: Option<Timestamp>,
    /// Names of the steps of its plan, in order.
    pub steps: Vec<StepName>,
    /// Why these steps: the file they were read from, or what was detected.
    pub reason: String,
    /// What lies in its work directories besides the commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// Every run of every part, in order of being started.
    pub runs: Vec<Run>,
    /// Cached directories that were put back.
    pub cache_hits: Vec<String>,
    /// How it began, when its plan has warm directories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Caches of tools that had something in them when it began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_caches: Vec<String>,
    /// Files kept.
    pub kept: Vec<KeptFiles>,
    /// Machines it holds; after the result they are still given back.
    pub held: Vec<LeaseId>,
    /// The build that runs its failed tests again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun: Option<Rerun>,
    /// The tests that failed in the last attempt of each step; only where one build is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_tests: Option<Vec<FailedTest>>,
    /// The change under which its commit is reviewed, when the farm knows; only where one build is
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Files that a step has kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFiles {
    /// The step.
    pub step: StepName,
    /// The part of it, of a shard or a listing that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartName>,
    /// The files; of many the first ones, and the list of files of the build has them all.
    pub artifacts: Vec<Artifact>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
    /// The directory that was kept as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
}

/// A part of a list of builds, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPage {
    /// The builds.
    pub builds: Vec<Build>,
    /// Give this as `before` to get the next part; nothing at the end.
    pub next: Option<Seq>,
}

/// Which builds to list; everything when nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildQuery {
    /// Only of this repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<RepoName>,
    /// Only of this branch; bytes that are no text as `%XX`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Only on this builder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<BuilderName>,
    /// Only of commits that begin so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Only in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<BuildStatus>,
    /// [`BuildPage::next`] of the part before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// How many at most: 50 when not given, never more than 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Which output of a build is read; all of it when nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogQuery {
    /// Only of this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepName>,
    /// Only of this part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<PartName>,
    /// Only of this attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// From this byte on.
    pub offset: u64,
    /// On until nothing more is printed. `follow`, `follow=1` and `follow=true` turn it on.
    #[serde(deserialize_with = "switch")]
    pub follow: bool,
}

fn switch<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    let text = String::deserialize(from)?;
    match text.as_str() {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(serde::de::Error::custom("a switch is `true` or `false`")),
    }
}

/// A wish for builds of one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewBuild {
    /// A path on the machine of the farm, or a URL.
    pub repo: String,
    /// The commit: a branch, a tag, a hash; the newest when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<String>,
    /// On which builders; all that the commit names when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub builders: Vec<BuilderName>,
    /// The uncommitted files too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub worktree: bool,
    /// With nothing that an earlier build has left warm.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cold: bool,
}

/// The builds that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// By which all of them can be withdrawn.
    pub wish: WishKey,
    /// One for each builder; those of this commit that had not ended are shared.
    pub builds: Vec<Build>,
}
