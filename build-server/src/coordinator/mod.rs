//! The coordinator: finds work, gives it machines, carries it out, records what happened.
//!
//! It wires the parts together and owns no logic of theirs: one task owns the
//! [`build_core::dispatch::Dispatcher`], appends the events it answers with, and then has its
//! commands carried out by [`crate::run`].

mod actor;
mod builder;
mod figures;
mod find;
mod handle;
mod machines;
mod repos;
mod session;
mod status;

pub use builder::CoordinatorBuilder;
pub use figures::{BUCKETS, Counts, Histogram};
pub use handle::{EventStream, Handle, Opening, Wanted};
pub use session::Session;
pub use status::{FarmStatus, LostSource, Waiting};

use std::sync::Arc;
use std::time::Duration;

use build_core::clock::{Clock, Timestamp};
use build_core::dispatch::Dispatcher;
use build_core::pool::Pool;
use build_core::recipe::Recipe;
use build_core::schedule::{Allotment, Machine, Policy, Rank, Reason, Waiter};
use build_core::work::{Builder, WorkSource};
use build_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::actor::Actor;
use crate::archives::Archives;
use crate::rerun;
use crate::run::{MayHave, Means, Runner};
use crate::source::Checkouts;
use crate::store::Store;
use crate::supervise::Supervisor;
use crate::toolchains::Toolchains;

/// How long tasks may take to end once the dispatcher has.
const DRAIN: Duration = Duration::from_secs(5);

/// Everything a farm needs, put together; made by [`Coordinator::builder`].
pub struct Coordinator {
    parts: Parts,
    handle: Handle,
    requests: mpsc::Receiver<handle::Request>,
    /// Dropped at the end: then nothing more happens.
    alive: watch::Sender<()>,
}

/// Whichever policy was chosen.
struct AnyPolicy(Box<dyn Policy>);

impl Policy for AnyPolicy {
    fn rank(&self, item: &Waiter, now: Timestamp) -> Rank {
        self.0.rank(item, now)
    }

    fn fits(&self, item: &Waiter, machine: &Machine) -> Result<(), Reason> {
        self.0.fits(item, machine)
    }
}

/// What a coordinator is made of.
struct Parts {
    policy: AnyPolicy,
    pools: Vec<Arc<dyn Pool>>,
    sources: Vec<Arc<dyn WorkSource>>,
    recipe: Arc<dyn Recipe>,
    checkouts: Arc<dyn Checkouts>,
    builders: Vec<Builder>,
    store: Store,
    clock: Arc<dyn Clock>,
    reruns: bool,
    toolchains: Option<Arc<dyn Toolchains>>,
    archives: Option<Arc<dyn Archives>>,
    may_have: MayHave,
    address: Option<String>,
    allotment: Allotment,
    wind_down: Duration,
}

impl Coordinator {
    /// Begins to put a coordinator together.
    pub fn builder() -> CoordinatorBuilder {
        CoordinatorBuilder::default()
    }

    /// Through which builds are asked for and followed, from anywhere, while it runs.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Goes on with the builds of an earlier process, then serves until `token` is canceled;
    /// builds that run then are interrupted and will run again at the next start.
    ///
    /// Not cancel safe in the sense that a dropped future is a crash: nothing recorded is lost,
    /// and the machines end by expiry or are adopted by the next start.
    ///
    /// # Errors
    /// When the store cannot be read at the start, or another coordinator took it over.
    pub async fn run(self, token: CancellationToken) -> Result<()> {
        self.run_until(token, CancellationToken::new()).await
    }

    /// As [`Coordinator::run`]; `now` ends it without waiting for machines to be given back.
    ///
    /// # Errors
    /// As [`Coordinator::run`].
    pub async fn run_until(self, soon: CancellationToken, now: CancellationToken) -> Result<()> {
        let tasks = Supervisor::new("coordinator");
        // When this future is dropped, its tasks end too.
        let _tasks_end = tasks.token().clone().drop_guard();
        let find = tasks.group("find");
        for source in self.parts.sources.iter().cloned() {
            let finding = find::find(
                source,
                self.handle.clone(),
                self.handle.looks(),
                self.parts.clock.clone(),
            );
            let token = find.token().clone();
            find.spawn("source", async move {
                token.run_until_cancelled(finding).await;
            });
        }
        let readers = tasks.group("readers");
        for folding in self.handle.kinds().folding(self.handle.ledger()) {
            let token = readers.token().clone();
            readers.spawn("fold", async move {
                token.run_until_cancelled(folding).await;
            });
        }
        if self.parts.reruns {
            let follower = rerun::follower(&self.handle, self.parts.clock.clone());
            self.handle.outboxes().add(follower.outbox());
            let token = readers.token().clone();
            readers.spawn("rerun", async move {
                if let Err(error) = follower.run(token).await {
                    let error = error.chain();
                    tracing::error!(error, "builds that failed by tests are not run again");
                }
            });
        }
        let means = Means {
            pools: self.parts.pools.clone(),
            recipe: self.parts.recipe,
            checkouts: self.parts.checkouts,
            store: self.parts.store.clone(),
            logs: self.handle.logs().clone(),
            toolchains: self.parts.toolchains,
            archives: self.parts.archives,
            sources: self.parts.sources,
            may_have: self.parts.may_have,
            address: self.parts.address,
        };
        let actor = Actor {
            dispatcher: Dispatcher::new(self.parts.policy, self.parts.builders, secret()?),
            allotment: self.parts.allotment,
            wind_down: self.parts.wind_down,
            runner: Runner::new(means),
            ledger: self.handle.ledger().client(),
            figures: self.handle.figures().clone(),
            pools: self.parts.pools,
            clock: self.parts.clock,
            tasks: tasks.clone(),
            _alive: self.alive,
        };
        let ended = actor.run(self.requests, soon, now).await;
        if let Err(error) = tasks.drain(DRAIN).await {
            tracing::warn!(%error, "the coordinator has ended");
        }
        ended
    }
}

/// What lease ids and nonces are derived from; new at each start.
fn secret() -> Result<[u8; 32]> {
    let mut key = [0; 32];
    let drawn = getrandom::fill(&mut key);
    drawn.map_err(|e| Error::caused_by(ErrorKind::Bug, "draw a secret", e))?;
    Ok(key)
}
