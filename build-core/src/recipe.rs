//! From a commit to the steps that build it.

use async_trait::async_trait;

use crate::error::Result;
use crate::plan::Plan;
use crate::work::{Builder, WorkItem};

/// Reads files of one commit, without a work tree.
#[async_trait]
pub trait Tree: Send + Sync {
    /// The names in a directory, `""` for the root; empty when there is none. Directories end in `/`.
    ///
    /// # Errors
    /// When the commit cannot be read.
    async fn list(&self, dir: &str) -> Result<Vec<String>>;

    /// A file's contents, `None` when there is no such file.
    ///
    /// # Errors
    /// When the commit cannot be read, or the file is larger than `max_bytes`.
    async fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>>;
}

/// Decides what to run for a commit on a builder.
#[async_trait]
pub trait Recipe: Send + Sync {
    /// The plan for `item` on `builder`, made from the files of the commit.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] with a hint when the configuration is wrong or nothing to run
    /// is found: the build ends as misconfigured. Other kinds are tried again.
    async fn plan(&self, item: &WorkItem, builder: &Builder, tree: &dyn Tree) -> Result<Plan>;
}
