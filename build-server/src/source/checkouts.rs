//! Reads and packs commits with the `git` program.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Once};

use async_trait::async_trait;
use build_core::buildlet::ByteStream;
use build_core::clock::Timestamp;
use build_core::ids::{CommitHash, RepoName};
use build_core::name::Name;
use build_core::recipe::Tree;
use build_core::ref_rules::{RefRules, change_of};
use build_core::tarutil::{GzipOptions, Pack};
use build_core::work::{Class, SKIP_LABEL, WorkItem};
use build_core::{Error, ErrorKind, Result};
use tempfile::TempDir;

use super::checkout::{Checkout, set_times};
use super::fingerprint;
use super::git::without_passwords;
use super::login::split;
use super::origin::{CHECKOUTS, Origin, Repos, name_of};
use super::pack::stream_of;
use super::plain::PlainTree;
use super::refs::RefsState;
use super::repo::{CommitInfo, Repo};
use super::tree::{CommitTree, WorkTree};
use super::worktree::overlay;
use super::{Checkouts, Merge};
use crate::spread::spread_below;

/// Commits that are looked at to say where one stands among others.
const PLACES: usize = 100;

/// Words that policies and sources look at.
pub(super) fn labels(info: &CommitInfo) -> BTreeSet<String> {
    let skip = info.skip.then(|| SKIP_LABEL.to_owned());
    skip.into_iter().collect()
}

/// Fast rather than small: it goes to a machine nearby and is thrown away.
const GZIP_LEVEL: u32 = 1;

/// Repositories on this machine and elsewhere, through the `git` program.
#[derive(Clone)]
pub struct GitCheckouts {
    pub(super) repos: Repos,
    dir: PathBuf,
    cleaned: Arc<Once>,
}

impl GitCheckouts {
    /// Copies of remote repositories, and checkouts while they are packed, lie below `dir`,
    /// which no other process uses.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            repos: Repos::new(dir.clone()),
            dir,
            cleaned: Arc::new(Once::new()),
        }
    }

    /// Goes by these rules: which changes are fetched and built, and whose commits come from outside.
    #[must_use]
    pub fn with_refs(mut self, rules: RefRules) -> Self {
        self.repos = self.repos.with_rules(rules);
        self
    }

    /// The commit that `rev` (default: what is checked out, or the remote's default branch)
    /// names in the repository around a path, or at a URL, as work to do.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such repository or revision,
    /// [`ErrorKind::Invalid`] when nothing was committed yet.
    pub async fn resolve(&self, origin: &str, rev: Option<&str>) -> Result<WorkItem> {
        let parsed = Origin::parse(origin)?;
        // A commit that is on no branch can be fetched by its whole hash alone.
        let hash = rev.and_then(|rev| CommitHash::new(rev).ok());
        let (repo, commit) = match hash {
            Some(hash) => {
                let repo = self.repos.open_with(&parsed, &hash).await?;
                let commit = repo.resolve(hash.as_str()).await?;
                (repo, commit)
            }
            None => {
                let repo = self.repos.refresh(&parsed).await?;
                let commit = repo.resolve(rev.unwrap_or("HEAD")).await?;
                (repo, commit)
            }
        };
        self.repos.remember(&repo, &commit);
        let named = async {
            match rev {
                None => Ok((repo.head_branch().await?, None)),
                Some(rev) => Ok::<_, Error>((
                    repo.branch_called(rev, &commit).await?,
                    repo.tag_called(rev, &commit).await?,
                )),
            }
        };
        let item = self.item(&parsed, &repo, &commit, None);
        let (item, (branch, tag)) = futures::try_join!(item, named)?;
        let is_own = matches!(parsed, Origin::Local(_));
        let refs = self.repos.refs_of(&item.repo);
        let lead = repo.lead_to(&commit, rev, &refs, is_own).await?;
        let (change, patch_set) = lead.other_ref.and_then(|name| change_of(&name)).unzip();
        Ok(WorkItem {
            branch,
            tag,
            change,
            patch_set: patch_set.flatten(),
            trust: lead.trust,
            ..item
        })
    }

    /// How many files of the work tree at a path differ from its `HEAD`, new ones included;
    /// 0 for a URL.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn uncommitted(&self, origin: &str) -> Result<usize> {
        match Origin::parse(origin)? {
            Origin::Remote(_) => Ok(0),
            local => self.repos.open(&local).await?.uncommitted().await,
        }
    }

    /// The branch that a farm builds when nothing else is said: the remote's, whatever is checked out
    /// at present. `None` when a commit is checked out and no remote says more.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub async fn default_branch(&self, origin: &str) -> Result<Option<Name>> {
        let repo = self.repos.open(&Origin::parse(origin)?).await?;
        repo.default_branch().await
    }

    /// The newest commit of every branch that one of `globs` matches, most recent first; the
    /// default branch when there are none, or what is checked out when there is no such. Then the
    /// tags that one of `tags` matches, and the changes that the rules name. A branch that cannot be
    /// read is named and left out.
    pub(super) async fn tips(
        &self,
        origin: &str,
        globs: &[String],
        tags: &[String],
    ) -> Result<Vec<WorkItem>> {
        let parsed = Origin::parse(origin)?;
        let repo = self.repos.refresh(&parsed).await?;
        if repo.is_empty().await? {
            return Ok(Vec::new());
        }
        let default = repo.default_branch().await?;
        let mut items = Vec::new();
        if default.is_none() {
            let commit = repo.resolve("HEAD").await?;
            items.push(self.item(&parsed, &repo, &commit, None).await?);
        }
        for (branch, commit) in repo.branches(default.as_ref(), globs).await? {
            let class = match default.as_ref() == Some(&branch) {
                true => Class::DefaultTip,
                false => Class::BranchTip,
            };
            let found = self.item(&parsed, &repo, &commit, Some(branch.clone()));
            match found.await {
                Ok(item) => {
                    let name = [&b"refs/heads/"[..], branch.as_bytes()].concat();
                    let trust = self.repos.refs_of(&item.repo).trust(&name);
                    items.push(WorkItem {
                        class,
                        trust,
                        ..item
                    });
                }
                Err(error) => {
                    let (repo, error) = (repo.name(), error.chain());
                    tracing::warn!(repo, %branch, error, "a branch cannot be read");
                }
            }
        }
        items.sort_by_key(|item| std::cmp::Reverse(item.commit_time));
        for tag in repo.tags(tags).await? {
            let item = self.item_of(&parsed, &repo, tag.commit, None).await?;
            let name = [&b"refs/tags/"[..], tag.name.as_bytes()].concat();
            items.push(WorkItem {
                trust: self.repos.refs_of(&item.repo).trust(&name),
                tag: Some(tag.name),
                class: Class::ReleaseTip,
                ..item
            });
        }
        let changes = self.changes(&parsed, &repo, &items).await?;
        items.extend(changes);
        Ok(items)
    }

    /// The commits before `tip` on its branch, newest first, as work for idle machines. Of another
    /// branch than the default one those that are on that one are left out; of a tag and of a
    /// change, all.
    pub(super) async fn earlier(&self, tip: &WorkItem, limit: usize) -> Result<Vec<WorkItem>> {
        if tip.tag.is_some() || tip.change.is_some() {
            return Ok(Vec::new());
        }
        let repo = self.repos.open(&Origin::parse(&tip.origin)?).await?;
        let other = match tip.class {
            Class::BranchTip => repo.default_branch().await?,
            _ => None,
        };
        let infos = repo.before(&tip.commit, limit, other.as_ref().and_then(Name::as_str));
        let places = repo.places(&tip.commit, limit + PLACES);
        let (infos, places) = futures::try_join!(infos, places)?;
        let item = |info: CommitInfo| WorkItem {
            order: places.get(&info.hash).copied(),
            labels: labels(&info),
            commit: info.hash,
            commit_time: info.time,
            subject: info.subject,
            author: Some(info.author),
            class: Class::Backfill,
            ..tip.clone()
        };
        Ok(infos.into_iter().map(item).collect())
    }

    /// What changes when a branch of the repository at a path moves; `None` for a URL.
    pub(super) async fn state_of_refs(&self, origin: &str) -> Result<Option<RefsState>> {
        match Origin::parse(origin)? {
            Origin::Remote(_) => Ok(None),
            local => {
                let repo = self.repos.open(&local).await?;
                let head = repo.head_file().await?;
                Ok(Some(RefsState::of(repo.git_dir, head)))
            }
        }
    }

    async fn item(
        &self,
        origin: &Origin,
        repo: &Repo,
        commit: &CommitHash,
        branch: Option<Name>,
    ) -> Result<WorkItem> {
        let info = repo.info(commit).await?;
        self.item_of(origin, repo, info, branch).await
    }

    async fn item_of(
        &self,
        origin: &Origin,
        repo: &Repo,
        info: CommitInfo,
        branch: Option<Name>,
    ) -> Result<WorkItem> {
        let places = repo.places(&info.hash, PLACES);
        let (places, (name, place)) = futures::try_join!(places, called(origin, repo))?;
        Ok(WorkItem {
            order: places.get(&info.hash).copied(),
            labels: labels(&info),
            commit_time: info.time,
            subject: info.subject,
            branch,
            author: Some(info.author),
            class: Class::DefaultTip,
            ..WorkItem::new(name, place, info.hash)
        })
    }

    /// A new directory for a checkout.
    async fn new_dir(&self) -> Result<TempDir> {
        let (place, cleaned) = (self.dir.join(CHECKOUTS), self.cleaned.clone());
        let dir = tokio::task::spawn_blocking(move || {
            // What a process that was killed left behind; the directory has one owner.
            cleaned.call_once(|| drop(build_core::tree::remove_tree(&place)));
            std::fs::create_dir_all(&place)?;
            spread_below(&place);
            tempfile::Builder::new().prefix("src-").tempdir_in(&place)
        });
        Ok(dir
            .await
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "make a directory", e))??)
    }

    async fn packed(&self, item: &WorkItem, depth: u32) -> Result<ByteStream> {
        let origin = Origin::parse(&item.origin)?;
        let repo = self.repos.open_with(&origin, &item.commit).await?;
        let dir = self.new_dir().await?;
        let checkout = Checkout {
            repos: &self.repos,
            repo,
            commit: item.commit.clone(),
            depth,
            // What anybody may have written names no directory of this machine.
            is_local: origin.is_here() && !item.is_from_outside(),
            nesting: 0,
        };
        let plain = async {
            match item.worktree {
                true => Ok(None),
                false => PlainTree::of(&checkout.repo, &item.commit).await,
            }
        };
        let ((), plain) = futures::try_join!(checkout.repository(dir.path()), plain)?;
        let options = GzipOptions::default().level(GZIP_LEVEL);
        if let Some(tree) = plain {
            return tree.pack(
                &self.repos.git,
                dir,
                &item.commit,
                item.commit_time,
                options,
            );
        }
        checkout.work_tree(dir.path()).await?;
        let dir = self.settle(dir, item.commit_time).await?;
        if item.worktree {
            overlay(&checkout.repo, dir.path()).await?;
        }
        Ok(stream_of(move |out| {
            let packed = Pack::open(dir.path())
                .map_err(Error::from)?
                .write_gz(out, &options);
            packed.map_err(|e| Error::caused_by(ErrorKind::Unavailable, "pack a checkout", e))?;
            Ok(())
        }))
    }

    /// Times of the commit on every file, known to every index.
    async fn settle(&self, dir: TempDir, time: Timestamp) -> Result<TempDir> {
        let path = dir.path().to_owned();
        let set = tokio::task::spawn_blocking(move || set_times(&path, time)).await;
        let strange = set.map_err(|e| Error::caused_by(ErrorKind::Bug, "set times", e))??;
        for checkout in strange {
            let args = ["update-index", "-q", "--refresh"];
            // Says by its exit status that a submodule differs, which is no matter here.
            self.repos.git.ask(&checkout, &args).await?;
        }
        Ok(dir)
    }
}

#[async_trait]
impl Checkouts for GitCheckouts {
    async fn tree(&self, item: &WorkItem) -> Result<Box<dyn Tree>> {
        let origin = Origin::parse(&item.origin)?;
        let repo = self.repos.open_with(&origin, &item.commit).await?;
        match repo.top.clone().filter(|_| item.worktree) {
            Some(top) => Ok(Box::new(WorkTree { top })),
            None => Ok(Box::new(CommitTree {
                repo,
                commit: item.commit.clone(),
            })),
        }
    }

    async fn pack(&self, item: &WorkItem, depth: u32) -> Result<ByteStream> {
        let named = |e: Error| {
            let origin = without_passwords(&item.origin);
            e.while_doing(format!("check out {} of {origin}", item.commit.short()))
        };
        self.packed(item, depth).await.map_err(named)
    }

    async fn resolve(&self, origin: &str, rev: Option<&str>) -> Result<WorkItem> {
        Self::resolve(self, origin, rev).await
    }

    async fn fingerprint(&self, item: &WorkItem, depth: u32) -> Result<String> {
        let origin = Origin::parse(&item.origin)?;
        let repo = self.repos.open_with(&origin, &item.commit).await?;
        fingerprint::of(&repo, &item.commit, depth, &item.origin).await
    }

    async fn changed_since(&self, item: &WorkItem, base: &CommitHash) -> Result<Option<Vec<Name>>> {
        let origin = Origin::parse(&item.origin)?;
        let repo = self.repos.open_with(&origin, &item.commit).await?;
        if !repo.has(base).await? || !repo.is_ancestor(base, &item.commit).await? {
            return Ok(None);
        }
        let mut changed = repo.changed(base, &item.commit).await?;
        if item.worktree {
            changed.extend(repo.uncommitted_paths().await?);
        }
        Ok(Some(changed))
    }

    async fn merges(
        &self,
        item: &WorkItem,
        commits: &[CommitHash],
        limit: usize,
    ) -> Result<Vec<Merge>> {
        let origin = Origin::parse(&item.origin)?;
        let Some(repo) = self.repos.copy_of(&origin).await? else {
            return Ok(Vec::new());
        };
        let brought = |info: CommitInfo| WorkItem {
            labels: labels(&info),
            commit: info.hash,
            commit_time: info.time,
            subject: info.subject,
            author: Some(info.author),
            class: Class::Backfill,
            branch: None,
            tag: None,
            order: None,
            ..item.clone()
        };
        let merged = repo.merged(commits, limit + 1).await?;
        let merge = |(commit, mut infos): (CommitHash, Vec<CommitInfo>)| {
            let is_cut = infos.len() > limit;
            infos.truncate(limit);
            Merge {
                commit,
                brought: infos.into_iter().map(brought).collect(),
                is_cut,
            }
        };
        Ok(merged.into_iter().map(merge).collect())
    }

    async fn history(&self, item: &WorkItem, limit: usize) -> Result<Option<Vec<CommitHash>>> {
        let origin = Origin::parse(&item.origin)?;
        let Some(repo) = self.repos.copy_of(&origin).await? else {
            return Ok(None);
        };
        match repo.has(&item.commit).await? {
            true => repo.first_parents(&item.commit, limit).await.map(Some),
            false => Ok(None),
        }
    }
}

/// What a repository is called, and where it is.
pub(super) async fn called(origin: &Origin, repo: &Repo) -> Result<(RepoName, String)> {
    let remote = repo.remote().await?.map(|(_, url)| url);
    let place = match origin {
        Origin::Local(_) => repo.place().to_string_lossy().into_owned(),
        // The password is known to this process, and goes into no record.
        Origin::Remote(url) => split(url).0,
    };
    let name = RepoName::new(name_of(remote.as_deref().unwrap_or(&place)))?;
    Ok((name, place))
}
