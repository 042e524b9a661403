//! Machines of this machine: buildlet processes on unix sockets.

mod guard;
mod home;
mod identity;
mod keeper;
mod lease;
mod limits;
mod machine;
mod offer;
mod place;
mod table;
mod trash;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use build_core::ids::{HostType, MachineId};
use build_core::plan::Sandbox;
use build_core::pool::{
    Adoption, FilesHere, LEASE_TTL, Lease, LeaseRecord, LeaseRequest, MachineStatus, Pool,
    ToolCache,
};
use build_core::schedule::{Draw, Labels, Machine as Slot};
use build_core::{Error, ErrorKind, Result};
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};

use self::guard::Guard;
use self::home::Tools;
use self::lease::LocalLease;
pub use self::limits::{Keeper, Limits};
use self::machine::{Binding, Machine, Recipe};
use self::offer::{Offer, slots};
use self::place::Place;
use self::table::{InHand, Table};
use self::trash::Trash;
use crate::buildlet::Leftovers;
use crate::buildlet::sandbox::{Available, Bounds};
use crate::supervise::Supervisor;

/// Spares kept ready, unless the builder is told otherwise: a burst of builds takes a few
/// milliseconds each, and idle processes cost little.
const SPARES: usize = 2;
/// Below the data directory: caches of tools for which the user has none.
const TOOL_CACHES: &str = "tool-caches";

/// Buildlet processes on this machine, one for each lease.
///
/// A lease is a process of its own: `PROGRAM buildlet …` in a session of its own, with its own
/// work directory, home and unix socket. Some are started in advance, so that acquiring one takes
/// milliseconds. A process ends with its lease, and by itself when nobody renews it; one whose
/// farm was killed goes on until then, and is found again by [`Pool::adopt`].
///
/// What builds see of the user who runs this: the variables and caches that tools need, in a home
/// of their own, and no credentials: no tokens of package registries, code hosts or clouds, no
/// ssh keys, no agent sockets.
///
/// When the pool is dropped its spares end; machines that are leased go on until their leases
/// expire.
///
/// Clones are the same pool.
#[derive(Clone)]
pub struct LocalPool {
    shared: Arc<Shared>,
}

/// How a [`LocalPool`] is made.
pub struct LocalPoolBuilder {
    program: PathBuf,
    called: Option<OsString>,
    arguments: Vec<OsString>,
    slots: usize,
    spares: usize,
    data_dir: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    host_type: HostType,
    labels: Vec<String>,
    draws: Vec<Draw>,
    spare_ttl: Duration,
    sandbox: Sandbox,
    hidden: Vec<PathBuf>,
    readable: Vec<PathBuf>,
    bounds: Bounds,
}

struct Shared {
    host_type: HostType,
    offer: std::sync::Mutex<Offer>,
    changes: watch::Sender<u64>,
    recipe: Recipe,
    place: Place,
    guard: Guard,
    table: std::sync::Mutex<Table>,
    /// One lease is acquired, adopted or cleaned away at a time by the same name.
    cleaning: AsyncMutex<()>,
    trash: Trash,
    leftovers: Leftovers,
    wake: Arc<Notify>,
    keeper: OnceLock<()>,
    supervisor: Supervisor,
}

impl LocalPoolBuilder {
    /// What stands between the program and the buildlet's flags (`buildlet`).
    #[must_use]
    pub fn arguments(self, arguments: impl IntoIterator<Item: Into<OsString>>) -> Self {
        Self {
            arguments: arguments.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// What machines are called in lists of processes, where that is not the program's file.
    #[must_use]
    pub fn called(self, name: impl Into<OsString>) -> Self {
        Self {
            called: Some(name.into()),
            ..self
        }
    }

    /// How many machines are kept ready for leases to come (2, but not more than there are
    /// slots). While slots are leased no more than there are free ones, and two.
    #[must_use]
    pub fn spares(self, spares: usize) -> Self {
        Self { spares, ..self }
    }

    /// Where the machines live, to be found again by a later process: in
    /// `DIR/machines/HOST_TYPE/`, so pools of several host types can share it. Default: a
    /// temporary directory, which nobody finds again.
    #[must_use]
    pub fn data_dir(self, dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: Some(dir.into()),
            ..self
        }
    }

    /// The environment from which machines get what they may see of it. Default: this process's.
    #[must_use]
    pub fn env(self, env: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self {
            env: env.into_iter().collect(),
            ..self
        }
    }

    /// What its machines are called (`local`); they are `local-1`, `local-2` and so on.
    #[must_use]
    pub fn host_type(self, host_type: HostType) -> Self {
        Self { host_type, ..self }
    }

    /// What its machines have besides their system and processor.
    #[must_use]
    pub fn labels(self, labels: impl IntoIterator<Item: Into<String>>) -> Self {
        Self {
            labels: labels.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// What each of its machines takes of capacities that it shares with those of other pools.
    #[must_use]
    pub fn draws(self, draws: impl IntoIterator<Item = Draw>) -> Self {
        Self {
            draws: draws.into_iter().collect(),
            ..self
        }
    }

    /// How long a spare lives on when this process was killed (60 s).
    #[must_use]
    pub fn spare_ttl(self, ttl: Duration) -> Self {
        Self {
            spare_ttl: ttl,
            ..self
        }
    }

    /// How far builds are kept apart from this machine (`none`): the least that holds for every
    /// lease, or with [`Sandbox::Auto`] the highest level that this machine has, unless a step
    /// asks for another one. PROGRAM must know the buildlet's `--sandbox`.
    #[must_use]
    pub fn sandbox(self, sandbox: Sandbox) -> Self {
        Self { sandbox, ..self }
    }

    /// What each command may take at most, whatever its step asks for (nothing is bounded but what
    /// steps say). PROGRAM must know the buildlet's `--sandbox`.
    #[must_use]
    pub fn bounds(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Directories of which builds in a sandbox see nothing, besides homes, temporary directories,
    /// and the pool's own.
    #[must_use]
    pub fn hidden(self, dirs: impl IntoIterator<Item: Into<PathBuf>>) -> Self {
        Self {
            hidden: dirs.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// Directories that builds in a sandbox may read though they lie in hidden ones.
    #[must_use]
    pub fn readable(self, dirs: impl IntoIterator<Item: Into<PathBuf>>) -> Self {
        Self {
            readable: dirs.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// The pool. Nothing is started or made yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the name of the host type is too long for one of a machine.
    pub fn build(self) -> Result<LocalPool> {
        let slots = slots(&self.host_type, self.slots, &self.labels, &self.draws)?;
        let supervisor = Supervisor::new("local pool");
        let tools = Tools::of(self.env);
        let tools = match &self.data_dir {
            Some(dir) => tools.keep_below(&dir.join(TOOL_CACHES)),
            None => tools,
        };
        let hidden = self.hidden.into_iter().chain(self.data_dir.clone());
        let guard = Guard::new(
            self.sandbox,
            tools.clone(),
            hidden.collect(),
            self.readable,
            (self.program.clone(), self.arguments.clone()),
            self.bounds,
        );
        Ok(LocalPool {
            shared: Arc::new(Shared {
                trash: Trash::default(),
                leftovers: Leftovers::new(supervisor.clone()),
                offer: std::sync::Mutex::new(Offer {
                    slots,
                    spares: self.spares,
                }),
                changes: watch::Sender::new(0),
                recipe: Recipe {
                    program: self.program,
                    called: self.called,
                    arguments: self.arguments,
                    tools,
                    ttl: self.spare_ttl,
                },
                guard,
                place: Place::new(self.data_dir, &self.host_type),
                host_type: self.host_type,
                table: std::sync::Mutex::default(),
                cleaning: AsyncMutex::default(),
                wake: Arc::new(Notify::new()),
                keeper: OnceLock::new(),
                supervisor,
            }),
        })
    }
}

/// What each machine of a [`LocalPool`] has: system and processor in Go's words, as buildlets tell
/// them, and `more`.
pub fn own_labels(more: &[String]) -> Labels {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let own = [std::env::consts::OS, arch].map(str::to_owned);
    own.into_iter().chain(more.iter().cloned()).collect()
}

impl LocalPool {
    /// A pool of `slots` machines, each a process `PROGRAM buildlet …`. Nothing is started yet.
    pub fn new(program: impl Into<PathBuf>, slots: usize) -> Self {
        let built = Self::builder(program, slots).build();
        built.expect("\"local\" and a number is a machine id")
    }

    /// How to make a pool of `slots` machines, each a process `PROGRAM buildlet …`.
    pub fn builder(program: impl Into<PathBuf>, slots: usize) -> LocalPoolBuilder {
        LocalPoolBuilder {
            program: program.into(),
            called: None,
            arguments: vec!["buildlet".into()],
            slots,
            spares: SPARES,
            data_dir: None,
            env: std::env::vars_os().collect(),
            host_type: HostType::new("local").expect("\"local\" is a host type"),
            labels: Vec::new(),
            draws: Vec::new(),
            spare_ttl: LEASE_TTL,
            sandbox: Sandbox::None,
            hidden: Vec::new(),
            readable: Vec::new(),
            bounds: Bounds::default(),
        }
    }

    /// Ends the machines that a farm which has ended left in its data directory, with everything
    /// that runs on them, and waits for it. Says how many. The caller owns the directory.
    ///
    /// # Errors
    /// When the directory cannot be read, or a machine cannot be ended.
    pub async fn end_left(data_dir: &Path) -> Result<usize> {
        let mut left = Vec::new();
        for kind in place::entries(&data_dir.join("machines"), |name| !name.starts_with('.'))? {
            for dir in place::entries(&kind, |name| !name.starts_with('.'))? {
                left.extend(Machine::find_again(&dir)?);
            }
        }
        let ended = futures::future::join_all(left.iter().map(Machine::end)).await;
        ended.into_iter().collect::<Result<()>>()?;
        Ok(left.len())
    }

    /// What its machines keep builds apart with, and why with nothing higher. Blocks, some
    /// milliseconds as a rule: it is tried, once.
    pub fn sandboxes(&self) -> Available {
        self.shared.guard.available()
    }

    /// By what the commands of its machines are bounded. Reads a few files of the system.
    pub fn limits(&self) -> Limits {
        self.shared.guard.limits()
    }

    /// Ends the spares and waits for it, and for what is being deleted, 20 seconds at most; the
    /// next pool deletes the rest. Leased machines go on until they are released or expire.
    ///
    /// # Errors
    /// What could not be ended.
    pub async fn close(&self) -> Result<()> {
        self.shared.supervisor.token().cancel();
        let spares = self.shared.table().take_spares();
        for spare in spares {
            self.shared.end(&spare).await?;
        }
        let drained = self.shared.supervisor.drain(keeper::DRAIN).await;
        drained.map_err(|e| Error::caused_by(ErrorKind::Bug, "end the local pool", e))
    }

    /// Keeps spares from now on. Outside of a runtime, as when a farm is being put together,
    /// nothing is kept yet.
    fn keep(&self) {
        if tokio::runtime::Handle::try_current().is_ok() {
            self.shared.keeper.get_or_init(|| {
                self.shared.guard.enter_groups();
                keeper::start(&self.shared);
                let guard = self.shared.guard.clone();
                let looking = move || guard.look();
                // Whoever asks before it has looked, looks as well.
                drop(
                    self.shared
                        .supervisor
                        .spawn_blocking("look for sandboxes", looking),
                );
            });
        }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Every lock covers a single change: a panic leaves the table whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self) -> MutexGuard<'_, Offer> {
        // As above.
        self.offer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// There is no such slot, or somebody has it.
    fn check_slot(&self, slot: &MachineId) -> Result<()> {
        let refused = |kind, text: String| Err(Error::new(kind, text));
        if !self.offer().slots.iter().any(|known| known.id() == slot) {
            return refused(
                ErrorKind::NotFound,
                format!("no machine {slot} in the local pool"),
            );
        }
        match self.table().holder(slot) {
            Some(lease) => refused(
                ErrorKind::Conflict,
                format!("machine {slot} is leased to {lease}"),
            ),
            None => Ok(()),
        }
    }

    /// A machine that is ready, and the guard that keeps it from being swept away meanwhile.
    async fn ready_machine(&self) -> Result<(Arc<Machine>, InHand<'_>)> {
        let spare = self.table().take_spare();
        match spare {
            Some(spare) => {
                let in_hand = InHand::new(&self.table, spare.name());
                Ok((spare, in_hand))
            }
            None => self.start().await,
        }
    }

    /// The place with the lowest number that nobody has.
    fn draw(&self) -> Result<(PathBuf, InHand<'_>)> {
        let mut number = 1;
        loop {
            let dir = self.place.machine(number)?;
            if let Some(in_hand) = InHand::draw(&self.table, &dir) {
                return Ok((dir, in_hand));
            }
            number += 1;
        }
    }

    async fn start(&self) -> Result<(Arc<Machine>, InHand<'_>)> {
        let (dir, in_hand) = self.draw()?;
        let started = self.recipe.start(&dir).await;
        self.table().trouble = started.as_ref().err().map(Error::chain);
        Ok((Arc::new(started?), in_hand))
    }

    async fn acquire(self: &Arc<Self>, request: &LeaseRequest) -> Result<Arc<LocalLease>> {
        self.check_slot(&request.machine)?;
        let guard = self.guard.clone();
        let (sandbox, network) = (request.sandbox, request.network);
        let looked = self
            .supervisor
            .spawn_blocking("look for sandboxes", move || guard.level(sandbox, network));
        let level = looked
            .await
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "look for sandboxes", e))??;
        let (machine, _in_hand) = self.ready_machine().await?;
        self.wake.notify_one();
        let fence = self.guard.fence(machine.dir(), level, request);
        let fenced = fence.write(machine.dir());
        fenced.map_err(|e| Error::from(e).while_doing(format!("fence {} in", machine.name())))?;
        let bound = machine.bind(&Binding::new(&request.lease, &request.nonce));
        bound.map_err(|e| Error::from(e).while_doing(format!("give {} away", machine.name())))?;
        machine.renew(request.ttl).await?;
        let record = LeaseRecord {
            lease: request.lease.clone(),
            nonce: request.nonce.clone(),
            machine: request.machine.clone(),
            place: machine.name().to_owned(),
        };
        Ok(self.hold(machine, record))
    }

    /// Gives a machine to whoever asked for it.
    fn hold(self: &Arc<Self>, machine: Arc<Machine>, record: LeaseRecord) -> Arc<LocalLease> {
        let lease = Arc::new(LocalLease::new(record, machine, Arc::downgrade(self)));
        self.table().hold(&lease);
        lease
    }

    /// The machine of a lease that an earlier process held.
    async fn adopt(self: &Arc<Self>, record: &LeaseRecord) -> Result<Adoption> {
        let wanted = Binding::new(&record.lease, &record.nonce);
        let Some(dir) = self.place.find(&wanted)? else {
            return Ok(Adoption::Gone);
        };
        if let Some(machine) = Machine::find_again(&dir)? {
            match machine.renew(LEASE_TTL).await {
                Ok(()) => {
                    let place = machine.name().to_owned();
                    let record = LeaseRecord {
                        place,
                        ..record.clone()
                    };
                    return Ok(Adoption::Adopted(self.hold(Arc::new(machine), record)));
                }
                Err(error) => {
                    tracing::warn!(lease = %record.lease, error = %error.chain(), "a machine of an earlier process does not answer");
                    machine.end().await?;
                }
            }
        }
        self.clean(&dir).await?;
        Ok(Adoption::Gone)
    }

    /// Ends a machine and cleans it away.
    async fn end(&self, machine: &Machine) -> Result<()> {
        self.end_keeping(machine, &[]).await
    }

    /// The same; some of its files are moved away before.
    async fn end_keeping(&self, machine: &Machine, moves: &[(PathBuf, PathBuf)]) -> Result<()> {
        machine.end().await?;
        self.end_leftovers(machine.dir()).await?;
        for (from, to) in moves {
            // A link that a build has left on the way would lead out of its machine.
            match tokio::fs::canonicalize(from).await {
                Ok(real) if real == *from => {}
                _ => continue,
            }
            match tokio::fs::rename(from, to).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, from = %from.display(), "cannot be kept");
                }
                _ => {}
            }
        }
        self.clean(machine.dir()).await
    }

    /// Cleans the directory of a process that has ended, after everything it had started.
    async fn clean(&self, dir: &Path) -> Result<()> {
        let failed = |error| Error::from(error).while_doing(format!("clean {}", dir.display()));
        self.end_leftovers(dir).await?;
        self.guard.forget(dir);
        if let Some(trash) = self.place.discard(dir).map_err(failed)? {
            self.trash.delete(&self.supervisor, trash);
        }
        Ok(())
    }
}

impl Shared {
    /// Ends everything that a process which has ended had started.
    async fn end_leftovers(&self, dir: &Path) -> Result<()> {
        let left = self.leftovers.end(dir).await;
        let left = left
            .map_err(|error| Error::from(error).while_doing(format!("clean {}", dir.display())))?;
        if left.is_empty() {
            return Ok(());
        }
        let context = format!("processes {left:?} of {} cannot be ended", dir.display());
        Err(Error::new(ErrorKind::Unavailable, context))
    }

    /// Where the files of a machine are.
    async fn files(&self, machine: &Machine) -> Result<FilesHere> {
        let tools = self.recipe.tools.clone();
        let looked = self
            .supervisor
            .spawn_blocking("look at tools", move || identity::of(&tools));
        let tools = looked
            .await
            .map_err(|e| Error::caused_by(ErrorKind::Bug, "look at tools", e))?;
        Ok(FilesHere {
            work_dir: machine.dir().join("work"),
            keep_dir: self.place.warm()?,
            tools,
        })
    }
}

impl Shared {
    /// The caches of tools that have something in them.
    async fn warm_tools(&self) -> Vec<ToolCache> {
        let tools = self.recipe.tools.clone();
        let looked = self
            .supervisor
            .spawn_blocking("look at caches", move || tools.warm());
        // The farm ends: nobody reads it any more.
        looked.await.unwrap_or_default()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.supervisor.token().cancel();
        for spare in self.table().take_spares() {
            spare.ask_to_end();
        }
    }
}

#[async_trait]
impl Pool for LocalPool {
    fn name(&self) -> &str {
        "local"
    }

    fn machines(&self) -> Vec<Slot> {
        self.keep();
        self.shared.offer().slots.clone()
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Arc<dyn Lease>> {
        self.keep();
        let turn = self.shared.table().turn(&request.lease);
        let _one_at_a_time = turn.lock().await;
        let held = self.shared.table().held(&request.lease);
        match held {
            Some(held) => Ok(held),
            None => Ok(self.shared.acquire(request).await?),
        }
    }

    async fn adopt(&self, record: &LeaseRecord) -> Result<Adoption> {
        self.keep();
        let _one_at_a_time = self.shared.cleaning.lock().await;
        let held = self.shared.table().held(&record.lease);
        match held {
            Some(held) => Ok(Adoption::Adopted(held)),
            None => self.shared.adopt(record).await,
        }
    }

    fn status(&self) -> Vec<MachineStatus> {
        let (mut holders, trouble) = {
            let table = self.shared.table();
            (table.holders(), table.trouble.clone())
        };
        let sandbox = self.shared.guard.usual().map(|level| level.to_string());
        let limits = self.shared.guard.limits().to_string();
        let status = |slot: &Slot| MachineStatus {
            machine: slot.id().clone(),
            host_type: slot.host_type().clone(),
            labels: slot.labels().iter().map(str::to_owned).collect(),
            lease: holders.remove(slot.id()),
            trouble: trouble.clone(),
            sandbox: sandbox.clone(),
            limits: Some(limits.clone()),
        };
        let slots = self.shared.offer().slots.clone();
        let mut all: Vec<_> = slots.iter().map(status).collect();
        let leaving = holders.into_iter().map(|(machine, lease)| MachineStatus {
            machine,
            host_type: self.shared.host_type.clone(),
            labels: BTreeSet::new(),
            lease: Some(lease),
            trouble: Some("it is not offered any more, and goes when it is given back".to_owned()),
            sandbox: sandbox.clone(),
            limits: Some(limits.clone()),
        });
        all.extend(leaving);
        all
    }

    async fn changed(&self) {
        let mut changes = self.shared.changes.subscribe();
        // The sender is in `self`.
        let _ = changes.changed().await;
    }

    fn set_aside(&self) -> Vec<String> {
        let dirs = self.shared.place.aside();
        let dirs = dirs.unwrap_or_else(|error| {
            tracing::debug!(error = error.chain(), "cannot look for what was set aside");
            Vec::new()
        });
        let said = |dir: &PathBuf| {
            let dir = dir.display();
            format!("{dir} cannot be deleted and was set aside: see why, and remove it by hand")
        };
        dirs.iter().map(said).collect()
    }
}
