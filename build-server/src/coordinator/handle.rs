//! What may be asked of a coordinator that runs.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use build_core::buildlet::ByteStream;
use build_core::clock::{Clock, Timestamp};
use build_core::engine::Repro;
use build_core::event::{
    KindSet, Outcome, Principal, Recorded, Seq, StreamId, StreamKind, Version, WishedBuild,
};
use build_core::ids::{
    BuildId, BuilderName, HolderId, HostType, RepoId, RepoName, SessionId, WishKey,
};
use build_core::plan::Unit;
use build_core::pool::Lease;
use build_core::recipe::name_hint;
use build_core::repository::RepoState;
use build_core::schedule::Allotment;
use build_core::wish::Wish;
use build_core::work::{Builder, WorkItem};
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};

use super::figures::{Counts, Figures};
use super::find::Chooser;
use super::repos::Repos;
use super::session::{Held, Holder, Session, line};
use super::status::{FarmStatus, LostSource, Waiting};
use crate::flakes::{FailedTest, failed_tests};
use crate::kind::{self, Kinds};
use crate::readers::Outboxes;
use crate::record::{BuildRow, Run};
use crate::run::{LiveLogs, draw};
use crate::source::Checkouts;
use crate::store::{EventLog, Ledger, Records, Store};

/// Requests that wait for the coordinator; more wait at their senders.
pub(super) const REQUESTS: usize = 256;
/// Events read at a time for somebody who follows.
const READ_EVENTS: usize = 1000;

/// Recorded events, in order, live.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Recorded>> + Send>>;

/// Through which builds are asked for and followed. Clones are the same.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    ledger: Ledger,
    records: Arc<dyn Records>,
    builders: Arc<[BuilderName]>,
    chooser: Arc<Chooser>,
    /// Counts how often sources were asked to look.
    looks: watch::Sender<u64>,
    /// What is wrong with the settings of the farm.
    misconfigured: watch::Sender<Option<String>>,
    /// Sources that cannot be read, by name.
    lost: watch::Sender<BTreeMap<String, LostSource>>,
    /// The first builder of each kind of machine.
    by_host_type: Arc<BTreeMap<HostType, BuilderName>>,
    configured: Arc<BTreeMap<BuilderName, Builder>>,
    logs: LiveLogs,
    repos: Arc<Repos>,
    kinds: Kinds,
    outboxes: Outboxes,
    figures: Figures,
    head: watch::Receiver<Seq>,
    /// Closed when the coordinator has ended.
    alive: watch::Receiver<()>,
}

/// What somebody wants built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// By which it can be withdrawn.
    pub key: WishKey,
    /// Its builds, in the order of the builders.
    pub builds: Vec<WishedBuild>,
}

fn one_of(wanted: Wanted) -> Result<BuildId> {
    let build = wanted.builds.into_iter().next();
    build.map(|wished| wished.build).ok_or_else(|| {
        let text = "a wish for one builder has no build";
        Error::new(ErrorKind::Bug, text)
    })
}

/// To whom a machine is given once it is ready.
pub(super) type LeaseAnswer = oneshot::Sender<Result<Arc<dyn Lease>>>;

/// A question to the task that owns the dispatcher.
pub(super) enum Request {
    Ask {
        wish: Box<Wish>,
        drawn: Vec<BuildId>,
        answer: oneshot::Sender<Result<Vec<WishedBuild>>>,
    },
    Withdraw {
        key: WishKey,
        by: Principal,
        answer: oneshot::Sender<Result<()>>,
    },
    OpenSession {
        session: SessionId,
        builder: BuilderName,
        by: Principal,
        name: Option<String>,
        held: Held,
        answer: LeaseAnswer,
    },
    TakeUpSession {
        session: SessionId,
        held: Held,
        answer: LeaseAnswer,
    },
    CloseSession {
        session: SessionId,
    },
    FillSession {
        session: SessionId,
        build: BuildId,
        repro: Box<Repro>,
        answer: oneshot::Sender<Result<Vec<String>>>,
    },
    Allot(Allotment),
    Cancel {
        build: HolderId,
        by: Principal,
        answer: oneshot::Sender<Result<()>>,
    },
    Status {
        answer: oneshot::Sender<FarmStatus>,
    },
    Explain {
        build: HolderId,
        answer: oneshot::Sender<Result<Vec<Waiting>>>,
    },
}

fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable, "the coordinator does not run")
}

impl Handle {
    /// The handle, and what it learns the coordinator's end from.
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        store: &Store,
        builders: &[Builder],
        chooser: Chooser,
        clock: Arc<dyn Clock>,
        kinds: Kinds,
    ) -> Result<(Self, watch::Sender<()>)> {
        let (living, alive) = watch::channel(());
        let ledger = store.ledger();
        let repos = ledger.client();
        let hosts = builders.iter().rev();
        let hosts = hosts.map(|b| (b.host_type.clone(), b.name.clone()));
        let handle = Self {
            requests,
            head: ledger.written(),
            ledger,
            records: store.records().clone(),
            builders: builders.iter().map(|b| b.name.clone()).collect(),
            by_host_type: Arc::new(hosts.collect()),
            configured: Arc::new(
                builders
                    .iter()
                    .map(|b| (b.name.clone(), b.clone()))
                    .collect(),
            ),
            chooser: Arc::new(chooser),
            looks: watch::channel(0).0,
            misconfigured: watch::channel(None).0,
            lost: watch::channel(BTreeMap::new()).0,
            logs: LiveLogs::new(store.logs().clone()),
            repos: Arc::new(Repos::new(repos, clock)),
            kinds,
            outboxes: Outboxes::default(),
            figures: Figures::default(),
            alive,
        };
        Ok((handle, living))
    }

    /// Through which everybody writes to the event log of the farm, each kind of streams by one
    /// owner; builds and sessions are the coordinator's.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the farm's readers have to do; others add theirs.
    pub fn outboxes(&self) -> &Outboxes {
        &self.outboxes
    }

    pub(super) fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// The row of a stream of a kind that was registered, as its fold has left it.
    ///
    /// # Errors
    /// When the event log cannot be read.
    pub async fn row_of(&self, stream: &StreamId) -> Result<Option<Bytes>> {
        kind::row(&**self.ledger.events(), stream).await
    }

    /// The rows of all streams of a kind that was registered, in order of their names.
    ///
    /// # Errors
    /// When the event log cannot be read.
    pub async fn rows_of(&self, kind: &StreamKind) -> Result<Vec<(StreamId, Bytes)>> {
        kind::rows(&**self.ledger.events(), kind).await
    }

    /// Returns once the rows of a kind hold everything up to `at`, such as what was just appended.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when nobody has registered the kind.
    pub async fn folded(&self, kind: &StreamKind, at: Seq) -> Result<()> {
        self.kinds.folded(kind, at).await
    }

    pub(crate) fn logs(&self) -> &LiveLogs {
        &self.logs
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// What was done since the coordinator began.
    pub fn counts(&self) -> Counts {
        self.figures.counts()
    }

    /// The names of the builders.
    pub fn builders(&self) -> &[BuilderName] {
        &self.builders
    }

    /// The kind of machine that a builder builds on; `None` when there is no such builder.
    pub fn host_type_of(&self, builder: &BuilderName) -> Option<&HostType> {
        self.builder(builder).map(|builder| &builder.host_type)
    }

    /// A builder of the farm.
    pub fn builder(&self, name: &BuilderName) -> Option<&Builder> {
        self.configured.get(name)
    }

    /// Fills the work directory of a session as that of a build was filled: the checkout, and
    /// the caches there are; which of them were put back.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the session holds no machine; the machine's own.
    pub async fn fill_session(
        &self,
        session: &SessionId,
        build: &BuildId,
        repro: &Repro,
    ) -> Result<Vec<String>> {
        let (answer, answered) = oneshot::channel();
        let request = Request::FillSession {
            session: session.clone(),
            build: build.clone(),
            repro: Box::new(repro.clone()),
            answer,
        };
        self.send(request).await?;
        answered.await.map_err(|_| stopped())?
    }

    /// The builders that a commit is built on when nobody names one.
    ///
    /// # Errors
    /// When the commit cannot be read.
    pub async fn builders_of(&self, item: &WorkItem) -> Result<Vec<BuilderName>> {
        self.chooser.builders_of(item, &self.builders).await
    }

    /// Has every source look for new commits now.
    pub fn look_for_work(&self) {
        self.looks.send_modify(|count| *count += 1);
    }

    pub(super) fn looks(&self) -> watch::Receiver<u64> {
        self.looks.subscribe()
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

    /// As [`Handle::submit`], but one more build whatever has no result yet.
    ///
    /// # Errors
    /// As [`Handle::submit`].
    pub async fn submit_anew(&self, item: WorkItem, builder: &BuilderName) -> Result<BuildId> {
        let wanted = self.want(item, vec![builder.clone()], "somebody", true);
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

    /// Opens a session: a machine of a builder, or of a kind, to be used by hand. Waits for the
    /// machine as builds do, before those that nobody waits for.
    ///
    /// When the future is dropped the session is given up.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such builder or kind of machine,
    /// [`ErrorKind::Unavailable`] when no machine could be made ready or the coordinator does not
    /// run, [`ErrorKind::Canceled`] when somebody canceled the session.
    pub async fn create(&self, builder_or_host_type: &str) -> Result<Session> {
        self.create_for(builder_or_host_type, "somebody").await
    }

    /// [`Handle::create`], for somebody who is named to others, and has turns as an author has.
    ///
    /// # Errors
    /// As [`Handle::create`].
    pub async fn create_for(
        &self,
        builder_or_host_type: &str,
        by: impl Into<Principal>,
    ) -> Result<Session> {
        let opening = self.open(builder_or_host_type, by, None).await?;
        opening.ready().await
    }

    /// Asks for a session and does not wait for its machine; `name` is what whoever uses it
    /// calls it. Names are not looked at: whoever gives them sees to it that they differ.
    ///
    /// # Errors
    /// As [`Handle::create`], as far as they show at once.
    pub async fn open(
        &self,
        builder_or_host_type: &str,
        by: impl Into<Principal>,
        name: Option<String>,
    ) -> Result<Opening> {
        let builder = self.builder_called(builder_or_host_type)?;
        let session = self.new_session_id().await?;
        let (holder, held) = line();
        let (answer, answered) = oneshot::channel();
        let request = Request::OpenSession {
            session: session.clone(),
            builder,
            by: by.into(),
            name,
            held,
            answer,
        };
        self.send(request).await?;
        Ok(Opening {
            id: session,
            holder,
            answered,
            handle: self.clone(),
        })
    }

    /// Takes up a session that was left, or whose holder ended with an earlier coordinator.
    /// While several hold it, the first one that closes or drops it ends it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such session, or it has ended: the text says why.
    pub async fn session(&self, id: &SessionId) -> Result<Session> {
        let row = self.records.session(id).await?;
        let row = row.ok_or_else(|| {
            let text = format!("there is no session {id}");
            Error::new(ErrorKind::NotFound, text)
        })?;
        if let Some(outcome) = &row.outcome {
            return Err(session_ended(id, outcome));
        }
        let (holder, held) = line();
        let (answer, answered) = oneshot::channel();
        let session = id.clone();
        let request = Request::TakeUpSession {
            session: session.clone(),
            held,
            answer,
        };
        self.send(request).await?;
        self.held(session, holder, answered).await
    }

    async fn held(
        &self,
        id: SessionId,
        holder: Holder,
        answered: oneshot::Receiver<Result<Arc<dyn Lease>>>,
    ) -> Result<Session> {
        let lease = answered.await.map_err(|_| stopped())??;
        Ok(Session::new(id, lease, self.clone(), holder))
    }

    /// Ends a session and waits until its machine is given back.
    pub(super) async fn close_session(&self, id: &SessionId) -> Result<()> {
        let mut events = self.events(id, Seq(0));
        let session = id.clone();
        self.send(Request::CloseSession { session }).await?;
        while let Some(event) = events.next().await {
            event?;
        }
        Ok(())
    }

    /// The builder of this name, or the first one of this kind of machine.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] naming the nearest one, or all of them.
    pub fn builder_called(&self, name: &str) -> Result<BuilderName> {
        let by_name = self.builders.iter().find(|b| b.as_str() == name);
        let host_type = HostType::new(name).ok();
        let by_kind = host_type.and_then(|kind| self.by_host_type.get(&kind));
        by_name.or(by_kind).cloned().ok_or_else(|| {
            let names = self.builders.iter().map(BuilderName::as_str);
            let text = format!("there is no builder or host type called {name}");
            Error::new(ErrorKind::NotFound, text).with_hint(name_hint(name, names))
        })
    }

    /// Asks for the end of a build or a session.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no such build is open.
    pub async fn cancel(&self, build: impl Into<HolderId>, by: impl Into<Principal>) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Cancel {
            build: build.into(),
            by: by.into(),
            answer,
        };
        self.send(request).await?;
        answered.await.map_err(|_| stopped())?
    }

    /// Lets machines be shared out in another way from now on; who holds one keeps it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the coordinator does not run.
    pub async fn allot(&self, allotment: Allotment) -> Result<()> {
        self.send(Request::Allot(allotment)).await
    }

    /// Tells everybody who looks at the farm what is wrong with its settings, or that nothing is;
    /// whether that is news.
    pub fn set_misconfigured(&self, why: Option<String>) -> bool {
        self.misconfigured.send_if_modified(|known| {
            let is_news = *known != why;
            *known = why;
            is_news
        })
    }

    /// Notes that a source cannot be read, or that it can again; whether that is news.
    pub(super) fn set_lost(&self, source: &str, why: Option<&str>, now: Timestamp) -> bool {
        self.lost.send_if_modified(|lost| match why {
            None => lost.remove(source).is_some(),
            Some(why) => {
                let before = lost.get(source).map(|known| known.since);
                let now = LostSource {
                    source: source.to_owned(),
                    since: before.unwrap_or(now),
                    why: why.to_owned(),
                };
                lost.insert(source.to_owned(), now);
                before.is_none()
            }
        })
    }

    /// What the farm does at present.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the coordinator does not run.
    pub async fn status(&self) -> Result<FarmStatus> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Status { answer }).await?;
        let status = answered.await.map_err(|_| stopped())?;
        Ok(FarmStatus {
            misconfigured: self.misconfigured.borrow().clone(),
            lost: self.lost.borrow().values().cloned().collect(),
            ..status
        })
    }

    /// Why units of an open build, or a session, wait for a machine, and what would let them go on; empty when
    /// none does.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when no such build is open, [`ErrorKind::Unavailable`] when the
    /// coordinator does not run.
    pub async fn explain(&self, build: impl Into<HolderId>) -> Result<Vec<Waiting>> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Explain {
            build: build.into(),
            answer,
        };
        self.send(request).await?;
        answered.await.map_err(|_| stopped())?
    }

    /// The tests that failed in a build, each judged by its past.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn failed_tests(&self, row: &BuildRow) -> Result<Vec<FailedTest>> {
        failed_tests(&*self.records, &*self.chooser.checkouts, row).await
    }

    /// Reads and packs commits of this farm.
    pub(crate) fn checkouts(&self) -> &Arc<dyn Checkouts> {
        &self.chooser.checkouts
    }

    /// The rows of all builds, also while the coordinator does not run.
    pub fn records(&self) -> &Arc<dyn Records> {
        &self.records
    }

    /// The events of a stream, such as a build, from the first after `after`, then live, until
    /// nothing more happens in it or the coordinator ends.
    pub fn events(&self, stream: impl Into<StreamId>, after: Seq) -> EventStream {
        self.follow(Some(stream.into()), after)
    }

    /// The events of all streams from the first after `after`, then live, until the
    /// coordinator ends.
    pub fn all_events(&self, after: Seq) -> EventStream {
        self.follow(None, after)
    }

    fn follow(&self, stream: Option<StreamId>, after: Seq) -> EventStream {
        let follower = Follower {
            events: self.ledger.events().clone(),
            head: self.head.clone(),
            alive: self.alive.clone(),
            stream,
            after,
            version: Version(0),
            read: VecDeque::new(),
        };
        futures::stream::try_unfold(follower, Follower::step).boxed()
    }

    /// The output of one attempt (default: the latest there is) of a unit from byte `offset` on;
    /// with `follow` until it ends, else as far as it is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the unit has not been started.
    pub async fn log(
        &self,
        build: &BuildId,
        unit: &Unit,
        attempt: Option<u32>,
        offset: u64,
        follow: bool,
    ) -> Result<ByteStream> {
        loop {
            let run = self.find_run(build, unit, attempt).await?;
            let follow = follow && run.end.is_none();
            // A unit that was recorded as started is about to be written; after a restart its
            // log is there already but not yet written again.
            if !follow || self.logs.begins(&run.exec).await {
                return self.logs.read(build, &run.exec, offset, follow).await;
            }
        }
    }

    async fn find_run(&self, build: &BuildId, unit: &Unit, attempt: Option<u32>) -> Result<Run> {
        let row = self.records.build(build).await?;
        let runs = row.map(|row| row.runs).unwrap_or_default();
        let mut wanted = runs.into_iter().rev().filter(|run| run.unit == *unit);
        let run = wanted.find(|run| attempt.is_none_or(|n| n == run.attempt));
        run.ok_or_else(|| {
            let text = format!("build {build} has no log of {unit}");
            Error::new(ErrorKind::NotFound, text)
        })
    }

    async fn new_session_id(&self) -> Result<SessionId> {
        loop {
            let id = SessionId::from_bits(draw()?);
            if self.records.session(&id).await?.is_none() {
                return Ok(id);
            }
        }
    }

    async fn send(&self, request: Request) -> Result<()> {
        self.requests.send(request).await.map_err(|_| stopped())
    }
}

/// A session that waits for its machine. Dropped, it is given up.
pub struct Opening {
    id: SessionId,
    holder: Holder,
    answered: oneshot::Receiver<Result<Arc<dyn Lease>>>,
    handle: Handle,
}

impl Opening {
    /// The session, for [`Handle::explain`].
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Waits for the machine.
    ///
    /// # Errors
    /// As [`Handle::create`].
    pub async fn ready(self) -> Result<Session> {
        self.handle.held(self.id, self.holder, self.answered).await
    }
}

/// Why a session is not there any more.
pub(super) fn session_ended(id: &SessionId, outcome: &Outcome) -> Error {
    let kind = match outcome {
        Outcome::Canceled { .. } => ErrorKind::Canceled,
        Outcome::Infrastructure { .. } => ErrorKind::Unavailable,
        Outcome::Misconfigured { .. } => ErrorKind::Invalid,
        _ => ErrorKind::NotFound,
    };
    Error::new(kind, format!("session {id} has ended: {outcome}"))
}

/// Somebody who reads the log of events and then waits for more.
struct Follower {
    events: Arc<dyn EventLog>,
    head: watch::Receiver<Seq>,
    alive: watch::Receiver<()>,
    stream: Option<StreamId>,
    after: Seq,
    /// How far the stream was read.
    version: Version,
    read: VecDeque<Recorded>,
}

impl Follower {
    async fn step(mut self) -> Result<Option<(Recorded, Self)>> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                return Ok(Some((event, self)));
            }
            // Marked first: what is recorded while we read wakes us.
            self.head.mark_unchanged();
            let is_over = self.is_over().await?;
            if self.read_more().await? {
                continue;
            }
            if is_over || !self.grows().await {
                return Ok(None);
            }
        }
    }

    /// Returns when there may be more; whether the coordinator still runs.
    async fn grows(&mut self) -> bool {
        tokio::select! {
            biased;
            grown = self.head.changed() => grown.is_ok(),
            // Nobody ever says anything: it ends.
            _ = self.alive.changed() => false,
        }
    }

    /// Reads on; whether there was anything.
    async fn read_more(&mut self) -> Result<bool> {
        let Some(stream) = &self.stream else {
            let page = self
                .events
                .read(&KindSet::all(), self.after, READ_EVENTS)
                .await?;
            self.read = page.items.into();
            return Ok(!self.read.is_empty());
        };
        let read = self
            .events
            .read_stream(stream, self.version, READ_EVENTS)
            .await?;
        let Some(last) = read.last() else {
            return Ok(false);
        };
        self.version = last.version;
        let new = read.into_iter().filter(|event| event.seq > self.after);
        self.read = new.collect();
        Ok(true)
    }

    /// Asked before reading, so that nothing is missed when it says yes.
    async fn is_over(&self) -> Result<bool> {
        let Some(stream) = &self.stream else {
            return Ok(false);
        };
        let heads = self.events.heads(std::slice::from_ref(stream)).await?;
        Ok(heads.first().is_none_or(|head| !head.is_open))
    }
}
