//! Wishes: what is wanted at present, and by whom.

use serde::{Deserialize, Serialize};

use crate::event::Principal;
use crate::ids::{BuildId, BuilderName, CommitHash, RepoName, WishKey};
use crate::name::Name;
use crate::wish::WishState;
use crate::work::Class;

/// Open wishes, the most urgent first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// How many are open; of a build, how many want it.
    pub open: usize,
    /// The first of them.
    pub wishes: Vec<Wish>,
}

/// Something that somebody wants built and that has no result yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// By which it is withdrawn.
    pub key: WishKey,
    /// Who asked for it.
    pub by: Principal,
    /// How urgent it is.
    pub class: Class,
    /// The repository.
    pub repo: RepoName,
    /// The commit.
    pub commit: CommitHash,
    /// The first line of its message.
    pub subject: String,
    /// The branch of which it is the newest commit, for what a source has found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Name>,
    /// Its builds that have not ended.
    pub builds: Vec<WishedBuild>,
}

/// A build of a wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WishedBuild {
    /// Which.
    pub id: BuildId,
    /// On what.
    pub builder: BuilderName,
}

/// Which wishes to list; all when nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WishQuery {
    /// Only those that want this build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// How many at most: 100 when not given, never more than 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl From<&WishState> for Wish {
    fn from(state: &WishState) -> Self {
        let item = state.item();
        let builds = state.open_builds().map(|wished| WishedBuild {
            id: wished.build.clone(),
            builder: wished.builder.clone(),
        });
        Self {
            key: state.key(),
            by: state.by().clone(),
            class: item.class,
            repo: item.repo.clone(),
            commit: item.commit.clone(),
            subject: item.subject.clone(),
            branch: state.tip_of().map(|tip| tip.branch.clone()),
            builds: builds.collect(),
        }
    }
}
