//! Turns what sources want into builds: everything wanted that was never asked for is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use build_core::ids::{BuilderName, CommitHash, RepoName};
use build_core::recipe::Recipe;
use build_core::work::{Class, WorkItem, WorkSource};
use build_core::{ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::handle::Handle;
use crate::source::Checkouts;
use crate::store::BuildFilter;

/// A source is asked again after this at the latest: a lost wake-up repairs itself.
const ASK_AGAIN: Duration = Duration::from_secs(5 * 60);
/// After an error.
const ASK_AFTER_ERROR: Duration = Duration::from_secs(10);
/// How far back a tip's branch is searched for a commit that was seen before. Of a longer push
/// the newest commit alone is built.
const EARLIER: usize = 100;
/// Builds of one commit on one builder that are looked through for one that counts as seen.
const BUILDS_OF_COMMIT: usize = 20;

/// Says which builders build a commit.
pub(super) struct Chooser {
    pub(super) recipe: Arc<dyn Recipe>,
    pub(super) checkouts: Arc<dyn Checkouts>,
}

impl Chooser {
    /// The builders among `all` that `item` is built on. A commit that names none of them, or
    /// whose configuration is wrong, is built on all: its plan then says what is wrong.
    pub(super) async fn builders_of(
        &self,
        item: &WorkItem,
        all: &[BuilderName],
    ) -> Result<Vec<BuilderName>> {
        let tree = self.checkouts.tree(item).await?;
        match self.recipe.builders(item, tree.as_ref(), all).await {
            Ok(chosen) if !chosen.is_empty() => Ok(chosen),
            Ok(_) => Ok(all.to_vec()),
            Err(error) if error.kind() == ErrorKind::Invalid => Ok(all.to_vec()),
            Err(error) => Err(error),
        }
    }
}

/// Asks one source for ever; `look` tells that somebody knows of news.
pub(super) async fn find(
    source: Arc<dyn WorkSource>,
    handle: Handle,
    mut look: watch::Receiver<u64>,
) {
    let mut finding = Finding {
        source,
        handle,
        tips: HashMap::new(),
    };
    loop {
        look.mark_unchanged();
        match finding.look().await {
            Ok(()) => {
                let changed = async {
                    tokio::select! {
                        () = finding.source.changed() => {}
                        Ok(()) = look.changed() => {}
                    }
                };
                // Woken or not, it is asked again.
                let _ = timeout(ASK_AGAIN, changed).await;
            }
            Err(error) => {
                tracing::warn!(
                    source = finding.source.name(),
                    error = error.chain(),
                    "cannot find work"
                );
                sleep(ASK_AFTER_ERROR).await;
            }
        }
    }
}

/// One source, and what was found there.
struct Finding {
    source: Arc<dyn WorkSource>,
    handle: Handle,
    /// The newest commit of each branch that everything was asked for.
    tips: HashMap<(RepoName, Option<String>), CommitHash>,
}

impl Finding {
    async fn look(&mut self) -> Result<()> {
        let wanted = self.source.wanted().await?;
        let mut failed = None;
        for item in &wanted {
            let branch = (item.repo.clone(), item.branch.clone());
            if self.tips.get(&branch) == Some(&item.commit) {
                continue;
            }
            // One commit that cannot be read does not hold up the others.
            match self.take(item).await {
                Ok(()) => drop(self.tips.insert(branch, item.commit.clone())),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let is_there = |branch: &(RepoName, Option<String>)| {
            wanted
                .iter()
                .any(|i| (&i.repo, &i.branch) == (&branch.0, &branch.1))
        };
        self.tips.retain(|branch, _| is_there(branch));
        failed.map_or(Ok(()), Err)
    }

    /// Asks for a tip, then for what came with it.
    async fn take(&self, tip: &WorkItem) -> Result<()> {
        self.submit(tip).await?;
        let earlier = self.source.earlier(tip, EARLIER).await?;
        let mut new = Vec::new();
        for item in earlier {
            if self.was_seen(&item).await? {
                // The oldest first: after a crash the search for what is missing ends at a
                // commit that was seen, and everything before that one was too.
                for item in new.into_iter().rev() {
                    self.submit(&item).await?;
                }
                return Ok(());
            }
            new.push(item);
        }
        if new.len() == EARLIER && self.has_older(tip).await? {
            tracing::warn!(
                repo = tip.repo.as_str(),
                branch = tip.branch.as_deref().unwrap_or_default(),
                built = tip.commit.short(),
                "more than {EARLIER} commits came at once: the newest alone is built, any other \
                 with farmer build --rev"
            );
        }
        Ok(())
    }

    /// Whether this is not the first commit of its branch that is built here.
    async fn has_older(&self, tip: &WorkItem) -> Result<bool> {
        let of_branch = BuildFilter {
            repo: Some(tip.repo.clone()),
            branch: tip.branch.clone(),
            ..BuildFilter::default()
        };
        let records = self.handle.records();
        let page = records.builds(&of_branch, None, BUILDS_OF_COMMIT).await?;
        Ok(page.builds.iter().any(|row| row.item.commit != tip.commit))
    }

    async fn submit(&self, item: &WorkItem) -> Result<()> {
        for builder in self.handle.builders_of(item).await? {
            if self
                .builds(item, Some(builder.clone()), 1)
                .await?
                .is_empty()
            {
                self.handle.submit_found(item.clone(), &builder).await?;
            }
        }
        Ok(())
    }

    /// Whether a source has found it before; what a person asked for by name does not count,
    /// nor does what follows from that.
    async fn was_seen(&self, item: &WorkItem) -> Result<bool> {
        let builds = self.builds(item, None, BUILDS_OF_COMMIT).await?;
        Ok(builds
            .iter()
            .filter(|found| found.class != Class::Interactive && found.rerun_of.is_none())
            .any(|found| found.branch == item.branch))
    }

    async fn builds(
        &self,
        item: &WorkItem,
        builder: Option<BuilderName>,
        limit: usize,
    ) -> Result<Vec<WorkItem>> {
        let of_item = BuildFilter {
            repo: Some(item.repo.clone()),
            builder,
            commit: Some(item.commit.to_string()),
            ..BuildFilter::default()
        };
        let page = self.handle.records().builds(&of_item, None, limit).await?;
        Ok(page.builds.into_iter().map(|row| row.item).collect())
    }
}
