//! The coordinator: finds work, gives it machines, carries it out, records what happened.
//!
//! It wires the parts together and owns no logic of theirs: one task owns the
//! [`build_core::dispatch::Dispatcher`], appends the events it answers with, and then has its
//! commands carried out by [`crate::run`].

mod builder;
mod handle;

pub use builder::CoordinatorBuilder;
pub use handle::{EventStream, FarmStatus, Handle};

use std::sync::Arc;

use build_core::clock::Clock;
use build_core::pool::Pool;
use build_core::recipe::Recipe;
use build_core::schedule::Policy;
use build_core::work::{Builder, WorkSource};
use build_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::source::Checkouts;
use crate::store::Store;

/// Everything a farm needs, put together; made by [`Coordinator::builder`].
pub struct Coordinator {
    parts: Parts,
    handle: Handle,
    requests: mpsc::Receiver<handle::Request>,
}

/// What a coordinator is made of.
struct Parts {
    policy: Box<dyn Policy>,
    pools: Vec<Arc<dyn Pool>>,
    sources: Vec<Arc<dyn WorkSource>>,
    recipe: Arc<dyn Recipe>,
    checkouts: Arc<dyn Checkouts>,
    builders: Vec<Builder>,
    store: Store,
    clock: Arc<dyn Clock>,
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
        let Self {
            parts,
            handle,
            requests,
        } = self;
        drop((parts.policy, parts.pools, parts.sources, parts.recipe));
        drop((parts.checkouts, parts.builders, parts.store, parts.clock));
        drop((handle, requests, soon, now));
        Err(Error::new(
            ErrorKind::Unsupported,
            "this version cannot run builds yet",
        ))
    }
}
