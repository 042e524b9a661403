//! The farm in a browser and for programs: one service of pages and JSON.
//!
//! [`service`] puts the API (`api`) and the pages ([`crate::dashboard`]) behind one guard:
//! checks of `Host` and `Origin`, headers that bind browsers, bounds on bodies and time.
//! Reading needs no credentials; whatever changes or executes needs a token, on loopback too.

mod api;
mod auth;
mod health;
mod sign_ins;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use build_core::Result;
use build_core::clock::{Clock, SystemClock};

pub use api::{NewBuild, OPENAPI};
pub use auth::{Admin, Authorizer, User, Visitor};
pub(crate) use auth::{COOKIE, sign_in_of};
pub(crate) use sign_ins::SIGNED_IN;

use self::sign_ins::SignIns;
use crate::coordinator::Handle;
use crate::http::{Guard, guarded};
pub use crate::http::{Hosts, Refusal, serve};
use crate::readers::Outboxes;
use crate::source::GitCheckouts;
use crate::store::Store;
pub use crate::who::{Role, TokenFile};

/// What every handler is given. Clones share it.
#[derive(Clone)]
pub struct Site {
    handle: Handle,
    store: Store,
    auth: Arc<dyn Authorizer>,
    sign_ins: Arc<SignIns>,
    clock: Arc<dyn Clock>,
    hosts: Arc<Hosts>,
    checkouts: Option<GitCheckouts>,
    outboxes: Outboxes,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Site {
    /// The site of one coordinator and its store; `auth` decides who may change something.
    pub fn new(handle: Handle, store: Store, auth: impl Authorizer + 'static) -> Self {
        Self {
            handle,
            store,
            auth: Arc::new(auth),
            sign_ins: Arc::default(),
            clock: Arc::new(SystemClock),
            hosts: Arc::default(),
            checkouts: None,
            outboxes: Outboxes::default(),
        }
    }

    /// Where the time comes from. Default: the machine's clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The names it answers to. Default: this machine's loopback names and addresses.
    #[must_use]
    pub fn with_hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = Arc::new(hosts);
        self
    }

    /// Through which commits are found that callers name. Default: none can be named.
    #[must_use]
    pub fn with_checkouts(mut self, checkouts: GitCheckouts) -> Self {
        self.checkouts = Some(checkouts);
        self
    }

    /// What the readers of the farm have to do. Default: there are none.
    #[must_use]
    pub fn with_outboxes(mut self, outboxes: Outboxes) -> Self {
        self.outboxes = outboxes;
        self
    }

    /// What the readers of the farm have to do.
    pub(crate) fn outboxes(&self) -> &Outboxes {
        &self.outboxes
    }

    /// Through which commits are found that callers name.
    pub(crate) fn checkouts(&self) -> Option<&GitCheckouts> {
        self.checkouts.as_ref()
    }

    /// The coordinator.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What is remembered.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Who decides what a visitor may do.
    pub fn auth(&self) -> &dyn Authorizer {
        &*self.auth
    }

    /// Remembers that somebody has shown a token with a browser; the id is for its cookie.
    pub(crate) fn sign_in(&self, user: User) -> Result<String> {
        self.sign_ins.begin(user, self.clock.now())
    }

    /// Who has signed in under this id.
    pub(crate) fn signed_in(&self, id: &str) -> Option<User> {
        self.sign_ins.find(id, self.clock.now())
    }

    /// Ends the sign-in under this id.
    pub(crate) fn sign_out(&self, id: &str) {
        self.sign_ins.end(id);
    }

    /// The time.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The names it answers to.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }
}

/// The farm's pages and JSON as one service, behind the guard.
pub fn service(site: Site) -> Router {
    service_at(site, "/")
}

/// The same with the newest commits at another path than `/`, which is then free.
///
/// # Panics
/// When the path has a page already.
pub fn service_at(site: Site, home: &str) -> Router {
    let routes = api::router()
        .merge(health::router())
        .merge(crate::dashboard::router(home));
    let guard = Guard::new(site.hosts.clone()).with_scripts();
    guarded(routes, guard).with_state(site)
}
