//! The newest commits of a repository, as work.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::Result;
use build_core::work::{WorkItem, WorkSource};
use tempfile::TempDir;

use super::checkouts::GitCheckouts;
use super::git::without_passwords;
use super::origin::Origin;

/// Between two looks at a repository of this machine: below what a person notices.
const LOCAL_INTERVAL: Duration = Duration::from_secs(2);
/// Between two looks at a remote repository: what its owner does not mind.
const REMOTE_INTERVAL: Duration = Duration::from_secs(60);

/// Watches branches of one repository.
pub struct GitSource {
    checkouts: GitCheckouts,
    origin: String,
    branches: Vec<String>,
    /// Where remote repositories are copied to when nothing else was said; goes with the source.
    _copies: Option<Arc<TempDir>>,
}

impl GitSource {
    /// Watches the default branch of the repository around a path, or at a URL.
    pub fn watch(origin: impl Into<String>) -> Self {
        let copies = tempfile::Builder::new().prefix("farmer-git-").tempdir();
        let copies = copies.ok().map(Arc::new);
        let dir = copies
            .as_ref()
            .map_or_else(|| "farmer-git".into(), |dir| dir.path().to_owned());
        Self {
            checkouts: GitCheckouts::new(dir),
            origin: origin.into(),
            branches: Vec::new(),
            _copies: copies,
        }
    }

    /// Reads the repository through `checkouts`, so that a remote one is copied once.
    #[must_use]
    pub fn through(self, checkouts: GitCheckouts) -> Self {
        Self {
            checkouts,
            _copies: None,
            ..self
        }
    }

    /// Watches the branches that a glob matches, besides the default one.
    #[must_use]
    pub fn branch(mut self, glob: impl Into<String>) -> Self {
        self.branches.push(glob.into());
        self
    }
}

#[async_trait]
impl WorkSource for GitSource {
    fn name(&self) -> String {
        format!("git {}", without_passwords(&self.origin))
    }

    async fn wanted(&self) -> Result<Vec<WorkItem>> {
        self.checkouts.tips(&self.origin, &self.branches).await
    }

    async fn changed(&self) {
        let interval = match Origin::parse(&self.origin) {
            Ok(Origin::Remote(_)) => REMOTE_INTERVAL,
            _ => LOCAL_INTERVAL,
        };
        tokio::time::sleep(interval).await;
    }
}
