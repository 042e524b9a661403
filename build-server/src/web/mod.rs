//! The farm in a browser and for programs: one service of pages and JSON.
//!
//! [`service`] puts the API (`api`) and the pages ([`crate::dashboard`]) behind one guard:
//! checks of `Host` and `Origin`, headers that bind browsers, bounds on bodies and time.
//! Reading needs no credentials; whatever changes or executes needs a token, on loopback too.

mod api;
mod auth;
mod forms;
mod health;
mod reviews;
mod sight;
mod sign_ins;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use build_core::Result;
use build_core::clock::{Clock, SystemClock};
use build_core::event::Seq;
use build_core::ids::RepoName;
use build_core::recipe::Identity;
use build_core::report::{IdentityProvider, Review};
use build_core::work::WorkItem;

pub use api::OPENAPI;
pub use auth::{Admin, Authorizer, User, Visitor};
pub(crate) use auth::{COOKIE, CameFrom, sign_in_of};
#[cfg(feature = "corpus")]
pub use reviews::CorpusReviews;
pub use reviews::Reviews;
pub(crate) use sight::Looking;
pub use sight::PrivateRepos;
pub(crate) use sign_ins::SIGNED_IN;

use self::forms::Forms;
use self::sight::{SeenRecords, Sight};
use self::sign_ins::SignIns;
use crate::coordinator::{EventStream, Handle};
use crate::http::{Guard, guarded};
pub use crate::http::{Hosts, Refusal, serve};
use crate::readers::Outboxes;
use crate::retention::KeepArtifacts;
use crate::source::GitCheckouts;
use crate::store::{Records, Store};
use crate::supervise::Supervisor;
use crate::who::Directory;
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
    reviews: Option<Arc<dyn Reviews>>,
    private: PrivateRepos,
    /// What the one who asks is shown; `None`: everything.
    sight: Option<Sight>,
    directory: Option<Directory>,
    forms: Arc<Forms>,
    join_line: Option<Arc<str>>,
    tasks: Option<Supervisor>,
    #[cfg(feature = "reverse")]
    registered: Option<crate::pool::ReversePool>,
    identity: Arc<[IdentityProvider]>,
    keep_artifacts: KeepArtifacts,
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
            reviews: None,
            private: PrivateRepos::default(),
            sight: None,
            directory: None,
            forms: Arc::default(),
            join_line: None,
            tasks: None,
            #[cfg(feature = "reverse")]
            registered: None,
            identity: Arc::default(),
            keep_artifacts: KeepArtifacts::default(),
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

    /// Who knows under which change a commit is reviewed. Default: nobody.
    #[must_use]
    pub fn with_reviews(mut self, reviews: impl Reviews + 'static) -> Self {
        self.reviews = Some(Arc::new(reviews));
        self
    }

    /// The change under which a commit is reviewed, when somebody knows.
    pub(crate) fn review(&self, item: &WorkItem) -> Option<Review> {
        self.reviews.as_ref()?.review(item)
    }

    /// The repositories that only some may read. Default: everybody reads everything.
    #[must_use]
    pub fn with_private(mut self, private: PrivateRepos) -> Self {
        self.private = private;
        self
    }

    /// How long files stay that builds have kept, as [`Retention`](crate::retention::Retention) is
    /// told: what is over is not handed out. Default: for ever, but where a step says less.
    #[must_use]
    pub fn with_keep_artifacts(mut self, keep: KeepArtifacts) -> Self {
        self.keep_artifacts = keep;
        self
    }

    pub(crate) fn keep_artifacts(&self) -> &KeepArtifacts {
        &self.keep_artifacts
    }

    /// The users and keys that admins manage with a browser, and by which everybody is known.
    #[must_use]
    pub fn with_directory(mut self, directory: Directory) -> Self {
        self.auth = Arc::new(directory.clone());
        self.directory = Some(directory);
        self
    }

    /// The users and keys, if there are any to manage.
    pub(crate) fn directory(&self) -> Option<&Directory> {
        self.directory.as_ref()
    }

    pub(crate) fn private(&self) -> &PrivateRepos {
        &self.private
    }

    pub(crate) fn forms(&self) -> &Forms {
        &self.forms
    }

    pub(crate) fn seen_with(mut self, sight: Sight) -> Self {
        self.sight = Some(sight);
        self
    }

    /// Whether the one who asks may know of this repository.
    pub(crate) fn sees(&self, repo: &RepoName) -> bool {
        self.sight.as_ref().is_none_or(|sight| sight.sees(repo))
    }

    /// The rows that the one who asks is shown.
    pub(crate) fn records(&self) -> Arc<dyn Records> {
        let records = self.store.records().clone();
        match &self.sight {
            None => records,
            Some(sight) => Arc::new(SeenRecords::new(records, sight.clone())),
        }
    }

    /// Of all events behind `after` those that the one who asks is shown.
    pub(crate) fn all_events(&self, after: Seq) -> EventStream {
        let events = self.handle.all_events(after);
        match &self.sight {
            None => events,
            Some(_) => sight::only_seen(events, self.records()),
        }
    }

    /// The line with which another machine joins the farm, for the page of machines; the secret of
    /// the machine is not in it. Default: none can.
    #[must_use]
    pub fn with_join_line(mut self, line: &str) -> Self {
        self.join_line = Some(line.into());
        self
    }

    /// The tasks of the process, for admins who look at `/debug`. Default: none are told.
    #[must_use]
    pub fn with_tasks(mut self, tasks: &Supervisor) -> Self {
        self.tasks = Some(tasks.clone());
        self
    }

    /// The tasks of the process.
    #[cfg(feature = "classic")]
    pub(crate) fn tasks(&self) -> Option<&Supervisor> {
        self.tasks.as_ref()
    }

    /// The machines that register, for admins who ask for their past. Default: none can.
    #[cfg(feature = "reverse")]
    #[must_use]
    pub fn with_registered(mut self, machines: crate::pool::ReversePool) -> Self {
        self.registered = Some(machines);
        self
    }

    /// The machines that register.
    #[cfg(feature = "reverse")]
    pub(crate) fn registered(&self) -> Option<&crate::pool::ReversePool> {
        self.registered.as_ref()
    }

    /// The identity providers that are believed, for programs that log in there. Default: none.
    #[must_use]
    pub fn with_identity(mut self, providers: &[Identity]) -> Self {
        let told = providers.iter().map(|provider| IdentityProvider {
            issuer: provider.issuer.clone(),
            client_id: provider.audience.clone(),
        });
        self.identity = told.collect();
        self
    }

    pub(crate) fn identity(&self) -> &[IdentityProvider] {
        &self.identity
    }

    /// The line with which another machine joins the farm.
    pub(crate) fn join_line(&self) -> Option<&str> {
        self.join_line.as_deref()
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
