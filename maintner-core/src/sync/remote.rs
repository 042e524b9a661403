//! A git remote: which refs it has, and the objects behind them.
//!
//! [`GitRemote`] is the seam; [`GitMirror`] asks the git program, which brings its transports,
//! credentials and configuration, and reads what it fetched without it.

mod mirror;
mod program;

use std::collections::HashSet;

pub use mirror::{GitMirror, Listing};

use super::SyncError;
use crate::GitHash;
use crate::pb::GitCommit;

/// A ref as a remote lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemoteRef {
    /// Full name; `refs/tags/v1^{}` is what an annotated tag points at.
    pub name: String,
    /// What it points at.
    pub hash: GitHash,
}

/// A git repository somewhere, and the part of it that is here already.
pub trait GitRemote: Send {
    /// The remote, for messages.
    fn url(&self) -> &str;

    /// The refs that the remote has now, in its order.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn list(&mut self) -> Result<Vec<RemoteRef>, SyncError>;

    /// Brings here what `refs` point at, with all ancestors; returns those refs that the remote
    /// has no more.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn fetch(&mut self, refs: &[RemoteRef]) -> Result<Vec<RemoteRef>, SyncError>;

    /// Forgets refs that the remote has no more.
    ///
    /// # Errors
    /// When what is here cannot be changed.
    fn forget(&mut self, names: &[String]) -> Result<(), SyncError>;

    /// The commit that `hash` is, or points at through tags; none for other objects and for
    /// what is not here.
    ///
    /// # Errors
    /// When what is here cannot be read.
    fn peel(&self, hash: GitHash) -> Result<Option<GitHash>, SyncError>;

    /// The commits that can be reached from `tips`, parents first, without those that are known
    /// and their ancestors.
    ///
    /// # Errors
    /// When what is here cannot be read.
    fn walk(
        &self,
        tips: &[GitHash],
        is_known: &dyn Fn(GitHash) -> bool,
    ) -> Result<Vec<GitHash>, SyncError>;

    /// Commits as the log has them: for each the commit, and the name under which it goes.
    ///
    /// # Errors
    /// When one of them is not here, or broken.
    fn read(&self, commits: &[(GitHash, GitHash)]) -> Result<Vec<GitCommit>, SyncError>;
}

/// Names that occur twice would make no sense in one mutation: the first counts.
pub(super) fn without_repeats(refs: Vec<RemoteRef>) -> Vec<RemoteRef> {
    let mut seen = HashSet::new();
    let mut refs = refs;
    refs.retain(|found| seen.insert(found.name.clone()));
    refs
}
