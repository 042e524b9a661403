//! What there is to build: one commit of one repository, and why it is wanted.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{BuildId, BuilderName, ChangeRef, CommitHash, HostType, RepoId, RepoName};
use crate::name::Name;
use crate::plan::Sandbox;

/// Why a build is wanted; orders everything that waits, most urgent first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Class {
    /// Before everything else: a release, a security fix.
    Urgent,
    /// A person waits at a terminal.
    Interactive,
    /// A change under review; served in turn by author.
    Try,
    /// The newest commit of a release branch.
    ReleaseTip,
    /// The newest commit of the default branch.
    #[default]
    DefaultTip,
    /// The newest commit of another branch.
    BranchTip,
    /// An older commit, built when machines are idle.
    Backfill,
}

/// How far the author of a commit is trusted: policies and recipes go by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trust {
    /// Nobody said.
    #[default]
    Unknown,
    /// Anybody: what they write must not see secrets.
    Untrusted,
    /// Somebody who may have the project's machines do what they like.
    Trusted,
}

impl Trust {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Unknown, Self::Untrusted, Self::Trusted];

    /// Its word in a configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Untrusted => "untrusted",
            Self::Trusted => "trusted",
        }
    }

    /// What a step is given that asks for `wanted`: what anybody may write runs in namespaces at
    /// least.
    #[must_use]
    pub fn sandboxed(self, wanted: Sandbox) -> Sandbox {
        match self {
            Self::Untrusted => wanted.max(Sandbox::Namespaces),
            Self::Unknown | Self::Trusted => wanted,
        }
    }

    fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

/// One commit to build, found by a [`WorkSource`] or given by a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkItem {
    /// The repository as users name it.
    pub repo: RepoName,
    /// The repository whatever it is called: tells `a/server` from `b/server` and stays when the
    /// repository gets another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_id: Option<RepoId>,
    /// The host that has the repository or its reviews, such as `go.googlesource.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Where the commit can be fetched from: a path or a URL.
    pub origin: String,
    /// The commit.
    pub commit: CommitHash,
    /// When the commit was made (committer time).
    pub commit_time: Timestamp,
    /// First line of the commit message.
    #[serde(default)]
    pub subject: String,
    /// The branch it was found on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Name>,
    /// The tag it is built for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Name>,
    /// Where it stands among the commits of its history when they are listed by time: its own time,
    /// but behind that of its first parent. Dates of commits lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Timestamp>,
    /// The change it belongs to, for [`Class::Try`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeRef>,
    /// Which patch set of the change, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch_set: Option<u32>,
    /// How far its author is trusted.
    #[serde(default, skip_serializing_if = "Trust::is_unknown")]
    pub trust: Trust,
    /// Who wrote it; fairness between authors goes by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Why it is wanted.
    #[serde(default)]
    pub class: Class,
    /// Words that policies look at, such as `hotfix`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
    /// Builds the uncommitted work tree at `origin` on top of the commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub worktree: bool,
    /// The build whose failed tests are run again, to see whether they fail again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<BuildId>,
    /// What a newer version says beside: an item that is copied loses nothing.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

/// The label of a commit whose message asks not to be built: `[skip ci]`. Sources pass it over;
/// a person may build it.
pub const SKIP_LABEL: &str = "skip-ci";

/// The label of a commit that is built from nothing, whatever earlier builds have left.
pub const COLD_LABEL: &str = "cold";

/// The label of a [`WorkItem::rerun`].
pub const RERUN_LABEL: &str = "rerun";

impl WorkItem {
    /// A commit of a repository, and nothing else known of it.
    pub fn new(repo: RepoName, origin: impl Into<String>, commit: CommitHash) -> Self {
        Self {
            repo,
            repo_id: None,
            host: None,
            origin: origin.into(),
            commit,
            commit_time: Timestamp::default(),
            subject: String::new(),
            branch: None,
            tag: None,
            order: None,
            change: None,
            patch_set: None,
            trust: Trust::default(),
            author: None,
            class: Class::default(),
            labels: BTreeSet::new(),
            worktree: false,
            rerun_of: None,
            rest: BTreeMap::new(),
        }
    }

    /// Whether anybody may have written it: it shares nothing with other work.
    pub fn is_from_outside(&self) -> bool {
        self.trust == Trust::Untrusted
    }

    /// Where it stands among others that are listed by time.
    pub fn place(&self) -> Timestamp {
        self.order.unwrap_or(self.commit_time)
    }

    /// The same commit once more when machines are idle, because tests failed in `build`.
    #[must_use]
    pub fn rerun(&self, build: &BuildId) -> Self {
        let mut again = self.clone();
        again.class = Class::Backfill;
        again.labels.insert(RERUN_LABEL.to_owned());
        again.rerun_of = Some(build.clone());
        again
    }

    /// The same commit once more because a person asks for it, who waits.
    #[must_use]
    pub fn asked_again(&self) -> Self {
        let mut again = self.clone();
        again.class = Class::Interactive;
        again.labels.remove(RERUN_LABEL);
        again.rerun_of = None;
        again
    }
}

/// A builder: a named configuration that turns commits into results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// Its name, such as `local` or `linux-amd64-race`.
    pub name: BuilderName,
    /// The kind of machine it needs.
    pub host_type: HostType,
    /// What the machine must have; see [`crate::schedule::Labels`].
    #[serde(default)]
    pub labels: BTreeSet<String>,
    /// Added to the environment of each step.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

impl Builder {
    /// A builder that needs no more than a kind of machine.
    pub fn new(name: BuilderName, host_type: HostType) -> Self {
        Self {
            name,
            host_type,
            labels: BTreeSet::new(),
            env: BTreeMap::new(),
        }
    }
}

/// Finds commits to build.
///
/// Level-triggered: an answer is everything that is wanted at present, the same item again
/// until it is built; whoever asks compares with what it knows. A lost wake-up therefore
/// repairs itself at the next call.
#[async_trait]
pub trait WorkSource: Send + Sync {
    /// A name for people: `git /home/me/project`.
    fn name(&self) -> String;

    /// Everything wanted now, most wanted first.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the source cannot be read; the caller tries again after a pause.
    async fn wanted(&self) -> Result<Vec<WorkItem>>;

    /// At most `limit` commits before `tip` on its branch, newest first: those that came with it
    /// and were never seen are built when machines are idle. The default knows none.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the source cannot be read; the caller tries again after a pause.
    async fn earlier(&self, tip: &WorkItem, limit: usize) -> Result<Vec<WorkItem>> {
        let _none = (tip, limit);
        Ok(Vec::new())
    }

    /// Where the repositories are that it watches: a path or a URL each. Plans name them by the
    /// names that they have in the farm. The default tells none.
    fn origins(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether changes under review were among what the last [`WorkSource::wanted`] looked for: those
    /// that come are built, not those that were there when changes were first looked for. The
    /// default looks for none.
    fn takes_changes(&self) -> bool {
        false
    }

    /// Returns when [`WorkSource::wanted`] may have a new answer. The default never does:
    /// callers also ask at intervals.
    ///
    /// Cancel safe.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}
