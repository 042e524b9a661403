//! Where commits come from: repositories on this machine and others, through the `git` program.

mod beside;
mod changes;
mod checkout;
mod checkouts;
mod fingerprint;
mod git;
mod history;
mod index;
mod last_packs;
mod login;
mod origin;
mod pack;
mod plain;
mod ref_watch;
mod refs;
mod repo;
mod submodules;
mod tree;
mod trust;
mod watch;
mod worktree;

use async_trait::async_trait;
use build_core::buildlet::ByteStream;
use build_core::ids::CommitHash;
use build_core::name::Name;
use build_core::recipe::Tree;
use build_core::work::WorkItem;
use build_core::{Error, ErrorKind, Result};

pub(crate) use beside::Named;
pub use checkouts::GitCheckouts;
pub(crate) use git::without_passwords;
#[cfg(feature = "web")]
pub(crate) use origin::is_here;
pub(crate) use pack::stream_of;
pub use tree::WorkTree;
pub use watch::GitSource;

/// A commit with more than one parent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Merge {
    /// Itself.
    pub commit: CommitHash,
    /// The commits that came with it, behind its other parents and not behind the first one, those
    /// first that were made last.
    pub brought: Vec<WorkItem>,
    /// There are more of them.
    pub is_cut: bool,
}

/// Reads and packs commits.
#[async_trait]
pub trait Checkouts: Send + Sync {
    /// The files of a commit, or of the work tree when the item asks for that.
    ///
    /// # Errors
    /// [`build_core::ErrorKind::NotFound`] when there is no such repository or commit.
    async fn tree(&self, item: &WorkItem) -> Result<Box<dyn Tree>>;

    /// Packs a checkout with at least `depth` commits of history, and as many as `git describe`
    /// needs, as a gzip-compressed tar stream. Every file has the time of the commit.
    ///
    /// # Errors
    /// When the commit cannot be checked out. The stream ends with an error when it cannot be packed.
    async fn pack(&self, item: &WorkItem, depth: u32) -> Result<ByteStream>;

    /// Names everything that goes into [`Checkouts::pack`]: as long as it stays the same, what was
    /// packed before is what would be packed now. It is hashed, never shown. Of uncommitted files
    /// it says nothing.
    ///
    /// # Errors
    /// When the repository cannot be read.
    async fn fingerprint(&self, item: &WorkItem, depth: u32) -> Result<String> {
        let WorkItem { origin, commit, .. } = item;
        Ok(format!("{origin}\n{commit}\n{depth}\n"))
    }

    /// What changed from an earlier commit to that of `item`: paths below the checkout, or
    /// `None` when `base` does not come before it or is not known any more.
    ///
    /// # Errors
    /// When the repository cannot be read.
    async fn changed_since(&self, item: &WorkItem, base: &CommitHash) -> Result<Option<Vec<Name>>>;

    /// Which of `commits`, all of the repository of `item`, are merges, and what each brought; at most
    /// `limit` of it. None, which the default says, when that is not known. Nothing is fetched for it.
    ///
    /// # Errors
    /// When the repository cannot be read.
    async fn merges(
        &self,
        item: &WorkItem,
        commits: &[CommitHash],
        limit: usize,
    ) -> Result<Vec<Merge>> {
        let _unknown = (item, commits, limit);
        Ok(Vec::new())
    }

    /// The commit that `rev` (`None`: what is checked out, or the remote's default branch) names in
    /// the repository at a path or a URL, as it is now. The default knows no repositories.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such repository or revision.
    async fn resolve(&self, origin: &str, rev: Option<&str>) -> Result<WorkItem> {
        let _unknown = rev;
        let text = format!(
            "no way to look for commits in {}",
            without_passwords(origin)
        );
        Err(Error::new(ErrorKind::NotFound, text))
    }

    /// The commit of `item`, its first parent, the first parent of that one and so on, at most
    /// `limit`: tests are judged along it. `None`, which the default says, when that is not known.
    /// Nothing is fetched for it.
    ///
    /// # Errors
    /// When the repository cannot be read.
    async fn history(&self, item: &WorkItem, limit: usize) -> Result<Option<Vec<CommitHash>>> {
        let _unknown = (item, limit);
        Ok(None)
    }
}
