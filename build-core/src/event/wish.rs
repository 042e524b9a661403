//! What happens to wishes.

use serde::{Deserialize, Serialize};

use super::principal::Principal;
use crate::ids::{BuildId, BuilderName, RepoName};
use crate::name::Name;
use crate::work::WorkItem;

events! {
    /// What happened to a wish: something that somebody wants built.
    #[expect(
        clippy::large_enum_variant,
        reason = "an event is written or folded at once: none is kept"
    )]
    pub enum WishEvent of WISH {
        /// It was asked for.
        Asked = "asked" must {
            /// The commit.
            item: WorkItem,
            /// Its builds, one for each builder.
            builds: Vec<WishedBuild>,
            /// The branch of which the commit is the newest, for what a source has found.
            @(default, skip_serializing_if = "Option::is_none")
            tip_of: Option<BranchId>,
        },
        /// A newer commit of its branch is wanted: what of it waits is built when machines are
        /// idle.
        Backfilled = "backfilled" must {
            /// The branch.
            tip_of: BranchId,
        },
        /// One of its builds has ended.
        Ended = "ended" must {
            /// Which.
            build: BuildId,
            /// Whether that is an answer; a build that was canceled is none.
            met: bool,
        },
        /// It is not wanted any more.
        Withdrawn = "withdrawn" must {
            /// Who says so.
            by: Principal,
        },
    }
}

/// One of the builds of a wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WishedBuild {
    /// On which builder.
    pub builder: BuilderName,
    /// The build.
    pub build: BuildId,
    /// Whether it began for a wish: then it is canceled when the last one is withdrawn.
    pub owned: bool,
}

/// A branch of a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BranchId {
    /// The repository.
    pub repo: RepoName,
    /// The branch.
    pub branch: Name,
}
