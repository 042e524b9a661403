//! Carries out the engine's commands on leases, through `trait Buildlet` alone.
//!
//! Every command may be given twice, and after a restart: what is done already is found out,
//! not done again. The coordinator calls `Runner::carry_out`, one task for each command.

mod caches;
mod conditions;
mod fill;
mod inputs;
mod junit;
mod keep;
mod leases;
mod logs;
mod prepare;
mod renew;
mod reports;
mod results;
mod secrets;
mod snapshots;
mod sources;
mod tool_caches;
mod toolchains;
mod tools;
mod units;
mod warm;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use build_core::dispatch::{Failure, Input, Reply};
use build_core::engine::{Command, CommandKey, Repro};
use build_core::event::Base;
use build_core::ids::{BuildId, HolderId, HostType, LeaseId, RepoName};
use build_core::plan::Plan;
use build_core::pool::{Lease, Pool};
use build_core::recipe::Recipe;
use build_core::work::{Builder, WorkSource};
use build_core::{Error, ErrorKind, Result};

pub use logs::LiveLogs;
pub(crate) use renew::{RENEW_EVERY, Silent};

use self::caches::MadeBy;
use self::leases::Leases;
use self::prepare::Packing;
use self::sources::{SourceTree, no_sources};
use self::units::Ordered;
use crate::archives::Archives;
use crate::source::Checkouts;
use crate::store::Store;
use crate::toolchains::Toolchains;

/// For a checkout and its caches to come to a machine by hand.
const FILL: Duration = Duration::from_secs(30 * 60);

/// Whoever carries out commands. Clones are the same.
#[derive(Clone)]
pub(crate) struct Runner(Arc<Inner>);

struct Inner {
    pools: Vec<Arc<dyn Pool>>,
    recipe: Arc<dyn Recipe>,
    checkouts: Arc<dyn Checkouts>,
    store: Store,
    logs: LiveLogs,
    toolchains: Option<Arc<dyn Toolchains>>,
    archives: Option<Arc<dyn Archives>>,
    sources: Vec<Arc<dyn WorkSource>>,
    may_have: MayHave,
    address: Option<String>,
    leases: Leases,
    packing: Packing,
    /// Commands that were ordered to end, whether they run by now or not.
    ordered: Ordered,
}

/// Whether builds of the first repository may have files of the second one.
pub(crate) type MayHave = Arc<dyn Fn(&RepoName, &RepoName) -> bool + Send + Sync>;

/// What a runner works with.
pub(crate) struct Means {
    pub(crate) pools: Vec<Arc<dyn Pool>>,
    pub(crate) recipe: Arc<dyn Recipe>,
    pub(crate) checkouts: Arc<dyn Checkouts>,
    pub(crate) store: Store,
    pub(crate) logs: LiveLogs,
    /// Where toolchains come from that machines do not have.
    pub(crate) toolchains: Option<Arc<dyn Toolchains>>,
    /// Where archives come from that plans name.
    pub(crate) archives: Option<Arc<dyn Archives>>,
    /// Which repositories are watched.
    pub(crate) sources: Vec<Arc<dyn WorkSource>>,
    /// Which repositories' files builds may have.
    pub(crate) may_have: MayHave,
    /// Where the farm's pages are.
    pub(crate) address: Option<String>,
}

impl Inner {
    /// A builder whose host type comes from the commit needs a farm that has machines of it;
    /// what the farm itself configures may have none at present, and waits.
    fn check_host(&self, plan: &Plan, known: &Builder) -> Result<()> {
        let of_commit = plan.builder.as_deref();
        let Some(builder) = of_commit.filter(|b| b.host_type != known.host_type) else {
            return Ok(());
        };
        let machines = self.pools.iter().flat_map(|pool| pool.status());
        let kinds: BTreeSet<HostType> = machines.map(|machine| machine.host_type).collect();
        if kinds.contains(&builder.host_type) {
            return Ok(());
        }
        let text = format!(
            "builder \"{}\" is on host \"{}\", of which this farm has no machine",
            builder.name, builder.host_type
        );
        let kinds: Vec<&str> = kinds.iter().map(HostType::as_str).collect();
        Err(Error::new(ErrorKind::Invalid, text).with_hint(format!(
            "add a [[host]] with name = \"{}\" to farmer.toml, which is read at once; those of commits are read when the farm starts: start it again if this one is new; it has: {}",
            builder.host_type,
            kinds.join(", ")
        )))
    }
}

impl Runner {
    pub(crate) fn new(means: Means) -> Self {
        Self(Arc::new(Inner {
            pools: means.pools,
            recipe: means.recipe,
            checkouts: means.checkouts,
            store: means.store,
            logs: means.logs,
            toolchains: means.toolchains,
            archives: means.archives,
            sources: means.sources,
            may_have: means.may_have,
            address: means.address,
            leases: Leases::default(),
            packing: Packing::default(),
            ordered: Ordered::default(),
        }))
    }

    /// The machine that this process holds by a lease.
    pub(crate) fn lease(&self, lease: &LeaseId) -> Result<Arc<dyn Lease>> {
        Ok(self.0.leases.find(lease)?.lease.clone())
    }

    /// Fills the directory of a machine as that of a build was filled; which caches were put back.
    pub(crate) async fn fill(
        &self,
        lease: &LeaseId,
        build: &BuildId,
        repro: &Repro,
    ) -> Result<Vec<String>> {
        let work = prepare::Work {
            build,
            item: &repro.item,
            builder: &repro.builder,
            depth: repro.depth,
            inputs: &repro.inputs,
            warm: false,
        };
        let filled = async {
            let filled = self.0.prepare(lease, Base::Source, &work, &repro.caches);
            let filled = filled.await?;
            let held = self.0.leases.find(lease)?;
            if let Some(missing) = self.0.put_trees(&held, build, &repro.trees).await? {
                return Err(Error::new(ErrorKind::NotFound, missing));
            }
            Ok(filled)
        };
        match tokio::time::timeout(FILL, filled).await {
            Ok(Ok(Reply::Prepared { cache_hits, .. })) => Ok(cache_hits),
            Ok(Ok(_)) => Ok(Vec::new()),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let text = format!("the machine was not filled within {} s", FILL.as_secs());
                Err(Error::new(ErrorKind::TimedOut, text))
            }
        }
    }

    /// Machines that are still held are asked to end, but for `kept`: their holder ends now.
    pub(crate) fn let_go(&self, kept: &BTreeSet<LeaseId>) {
        self.0.let_go(kept);
    }

    /// Machines that stay last for `ttl` without their holder, who ends now and comes back.
    pub(crate) async fn leave(&self, kept: &BTreeSet<LeaseId>, ttl: Duration) {
        self.0.leave(kept, ttl).await;
    }

    /// Takes note of a command that is about to be carried out, before any that comes after it.
    pub(crate) fn expect(&self, command: &Command) {
        if let Command::Acquire { request, .. } = command {
            self.0.leases.expect(&request.lease);
        }
    }

    /// Carries out a command within `limit`, and says how that went.
    pub(crate) async fn carry_out(&self, command: Command, limit: Duration) -> Input {
        let key = command.key();
        let unit_log = match &command {
            Command::Run { build, exec, .. } => {
                let build = build.build().cloned();
                build.zip(exec.id.clone())
            }
            _ => None,
        };
        let done = match tokio::time::timeout(limit, self.act(command)).await {
            Ok(done) => done,
            Err(_) => Err(overdue(&key, limit)),
        };
        match done {
            Ok(reply) => Input::Done(key, reply),
            Err(error) => {
                // What is wrong with a commit or its repository is said by its build.
                if error.kind() == ErrorKind::Invalid {
                    tracing::debug!(command = ?key, error = error.chain(), "command failed");
                } else {
                    tracing::warn!(command = ?key, error = error.chain(), "command failed");
                }
                let mut failure = Failure::from(&error);
                if let Some((build, id)) = unit_log {
                    failure.output_bytes = self.0.logs.len(&build, &id).await;
                }
                Input::Failed(key, failure)
            }
        }
    }

    async fn act(&self, command: Command) -> Result<Reply> {
        let inner = &self.0;
        match command {
            Command::Plan { item, builder, .. } => {
                let tree = inner.checkouts.tree(&item).await;
                let tree = tree.map_err(|e| no_sources(&item, e))?;
                let tree = SourceTree { item: &item, tree };
                let plan = inner.recipe.plan(&item, &builder, &tree).await?;
                inner.check_host(&plan, &builder)?;
                secrets::check(&item, &plan)?;
                let plan = inner.leave_out_unchanged(&item, &builder, plan).await?;
                let plan = inner.resolve(&item, &builder, &tree, plan).await?;
                Ok(Reply::Planned(plan))
            }
            Command::Acquire { request, .. } => inner.acquire(&request).await,
            Command::Adopt { build, record } => inner.adopt(build.build(), &record).await,
            Command::Prepare {
                build,
                lease,
                base,
                item,
                builder,
                depth,
                inputs,
                caches,
                warm,
            } => {
                let work = prepare::Work {
                    build: a_build(&build)?,
                    item: &item,
                    builder: &builder,
                    depth,
                    inputs: &inputs,
                    warm,
                };
                inner.prepare(&lease, base, &work, &caches).await
            }
            Command::Run {
                build,
                lease,
                unit,
                exec,
                tools,
                ..
            } => {
                let build = a_build(&build)?;
                inner.run(build, &lease, &unit, exec, &tools).await
            }
            Command::Kill { lease, exec, .. } => inner.kill(&lease, &exec).await,
            Command::Keep {
                build,
                lease,
                step,
                artifacts,
                snapshot,
            } => {
                let of = (a_build(&build)?, &step);
                inner
                    .keep(&lease, of, &artifacts, snapshot.as_deref())
                    .await
            }
            Command::Release {
                build,
                lease,
                item,
                builder,
                caches,
                warm,
            } => {
                let of = item.as_ref().zip(builder.as_ref()).zip(build.build());
                let made_by = of.map(|((item, builder), build)| MadeBy {
                    build,
                    item,
                    builder,
                });
                inner.release(&lease, made_by, &caches, warm).await
            }
            other => {
                let text = format!("no way to carry out {:?}", other.key());
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }
}

/// What only builds do.
fn a_build(holder: &HolderId) -> Result<&BuildId> {
    holder.build().ok_or_else(|| {
        let text = format!("{holder} is not a build and runs nothing");
        Error::new(ErrorKind::Bug, text)
    })
}

/// Bits from the system's random source.
pub(crate) fn draw() -> Result<u64> {
    getrandom::u64().map_err(|e| Error::caused_by(ErrorKind::Bug, "draw an id", e))
}

fn overdue(key: &CommandKey, limit: Duration) -> Error {
    let text = format!("{key:?} took longer than {} s", limit.as_secs());
    Error::new(ErrorKind::TimedOut, text)
}
