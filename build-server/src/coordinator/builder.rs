//! Putting a coordinator together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use build_core::clock::{Clock, SystemClock};
use build_core::ids::{BuilderName, HostType, RepoName};
use build_core::pool::Pool;
use build_core::recipe::Recipe;
use build_core::schedule::{Allotment, DefaultPolicy, Policy};
use build_core::work::{Builder, WorkSource};
use build_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

use super::find::Chooser;
use super::handle::{Handle, REQUESTS};
use super::{AnyPolicy, Coordinator, Parts};
use crate::archives::Archives;
use crate::kind::{Kind, Kinds};
use crate::run::MayHave;
use crate::source::{Checkouts, GitCheckouts, without_passwords};
use crate::store::Store;
use crate::toolchains::Toolchains;

/// How long machines may take to be given back at a stop.
const WIND_DOWN: Duration = Duration::from_millis(1500);

fn wind_down() -> Duration {
    #[cfg(feature = "sim")]
    if build_core::plant::grows(build_core::plant::ProcessPlant::SlowStop) {
        return Duration::from_secs(60);
    }
    WIND_DOWN
}

/// The parts of a coordinator; a recipe and a pool are needed, everything else has a default.
#[derive(Default)]
#[must_use]
pub struct CoordinatorBuilder {
    policy: Option<Box<dyn Policy>>,
    pools: Vec<Arc<dyn Pool>>,
    sources: Vec<Arc<dyn WorkSource>>,
    recipe: Option<Arc<dyn Recipe>>,
    checkouts: Option<Arc<dyn Checkouts>>,
    toolchains: Option<Arc<dyn Toolchains>>,
    archives: Option<Arc<dyn Archives>>,
    may_have: Option<MayHave>,
    address: Option<String>,
    builders: Vec<Builder>,
    on_request: BTreeSet<BuilderName>,
    store: Option<Store>,
    clock: Option<Arc<dyn Clock>>,
    without_reruns: bool,
    kinds: Vec<Arc<dyn Kind>>,
    allotment: Allotment,
    wind_down: Option<Duration>,
}

impl CoordinatorBuilder {
    /// Who gets the next machine. Default: [`DefaultPolicy`].
    pub fn policy(mut self, policy: impl Policy + 'static) -> Self {
        self.policy = Some(Box::new(policy));
        self
    }

    /// Adds a supply of machines. Their ids are unique among all pools.
    pub fn pool(mut self, pool: impl Pool + 'static) -> Self {
        self.pools.push(Arc::new(pool));
        self
    }

    /// Adds a supply of work, looked at on its own accord and at intervals.
    pub fn source(mut self, source: impl WorkSource + 'static) -> Self {
        self.sources.push(Arc::new(source));
        self
    }

    /// What to run for a commit.
    pub fn recipe(mut self, recipe: impl Recipe + 'static) -> Self {
        self.recipe = Some(Arc::new(recipe));
        self
    }

    /// How commits are read and packed. Default: the `git` program, with copies of remote
    /// repositories below the data directory.
    pub fn checkouts(mut self, checkouts: impl Checkouts + 'static) -> Self {
        self.checkouts = Some(Arc::new(checkouts));
        self
    }

    /// Adds a builder. Default: one for each kind of machine in the pools, of the same name.
    pub fn build_on(mut self, builder: Builder) -> Self {
        self.builders.push(builder);
        self
    }

    /// Adds a builder for those who name it: a commit that names no builder is not built on it.
    pub fn build_on_request(mut self, builder: Builder) -> Self {
        self.on_request.insert(builder.name.clone());
        self.builders.push(builder);
        self
    }

    /// What is remembered. Default: [`Store::memory`].
    pub fn store(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// Where the time comes from. Default: the machine's clock.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Where steps get toolchains from that their machines do not have. Default: nowhere.
    pub fn toolchains(mut self, toolchains: impl Toolchains + 'static) -> Self {
        self.toolchains = Some(Arc::new(toolchains));
        self
    }

    /// Where archives come from that plans name as inputs. Default: nowhere.
    pub fn archives(mut self, archives: impl Archives + 'static) -> Self {
        self.archives = Some(Arc::new(archives));
        self
    }

    /// Whether builds of the first repository may have a checkout, or a snapshot, of the second
    /// one: whoever reads their logs reads its files. Default: they may.
    pub fn inputs_when(
        mut self,
        may: impl Fn(&RepoName, &RepoName) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.may_have = Some(Arc::new(may));
        self
    }

    /// Where the pages of the farm are, such as `http://localhost:8010`: steps are told the page
    /// of their build as `FARMER_URL`. Default: they are not.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Never runs a build again because tests failed in it, whatever its plan says.
    pub fn without_reruns(mut self) -> Self {
        self.without_reruns = true;
        self
    }

    /// Adds a kind of streams of your own with its fold; [`Handle::row_of`] tells the rows. Who
    /// appends to such streams does so through [`Handle::ledger`].
    pub fn kind(mut self, kind: impl Kind) -> Self {
        self.kinds.push(Arc::new(kind));
        self
    }

    /// What of the machines is kept for more urgent work, and how many of them one author or one
    /// repository may hold; [`Handle::allot`] changes it later. Default: [`Allotment::default`].
    pub fn allotment(mut self, allotment: Allotment) -> Self {
        self.allotment = allotment;
        self
    }

    /// How long machines may take to be given back at a stop; those that take longer are asked to
    /// end, and nobody waits for them. Default: 1.5 s.
    pub fn wind_down(mut self, limit: Duration) -> Self {
        self.wind_down = Some(limit);
        self
    }

    /// The coordinator.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when there is no recipe or no pool, two builders have one name, or a
    /// kind of streams is somebody else's.
    pub fn build(self) -> Result<Coordinator> {
        let missing = |what: &str| {
            let text = format!("the coordinator has no {what}");
            Error::new(ErrorKind::Invalid, text)
        };
        let recipe = self.recipe.ok_or_else(|| missing("recipe"))?;
        if self.pools.is_empty() {
            return Err(missing("pool"));
        }
        let mut builders = self.builders;
        if builders.len() == self.on_request.len() {
            builders.extend(one_for_each_kind(&self.pools)?);
        }
        check_names(&builders)?;
        let store = self.store.unwrap_or_else(Store::memory);
        let checkouts = match self.checkouts {
            Some(checkouts) => checkouts,
            None => Arc::new(GitCheckouts::new(store.dir()?.join("git"))),
        };
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let (sender, requests) = mpsc::channel(REQUESTS);
        let (handle, alive) = Handle::new(
            sender,
            &store,
            &builders,
            Chooser {
                recipe: recipe.clone(),
                checkouts: checkouts.clone(),
                on_request: self.on_request,
                origins: (self.sources.iter())
                    .flat_map(|source| source.origins())
                    .map(|origin| without_passwords(&origin))
                    .collect(),
            },
            clock.clone(),
            Kinds::new(self.kinds)?,
        )?;
        Ok(Coordinator {
            handle,
            requests,
            alive,
            parts: Parts {
                policy: AnyPolicy(self.policy.unwrap_or_else(|| Box::new(DefaultPolicy))),
                pools: self.pools,
                sources: self.sources,
                recipe,
                checkouts,
                builders,
                store,
                clock,
                reruns: !self.without_reruns,
                toolchains: self.toolchains,
                archives: self.archives,
                may_have: self.may_have.unwrap_or_else(|| Arc::new(|_, _| true)),
                address: self.address,
                allotment: self.allotment,
                wind_down: self.wind_down.unwrap_or_else(wind_down),
            },
        })
    }
}

fn one_for_each_kind(pools: &[Arc<dyn Pool>]) -> Result<Vec<Builder>> {
    let machines = pools.iter().flat_map(|pool| pool.status());
    let kinds: BTreeSet<HostType> = machines.map(|machine| machine.host_type).collect();
    let builder = |host_type: HostType| {
        Ok(Builder {
            name: BuilderName::new(host_type.as_str())?,
            host_type,
            labels: BTreeSet::new(),
            env: BTreeMap::new(),
        })
    };
    kinds.into_iter().map(builder).collect()
}

fn check_names(builders: &[Builder]) -> Result<()> {
    let mut names = BTreeSet::new();
    match builders.iter().find(|builder| !names.insert(&builder.name)) {
        None => Ok(()),
        Some(twice) => {
            let text = format!("two builders are called {}", twice.name);
            Err(Error::new(ErrorKind::Invalid, text))
        }
    }
}
