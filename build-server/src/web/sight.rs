//! Which repositories whom is shown.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use build_core::event::{Recorded, Seq};
use build_core::ids::{BuildId, BuilderName, RepoName, SessionId, StepName};
use build_core::{Error, ErrorKind, Result};
use futures::StreamExt as _;
use lru::LruCache;

use super::{Refusal, Site, User, Visitor};
use crate::coordinator::{EventStream, Waiting};
use crate::record::{BuildRow, SessionRow, Tested, Timing};
use crate::store::{
    BoardFilter, BoardPage, BoardPlace, BoardRecords, BuildFilter, BuildPage, BuildRecords,
    KnownRepo, Records, SessionRecords, TestRecords,
};
use crate::who::{Pattern, Right};

/// Rows of builds that wait which are looked at for one answer to somebody who does not see all.
const QUEUED: usize = 2_000;
/// Builds of which a stream of events remembers whether they are shown.
const REMEMBERED: std::num::NonZeroUsize = std::num::NonZeroUsize::new(1_024).expect("not zero");

/// The repositories that not everybody may read.
#[derive(Clone, Debug, Default)]
pub struct PrivateRepos(Arc<[Pattern]>);

impl PrivateRepos {
    /// Those whose names fit one of these.
    pub fn new(patterns: impl IntoIterator<Item = Pattern>) -> Self {
        Self(patterns.into_iter().collect())
    }

    /// Whether a repository is one of them.
    #[must_use]
    pub fn contains(&self, repo: &RepoName) -> bool {
        self.0.iter().any(|pattern| pattern.matches(repo.as_str()))
    }

    /// Whether builds of `repo` may have files of `input`, which whoever reads their logs then
    /// sees: those of a repository that is not private, or when one of the patterns fits both.
    #[must_use]
    pub fn lets_into(&self, repo: &RepoName, input: &RepoName) -> bool {
        let mut patterns = self.0.iter();
        let is_one = |of: &RepoName, pattern: &Pattern| pattern.matches(of.as_str());
        !self.contains(input) || patterns.any(|p| is_one(repo, p) && is_one(input, p))
    }
}

/// What one visitor is shown.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    private: PrivateRepos,
    user: Option<User>,
}

impl Sight {
    pub(crate) fn sees(&self, repo: &RepoName) -> bool {
        let may = |user: &User| user.may(Right::Read(repo.as_str()));
        !self.private.contains(repo) || self.user.as_ref().is_some_and(may)
    }

    /// Whether nothing is hidden: a name that begins as private ones do stands for all of them.
    fn sees_everything(&self) -> bool {
        let may = |pattern: &Pattern| {
            let user = self.user.as_ref();
            user.is_some_and(|user| user.may(Right::Read(pattern.as_str())))
        };
        self.private.0.iter().all(may)
    }
}

impl Site {
    /// Why something waits, as the one who asks is told. An explanation names others who wait and
    /// hold machines: to those who do not see everything, builds that they see and nobody else.
    ///
    /// # Errors
    /// As [`Handle::explain`](crate::coordinator::Handle::explain), and when rows cannot be read.
    pub(crate) async fn explain(&self, build: &BuildId) -> Result<Vec<Waiting>> {
        let mut waiting = self.handle().explain(build).await?;
        if self.sight.as_ref().is_none_or(Sight::sees_everything) {
            return Ok(waiting);
        }
        let records = self.records();
        let mut seen = HashSet::new();
        for holder in waiting.iter().flat_map(|waiting| waiting.why.holders()) {
            if let Some(build) = holder.build()
                && records.build(build).await?.is_some()
            {
                seen.insert(holder.clone());
            }
        }
        for waiting in &mut waiting {
            waiting.why = waiting.why.clone().discreet(|holder| seen.contains(holder));
        }
        Ok(waiting)
    }
}

/// The site as the one who asks is shown it: what is private and not theirs is not there.
pub(crate) struct Looking(pub(crate) Site);

impl FromRequestParts<Site> for Looking {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Refusal> {
        if site.private().0.is_empty() {
            return Ok(Self(site.clone()));
        }
        let Visitor(user) = Visitor::from_request_parts(parts, site).await?;
        let private = site.private().clone();
        Ok(Self(site.clone().seen_with(Sight { private, user })))
    }
}

/// Rows without those that are not shown.
pub(super) struct SeenRecords {
    inner: Arc<dyn Records>,
    sight: Sight,
}

impl SeenRecords {
    pub(super) fn new(inner: Arc<dyn Records>, sight: Sight) -> Self {
        Self { inner, sight }
    }

    fn only_seen(&self, mut rows: Vec<BuildRow>) -> Vec<BuildRow> {
        rows.retain(|row| self.sight.sees(&row.item.repo));
        rows
    }
}

#[async_trait]
impl BuildRecords for SeenRecords {
    async fn build(&self, id: &BuildId) -> Result<Option<BuildRow>> {
        let row = self.inner.build(id).await?;
        Ok(row.filter(|row| self.sight.sees(&row.item.repo)))
    }

    async fn builds(
        &self,
        which: &BuildFilter,
        mut before: Option<Seq>,
        limit: usize,
    ) -> Result<BuildPage> {
        let mut page = BuildPage::default();
        if which
            .repo
            .as_ref()
            .is_some_and(|repo| !self.sight.sees(repo))
        {
            return Ok(page);
        }
        let limit = limit.max(1);
        loop {
            let part = self
                .inner
                .builds(which, before, limit - page.builds.len())
                .await?;
            page.builds.extend(self.only_seen(part.builds));
            page.next = part.next;
            if page.next.is_none() || page.builds.len() >= limit {
                return Ok(page);
            }
            before = page.next;
        }
    }

    async fn open(&self) -> Result<Vec<BuildRow>> {
        Ok(self.only_seen(self.inner.open().await?))
    }

    async fn active(&self) -> Result<Vec<BuildRow>> {
        Ok(self.only_seen(self.inner.active().await?))
    }

    async fn queued(&self, limit: usize) -> Result<Vec<BuildRow>> {
        let mut rows = self.only_seen(self.inner.queued(QUEUED.max(limit)).await?);
        rows.truncate(limit);
        Ok(rows)
    }

    /// Of those that were asked for first.
    async fn count_queued(&self) -> Result<usize> {
        Ok(self.queued(QUEUED).await?.len())
    }
}

#[async_trait]
impl BoardRecords for SeenRecords {
    async fn board(
        &self,
        which: &BoardFilter,
        before: Option<BoardPlace>,
        limit: usize,
    ) -> Result<BoardPage> {
        match self.sight.sees(&which.repo) {
            true => self.inner.board(which, before, limit).await,
            false => Ok(BoardPage::default()),
        }
    }

    async fn repos(&self) -> Result<Vec<KnownRepo>> {
        let mut repos = self.inner.repos().await?;
        repos.retain(|known| self.sight.sees(&known.repo));
        Ok(repos)
    }
}

#[async_trait]
impl SessionRecords for SeenRecords {
    async fn session(&self, id: &SessionId) -> Result<Option<SessionRow>> {
        self.inner.session(id).await
    }

    async fn open_sessions(&self) -> Result<Vec<SessionRow>> {
        self.inner.open_sessions().await
    }
}

#[async_trait]
impl TestRecords for SeenRecords {
    async fn timings(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        limit: usize,
    ) -> Result<Vec<Timing>> {
        match self.sight.sees(repo) {
            true => self.inner.timings(repo, builder, step, limit).await,
            false => Ok(Vec::new()),
        }
    }

    async fn tested(
        &self,
        repo: &RepoName,
        builder: &BuilderName,
        step: &StepName,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Tested>> {
        match self.sight.sees(repo) {
            true => self.inner.tested(repo, builder, step, before, limit).await,
            false => Ok(Vec::new()),
        }
    }
}

#[async_trait]
impl Records for SeenRecords {
    async fn position(&self) -> Result<Seq> {
        self.inner.position().await
    }

    async fn rebuild(&self) -> Result<()> {
        let text = "rows are not folded anew by those who are shown a part of them";
        Err(Error::new(ErrorKind::Denied, text))
    }
}

/// The events of builds that are shown. Events of everything else are left out for those who do
/// not see all: they may name what is private.
pub(super) fn only_seen(events: EventStream, records: Arc<dyn Records>) -> EventStream {
    let known = Arc::new(tokio::sync::Mutex::new(LruCache::new(REMEMBERED)));
    events
        .filter_map(move |event| {
            let (records, known) = (records.clone(), known.clone());
            async move {
                let event = match event {
                    Ok(event) => event,
                    Err(error) => return Some(Err(error)),
                };
                match is_seen(&event, &*records, &mut *known.lock().await).await {
                    Ok(true) => Some(Ok(event)),
                    Ok(false) => None,
                    Err(error) => Some(Err(error)),
                }
            }
        })
        .boxed()
}

async fn is_seen(
    event: &Recorded,
    records: &dyn Records,
    known: &mut LruCache<BuildId, bool>,
) -> Result<bool> {
    let Some(build) = event.stream.build() else {
        return Ok(false);
    };
    if let Some(seen) = known.get(build) {
        return Ok(*seen);
    }
    let seen = records.build(build).await?.is_some();
    known.put(build.clone(), seen);
    Ok(seen)
}
