//! Builds that are asked for, and the repositories they are of.

use build_core::event::{Principal, StreamId, Version, WishedBuild};
use build_core::ids::{BuildId, BuilderName, RepoId, RepoName, WishKey};
use build_core::recipe::name_hint;
use build_core::repository::RepoState;
use build_core::wish::{Wish, WishState};
use build_core::work::WorkItem;
use build_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::{Handle, Request, stopped};
use crate::run::draw;

/// What somebody wants built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// By which it can be withdrawn.
    pub key: WishKey,
    /// Its builds, in the order of the builders.
    pub builds: Vec<WishedBuild>,
}

/// Which open wishes are asked for.
pub(in crate::coordinator) enum Which {
    All,
    Of(BuildId),
    One(WishKey),
}

fn one_of(wanted: Wanted) -> Result<BuildId> {
    let build = wanted.builds.into_iter().next();
    build.map(|wished| wished.build).ok_or_else(|| {
        let text = "a wish for one builder has no build";
        Error::new(ErrorKind::Bug, text)
    })
}

impl Handle {
    /// The builders that a commit is built on when nobody names one.
    ///
    /// # Errors
    /// When the commit cannot be read.
    pub async fn builders_of(&self, item: &WorkItem) -> Result<Vec<BuilderName>> {
        self.chooser.builders_of(item, &self.builders).await
    }

    /// Asks for a build of a commit on a builder, for a person: a wish of its own, which shares
    /// the build of the same commit that has no result yet. It is recorded when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such builder, [`ErrorKind::Unavailable`] when the
    /// coordinator does not run.
    pub async fn submit(&self, item: WorkItem, builder: &BuilderName) -> Result<BuildId> {
        let wanted = self.want(item, vec![builder.clone()], "somebody", false);
        one_of(wanted.await?)
    }

    /// As [`Handle::submit`], for somebody by name, and one more build whatever has no result yet.
    ///
    /// # Errors
    /// As [`Handle::submit`].
    pub async fn submit_anew(
        &self,
        item: WorkItem,
        builder: &BuilderName,
        by: impl Into<Principal>,
    ) -> Result<BuildId> {
        let wanted = self.want(item, vec![builder.clone()], by, true);
        one_of(wanted.await?)
    }

    /// Asks for builds of a commit on these builders, all or none, for a person. Withdrawing the
    /// wish cancels what nobody else wants. With `alone` the builds are not shared.
    ///
    /// # Errors
    /// As [`Handle::submit`].
    pub async fn want(
        &self,
        item: WorkItem,
        builders: Vec<BuilderName>,
        by: impl Into<Principal>,
        alone: bool,
    ) -> Result<Wanted> {
        for builder in &builders {
            self.check_builder(&item, builder).await?;
        }
        let key = WishKey::from_bits(u128::from(draw()?) << 64 | u128::from(draw()?));
        let order = builders.clone();
        let mut wish = Wish::new(key, item, builders, by.into());
        wish.alone = alone;
        let mut builds = self.ask_for(wish).await?;
        builds.sort_by_key(|wished| order.iter().position(|name| *name == wished.builder));
        Ok(Wanted { key, builds })
    }

    /// Whether the farm, or the commit, has a builder of this name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] naming the nearest one, or all of them.
    pub async fn check_builder(&self, item: &WorkItem, builder: &BuilderName) -> Result<()> {
        if self.builders.contains(builder) {
            return Ok(());
        }
        let of_commit = self.builders_of(item).await?;
        if of_commit.contains(builder) {
            return Ok(());
        }
        let farm = self.builders.iter();
        let more = of_commit
            .iter()
            .filter(|name| !self.builders.contains(name));
        let known = farm.chain(more).map(BuilderName::as_str);
        let text = format!("there is no builder called {builder}");
        Err(Error::new(ErrorKind::NotFound, text).with_hint(name_hint(builder.as_str(), known)))
    }

    /// Asks for what somebody wants built, under a key of its own; asking twice is asking once,
    /// also after it was built or withdrawn. It is recorded when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the coordinator does not run.
    pub async fn ask(&self, wish: Wish) -> Result<()> {
        if self.were_asked(&[wish.key]).await?.contains(&true) {
            return Ok(());
        }
        self.ask_for(wish).await.map(|_| ())
    }

    async fn ask_for(&self, wish: Wish) -> Result<Vec<WishedBuild>> {
        let drawn = self.draw_builds(wish.builders.len()).await?;
        let (answer, answered) = oneshot::channel();
        let item = match self.identify(wish.item.clone()).await {
            // No room to write down a new repository: the wish waits for it, and the next one tells which it is.
            Err(error) if error.kind() == ErrorKind::Limit => wish.item.clone(),
            identified => identified?,
        };
        let wish = Box::new(Wish { item, ..wish });
        let request = Request::Ask {
            wish,
            drawn,
            answer,
        };
        self.send(request).await?;
        answered.await.map_err(|_| stopped())?
    }

    /// Whether these wishes were ever asked for, in their order.
    ///
    /// # Errors
    /// When the event log cannot be read.
    pub async fn were_asked(&self, keys: &[WishKey]) -> Result<Vec<bool>> {
        let streams: Vec<StreamId> = keys.iter().map(|key| (*key).into()).collect();
        let heads = self.ledger.events().heads(&streams).await?;
        Ok(heads.iter().map(|head| head.version > Version(0)).collect())
    }

    /// Every wish that is open, or those that want one build; in no special order.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the coordinator does not run.
    pub async fn wishes(&self, build: Option<&BuildId>) -> Result<Vec<WishState>> {
        self.open_wishes(match build {
            Some(build) => Which::Of(build.clone()),
            None => Which::All,
        })
        .await
    }

    /// One wish, while it is open.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the coordinator does not run.
    pub async fn wish(&self, key: WishKey) -> Result<Option<WishState>> {
        Ok(self.open_wishes(Which::One(key)).await?.pop())
    }

    async fn open_wishes(&self, which: Which) -> Result<Vec<WishState>> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Wishes { which, answer }).await?;
        answered.await.map_err(|_| stopped())
    }

    /// Takes a wish back: builds that only it wants are canceled, all of it or nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no such wish is open, [`ErrorKind::Unavailable`] when the
    /// coordinator does not run.
    pub async fn withdraw(&self, key: WishKey, by: impl Into<Principal>) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let by = by.into();
        self.send(Request::Withdraw { key, by, answer }).await?;
        answered.await.map_err(|_| stopped())?
    }

    /// Ids that no build has, checked with one question.
    async fn draw_builds(&self, count: usize) -> Result<Vec<BuildId>> {
        let mut drawn = Vec::with_capacity(count);
        while drawn.len() < count {
            let new = (drawn.len()..count).map(|_| Ok(BuildId::from_bits(draw()?)));
            let new: Vec<BuildId> = new.collect::<Result<_>>()?;
            let streams: Vec<StreamId> = new.iter().map(Into::into).collect();
            let heads = self.ledger.events().heads(&streams).await?;
            let free = new.into_iter().zip(heads);
            let free = free.filter(|(_, head)| head.version == Version(0));
            drawn.extend(free.map(|(id, _)| id));
            drawn.sort_unstable();
            drawn.dedup();
        }
        Ok(drawn)
    }

    /// Says of an item which repository it is of, unless somebody has: the farm's name and id of
    /// it, which stay whatever else it is called and wherever it moves.
    ///
    /// # Errors
    /// When the event log cannot be read or written.
    pub async fn identify(&self, item: WorkItem) -> Result<WorkItem> {
        self.repos.identify(item).await
    }

    /// Every repository that something was ever asked of, in order of name.
    ///
    /// # Errors
    /// When the event log cannot be read.
    pub async fn repos(&self) -> Result<Vec<RepoState>> {
        self.repos.all().await
    }

    /// A repository lies somewhere else too: what is asked for there is of it from now on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such repository.
    pub async fn repo_moved(
        &self,
        id: &RepoId,
        origin: &str,
        by: impl Into<Principal>,
    ) -> Result<()> {
        self.repos.moved(id, origin, by.into()).await
    }

    /// A repository is called something else from now on; what was built before keeps its name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such repository, [`ErrorKind::Conflict`] when
    /// another one is called so.
    pub async fn repo_named(
        &self,
        id: &RepoId,
        name: RepoName,
        by: impl Into<Principal>,
    ) -> Result<()> {
        self.repos.named(id, name, by.into()).await
    }
}
