//! The commit that something is built of.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;
use crate::ids::{BuildId, ChangeRef, CommitHash, RepoId, RepoName};
use crate::name::Name;
use crate::work::{Class, Trust, WorkItem};

/// A commit, and why it is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The repository as users name it.
    pub repo: RepoName,
    /// The repository whatever it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_id: Option<RepoId>,
    /// The host that has the repository or its reviews.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Where it can be fetched from: a path or a URL, without passwords.
    pub origin: String,
    /// The commit.
    pub commit: CommitHash,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub commit_time: Timestamp,
    /// First line of its message.
    pub subject: String,
    /// The branch it was found on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Name>,
    /// The tag it is built for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Name>,
    /// The change it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeRef>,
    /// Which patch set of the change, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch_set: Option<u32>,
    /// How far its author is trusted.
    pub trust: Trust,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Why it is wanted.
    pub class: Class,
    /// Words that policies look at.
    pub labels: BTreeSet<String>,
    /// Uncommitted files were built too.
    pub worktree: bool,
    /// The build whose failed tests are run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<BuildId>,
}

impl From<WorkItem> for Item {
    /// The origin is taken as it is: whoever reports it takes passwords out before.
    fn from(item: WorkItem) -> Self {
        Self {
            repo: item.repo,
            repo_id: item.repo_id,
            host: item.host,
            origin: item.origin,
            commit: item.commit,
            commit_time: item.commit_time,
            subject: item.subject,
            branch: item.branch,
            tag: item.tag,
            change: item.change,
            patch_set: item.patch_set,
            trust: item.trust,
            author: item.author,
            class: item.class,
            labels: item.labels,
            worktree: item.worktree,
            rerun_of: item.rerun_of,
        }
    }
}
