//! Changes under review, as their hosts show them: refs that are neither branches nor tags.

use std::collections::BTreeMap;

use build_core::Result;
use build_core::ids::ChangeRef;
use build_core::ref_rules::{Refs, change_of};
use build_core::work::{Class, WorkItem};

use super::checkouts::{GitCheckouts, called, labels};
use super::origin::Origin;
use super::repo::{CommitInfo, Repo};

/// The newest version of a change.
struct Change {
    version: Option<u32>,
    name: String,
    commit: CommitInfo,
}

impl GitCheckouts {
    /// Whether changes of the repository at an origin are built when they come.
    pub(super) async fn takes_changes(&self, origin: &str) -> Result<bool> {
        let origin = Origin::parse(origin)?;
        let repo = self.repos.open(&origin).await?;
        let (name, _) = called(&origin, &repo).await?;
        Ok(!self.repos.refs_of(&name).changes().is_empty())
    }

    /// The newest version of each change that the rules name, without those that are a tip of
    /// `tips` which is not from outside. In the order of their names.
    pub(super) async fn changes(
        &self,
        origin: &Origin,
        repo: &Repo,
        tips: &[WorkItem],
    ) -> Result<Vec<WorkItem>> {
        let (name, place) = called(origin, repo).await?;
        let refs = self.repos.refs_of(&name);
        if refs.changes().is_empty() {
            return Ok(Vec::new());
        }
        let is_tip = |change: &Change| {
            let mut tips = tips.iter().filter(|tip| !tip.is_from_outside());
            tips.any(|tip| tip.commit == change.commit.hash)
        };
        let newest = newest(repo, &refs).await?;
        let new = newest.into_iter().filter(|(_, change)| !is_tip(change));
        let item = |(id, change): (ChangeRef, Change)| WorkItem {
            labels: labels(&change.commit),
            commit_time: change.commit.time,
            subject: change.commit.subject,
            author: Some(change.commit.author),
            change: Some(id),
            patch_set: change.version,
            trust: refs.trust(change.name.as_bytes()),
            class: Class::Try,
            ..WorkItem::new(name.clone(), place.clone(), change.commit.hash)
        };
        Ok(new.map(item).collect())
    }
}

async fn newest(repo: &Repo, refs: &Refs) -> Result<BTreeMap<ChangeRef, Change>> {
    let mut newest: BTreeMap<ChangeRef, Change> = BTreeMap::new();
    for (name, commit) in repo.commits_of_refs(&prefixes(refs)).await? {
        let Some((id, version)) = change_of(&name).filter(|_| refs.is_change(name.as_bytes()))
        else {
            continue;
        };
        let is_older = newest.get(&id).is_some_and(|known| known.version > version);
        if !is_older {
            let change = Change {
                version,
                name,
                commit,
            };
            newest.insert(id, change);
        }
    }
    Ok(newest)
}

/// Where git has to look: the beginning of each pattern that says what it fits.
fn prefixes(refs: &Refs) -> Vec<String> {
    let fixed = |pattern: &String| {
        let parts = pattern.split('/');
        let fixed = parts.take_while(|part| !part.contains(['*', '?', '[']));
        fixed.collect::<Vec<_>>().join("/")
    };
    let mut prefixes: Vec<String> = refs.changes().iter().map(fixed).collect();
    prefixes.sort();
    prefixes.dedup();
    prefixes
}
