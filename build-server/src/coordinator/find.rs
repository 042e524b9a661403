//! Turns what sources want into builds: everything wanted that was never asked for is.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use build_core::clock::Clock;
use build_core::event::{Batch, BranchId, Memo, MemoKey, Principal, PrincipalKind};
use build_core::ids::{BuilderName, ChangeRef, CommitHash, RepoId, RepoName, WishKey};
use build_core::name::Name;
use build_core::recipe::Recipe;
use build_core::wish::Wish;
use build_core::work::{Class, SKIP_LABEL, WorkItem, WorkSource};
use build_core::{ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::handle::Handle;
use crate::source::Checkouts;

/// A source is asked again after this at the latest: a lost wake-up repairs itself.
const ASK_AGAIN: Duration = Duration::from_secs(5 * 60);
/// After an error.
const ASK_AFTER_ERROR: Duration = Duration::from_secs(10);
/// Memos of one batch.
const MEMOS: usize = 1000;
/// Commits of one push that are built, the newest first.
const EARLIER: usize = 1000;

/// Says which builders build a commit.
pub(super) struct Chooser {
    pub(super) recipe: Arc<dyn Recipe>,
    pub(super) checkouts: Arc<dyn Checkouts>,
    /// Those that only who names them gets.
    pub(super) on_request: BTreeSet<BuilderName>,
    /// Where the repositories are that are watched, without passwords.
    pub(super) origins: Vec<String>,
}

impl Chooser {
    /// The builders among `all` that `item` is built on. A commit that names none of them, or
    /// whose configuration is wrong, is built on all but those that must be named: its plan then
    /// says what is wrong.
    pub(super) async fn builders_of(
        &self,
        item: &WorkItem,
        all: &[BuilderName],
    ) -> Result<Vec<BuilderName>> {
        let tree = self.checkouts.tree(item).await?;
        let chosen = match self.recipe.builders(item, tree.as_ref(), all).await {
            Ok(chosen) => chosen,
            Err(error) if error.kind() == ErrorKind::Invalid => Vec::new(),
            Err(error) => return Err(error),
        };
        if !chosen.is_empty() && chosen != all {
            return Ok(chosen);
        }
        let is_usual = |builder: &&BuilderName| !self.on_request.contains(*builder);
        Ok(all.iter().filter(is_usual).cloned().collect())
    }
}

/// Asks one source for ever; `look` tells that somebody knows of news.
pub(super) async fn find(
    source: Arc<dyn WorkSource>,
    handle: Handle,
    mut look: watch::Receiver<u64>,
    clock: Arc<dyn Clock>,
) {
    let mut finding = Finding {
        source,
        handle,
        clock,
        tips: HashMap::new(),
    };
    loop {
        look.mark_unchanged();
        match finding.look().await {
            Ok(()) => {
                if finding.tell(None) {
                    tracing::info!(source = finding.source.name(), "can be read again");
                }
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
                // Once each time: it is asked again for as long as it is away.
                if finding.tell(Some(&error.chain())) {
                    tracing::warn!(
                        source = finding.source.name(),
                        error = error.chain(),
                        "cannot find work, it is asked again until it can be read"
                    );
                }
                tokio::select! {
                    () = sleep(ASK_AFTER_ERROR) => {}
                    Ok(()) = look.changed() => {}
                }
            }
        }
    }
}

/// A branch, a tag or a change of a repository; a commit that is checked out is on none.
type Place = (RepoName, Option<Name>, Option<Name>, Option<ChangeRef>);

fn place_of(item: &WorkItem) -> Place {
    let (branch, tag) = (item.branch.clone(), item.tag.clone());
    (item.repo.clone(), branch, tag, item.change.clone())
}

/// Whether it was found on a branch, or is what is checked out.
fn is_of_branch(item: &WorkItem) -> bool {
    item.tag.is_none() && item.change.is_none()
}

/// What was looked at before, by this process or an earlier one.
#[derive(Clone, Copy, Default)]
struct Before {
    /// Some branch of the source: another one that comes is new, with all its commits.
    branches: bool,
    /// Its tags: one that comes is built.
    tags: bool,
    /// Its changes: the same, unless the source has none but those that are to be built.
    changes: bool,
}

/// One source, and what was found there.
struct Finding {
    source: Arc<dyn WorkSource>,
    handle: Handle,
    clock: Arc<dyn Clock>,
    /// The newest commit of each branch and tag that everything was asked for.
    tips: HashMap<Place, CommitHash>,
}

impl Finding {
    /// Shows whether the source can be read; whether that is news.
    fn tell(&self, why: Option<&str>) -> bool {
        self.handle
            .set_lost(&self.source.name(), why, self.clock.now())
    }

    async fn look(&mut self) -> Result<()> {
        let mut wanted = Vec::new();
        for item in self.source.wanted().await? {
            wanted.push(self.handle.identify(item).await?);
        }
        let mut failed = None;
        let before = self.before(&wanted).await?;
        if !before.changes && !wanted.is_empty() {
            self.remember_changes(&wanted).await?;
        }
        for item in &wanted {
            let branch = place_of(item);
            if self.tips.get(&branch) == Some(&item.commit) {
                continue;
            }
            // One commit that cannot be read does not hold up the others.
            match self.take(item, before).await {
                Ok(()) => drop(self.tips.insert(branch, item.commit.clone())),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let there: HashSet<Place> = wanted.iter().map(place_of).collect();
        self.tips.retain(|place, _| there.contains(place));
        if let Some(item) = wanted.first().filter(|_| failed.is_none() && !before.tags) {
            self.remember(&tags_memo(item)?, "1").await?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Asks for a tip and for what came with it: every commit that the branch did not have when
    /// it was last looked at and that was never asked for, the newest first.
    async fn take(&self, tip: &WorkItem, before: Before) -> Result<()> {
        let last = self.last_tip(tip).await?;
        match &last {
            // An earlier process has asked for everything of it.
            Some(last) if *last == tip.commit => return Ok(()),
            None if tip.tag.is_some() && !before.tags => return self.remember_tip(tip).await,
            None if tip.change.is_some() && !before.changes => return Ok(()),
            _ => {}
        }
        let mut found = vec![tip.clone()];
        found.extend(self.source.earlier(tip, EARLIER).await?);
        let keys: Vec<WishKey> = found.iter().map(Wish::key_of).collect();
        let asked = self.handle.were_asked(&keys).await?;
        let is_new_branch = last.is_none() && before.branches && tip.class == Class::BranchTip;
        let new = match is_new_branch {
            // The source leaves out what is on the default branch.
            true => found.len().min(EARLIER),
            false => self.new_ones(&found, &asked, last.as_ref()),
        };
        for (n, item) in found[..new].iter().enumerate() {
            if item.labels.contains(SKIP_LABEL) {
                let (repo, commit) = (item.repo.as_str(), item.commit.short());
                tracing::info!(repo, commit, "its message asks not to be built");
            } else if !asked[n] {
                let tip_of = branch_of(item).filter(|_| n == 0);
                self.ask(item, keys[n], tip_of).await?;
            }
        }
        self.remember_tip(tip).await
    }

    /// How many of the commits came with the tip: those before the last tip; when that one is not
    /// among them, those before the first one that was ever asked for. Of a branch that was never
    /// looked at the tip alone, unless something of it was asked for.
    fn new_ones(&self, found: &[WorkItem], asked: &[bool], last: Option<&CommitHash>) -> usize {
        let known = |(item, asked): (&WorkItem, &bool)| match last {
            Some(last) => item.commit == *last,
            None => *asked,
        };
        let behind_tip = || found.iter().zip(asked).skip(1);
        let first_known = behind_tip().position(known);
        let first_asked = || behind_tip().position(|(_, asked)| *asked);
        match first_known.or_else(first_asked) {
            Some(before) => before + 1,
            None if last.is_none() => 1,
            None => {
                if found.len() > EARLIER {
                    let tip = &found[0];
                    tracing::warn!(
                        repo = tip.repo.as_str(),
                        branch = %tip.branch.clone().unwrap_or_default(),
                        newest = tip.commit.short(),
                        "more than {EARLIER} commits came at once: the newest {EARLIER} are built, \
                         any other with farmer build --rev"
                    );
                }
                found.len().min(EARLIER)
            }
        }
    }

    async fn ask(&self, item: &WorkItem, key: WishKey, tip_of: Option<BranchId>) -> Result<()> {
        let by = Principal::new(PrincipalKind::Source, &self.source.name());
        let builders = self.handle.builders_of(item).await?;
        let mut wish = Wish::new(key, item.clone(), builders, by);
        wish.tip_of = tip_of;
        self.handle.ask(wish).await
    }

    /// The newest commit of a branch of which everything was asked for.
    async fn last_tip(&self, tip: &WorkItem) -> Result<Option<CommitHash>> {
        let value = self.remembered(&tip_memo(tip)?).await?;
        Ok(value.and_then(|hash| CommitHash::new(hash).ok()))
    }

    async fn before(&self, wanted: &[WorkItem]) -> Result<Before> {
        let mut before = Before::default();
        for item in wanted.iter().filter(|item| is_of_branch(item)) {
            before.branches = before.branches || self.last_tip(item).await?.is_some();
        }
        if let Some(item) = wanted.first() {
            before.tags = self.remembered(&tags_memo(item)?).await?.is_some();
            before.changes = !self.source.takes_changes()
                || self.remembered(&changes_memo(item)?).await?.is_some();
        }
        Ok(before)
    }

    async fn remembered(&self, key: &MemoKey) -> Result<Option<String>> {
        let memos = self.handle.ledger().events().memos(key).await?;
        let value = memos.into_iter().find(|memo| memo.key == *key);
        let value = value.and_then(|memo| memo.value);
        Ok(value.and_then(|value| String::from_utf8(value.to_vec()).ok()))
    }

    /// Takes down the changes that are there when changes are first looked for: they are not built.
    /// A host keeps every one there ever was, so all of them are one batch each thousand.
    async fn remember_changes(&self, wanted: &[WorkItem]) -> Result<()> {
        let changes = wanted.iter().filter(|item| item.change.is_some());
        let tip = |item: &WorkItem| -> Result<Memo> {
            let commit = item.commit.as_str().to_owned();
            Ok(Memo::set(tip_memo(item)?, commit))
        };
        let mut memos = changes.map(tip).collect::<Result<Vec<_>>>()?;
        if let Some(first) = wanted.first() {
            // The last one: what is cut off is done again.
            memos.push(Memo::set(changes_memo(first)?, "1".to_owned()));
        }
        for memos in memos.chunks(MEMOS) {
            let batch = Batch {
                memos: memos.to_vec(),
                ..Batch::default()
            };
            self.handle.ledger().append(batch).await?;
        }
        Ok(())
    }

    async fn remember_tip(&self, tip: &WorkItem) -> Result<()> {
        self.remember(&tip_memo(tip)?, tip.commit.as_str()).await
    }

    async fn remember(&self, key: &MemoKey, value: &str) -> Result<()> {
        let batch = Batch {
            memos: vec![Memo::set(key.clone(), value.to_owned())],
            ..Batch::default()
        };
        self.handle.ledger().append(batch).await.map(|_| ())
    }
}

/// What it is the newest of. No branch is called as a change is here: names of refs have no blanks.
fn branch_of(item: &WorkItem) -> Option<BranchId> {
    let change = item.change.as_ref();
    let change = change.map(|change| Name::from(format!("change {change}")));
    Some(BranchId {
        repo: item.repo.clone(),
        branch: change.or_else(|| item.branch.clone())?,
    })
}

/// The memo of a branch or a tag: its names may hold anything and are not part of the key.
fn tip_memo(tip: &WorkItem) -> Result<MemoKey> {
    let repo = tip.repo_id.as_ref().map_or(&*tip.origin, RepoId::as_str);
    let repo = repo.as_bytes();
    let key = match (&tip.tag, &tip.change) {
        (Some(tag), _) => WishKey::of(&[repo, b"tag", tag.as_bytes()]),
        (None, Some(change)) => WishKey::of(&[repo, b"change", change.as_str().as_bytes()]),
        (None, None) => {
            let branch = tip.branch.as_ref().map_or(&[][..], Name::as_bytes);
            WishKey::of(&[repo, branch])
        }
    };
    MemoKey::new(format!("tip/{key}"))
}

/// The memo that the tags of a repository were looked at.
fn tags_memo(item: &WorkItem) -> Result<MemoKey> {
    looked_at_memo(item, "tags")
}

/// The memo that its changes were.
fn changes_memo(item: &WorkItem) -> Result<MemoKey> {
    looked_at_memo(item, "changes")
}

fn looked_at_memo(item: &WorkItem, what: &str) -> Result<MemoKey> {
    let repo = item.repo_id.as_ref().map_or(&*item.origin, RepoId::as_str);
    let key = WishKey::of(&[repo.as_bytes(), what.as_bytes(), b""]);
    MemoKey::new(format!("{what}/{key}"))
}
