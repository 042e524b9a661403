//! What may be asked of a coordinator that runs.

mod follow;
mod sessions;
mod wishes;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use build_core::clock::{Clock, Timestamp};
use build_core::engine::Repro;
use build_core::event::{Principal, Recorded, Seq, StreamId, StreamKind, WishedBuild};
use build_core::ids::{BuildId, BuilderName, HolderId, HostType, MachineId, SessionId, WishKey};
use build_core::pool::Lease;
use build_core::report::FailedTest;
use build_core::schedule::Allotment;
use build_core::wish::{Wish, WishState};
use build_core::work::Builder;
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::Stream;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::sessions::Opening;
pub(super) use self::sessions::session_ended;
pub use self::wishes::Wanted;
pub(super) use self::wishes::Which;
use super::figures::{Counts, Figures};
use super::find::Chooser;
use super::machines::MachineChange;
use super::repos::Repos;
use super::session::Held;
use super::status::{FarmStatus, LostSource, Waiting};
use crate::flakes::failed_tests;
use crate::kind::{self, Kinds};
use crate::readers::Outboxes;
use crate::record::BuildRow;
use crate::run::LiveLogs;
use crate::source::Checkouts;
use crate::store::{Blobs, Ledger, Records, Store};

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
    blobs: Arc<dyn Blobs>,
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

/// To whom a machine is given once it is ready.
pub(super) type LeaseAnswer = oneshot::Sender<Result<Arc<dyn Lease>>>;

/// A question to the task that owns the dispatcher.
pub(super) enum Request {
    Ask {
        wish: Box<Wish>,
        drawn: Vec<BuildId>,
        answer: oneshot::Sender<Result<Vec<WishedBuild>>>,
    },
    Wishes {
        which: Which,
        answer: oneshot::Sender<Vec<WishState>>,
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
    Machine {
        machine: MachineId,
        change: MachineChange,
        answer: oneshot::Sender<Result<()>>,
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

pub(super) fn stopped() -> Error {
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
            blobs: store.blobs().clone(),
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

    /// Where the repositories are that the farm watches, as its sources name them, without passwords.
    pub fn origins(&self) -> &[String] {
        &self.chooser.origins
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

    /// Has every source look for new commits now.
    pub fn look_for_work(&self) {
        self.looks.send_modify(|count| *count += 1);
    }

    pub(super) fn looks(&self) -> watch::Receiver<u64> {
        self.looks.subscribe()
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
        failed_tests(&*self.records, &*self.blobs, &*self.chooser.checkouts, row).await
    }

    /// Large contents.
    pub(crate) fn blobs(&self) -> &Arc<dyn Blobs> {
        &self.blobs
    }

    /// Reads and packs commits of this farm.
    pub(crate) fn checkouts(&self) -> &Arc<dyn Checkouts> {
        &self.chooser.checkouts
    }

    /// The rows of all builds, also while the coordinator does not run.
    pub fn records(&self) -> &Arc<dyn Records> {
        &self.records
    }

    pub(super) async fn send(&self, request: Request) -> Result<()> {
        self.requests.send(request).await.map_err(|_| stopped())
    }
}
