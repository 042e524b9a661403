//! Machines that nobody can reach: they register at the coordinator and are reached over
//! connections that they fetch themselves. Facts: docs/protocol/revdial.md.
//!
//! A [`ReversePool`] is a pool, and through [`ReversePool::dialect`] the part of the front door that
//! machines come through. Who may come is for a [`Doorman`] to say.
//!
//! A machine that registers again with the same instance is the same one: what runs on it goes
//! on. That is so after a cut of the network and after a restart of the coordinator, for as long
//! as the machine's own lease lasts ([`Timing::held`]). A machine that comes with another instance
//! was started again, and everything from before has ended.

mod dialect;
mod doorman;
mod history;
mod lease;
mod line;
mod machine;
mod registration;
mod report;
mod table;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use build_core::clock::{Clock, SystemClock};
use build_core::ids::{HostType, MachineId};
use build_core::plan::{Network, Sandbox};
use build_core::pool::{Adoption, Lease, LeaseRecord, LeaseRequest, MachineStatus, Pool};
use build_core::report::MachinesPast;
use build_core::revdial::io::Registry;
use build_core::schedule::Machine as Slot;
use build_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

pub use self::dialect::ReverseDialect;
pub use self::doorman::{Applicant, Doorman, Pass};
pub use self::history::Seen;
pub use self::report::{Expected, Finding, Level};
pub use self::table::Refused;

use self::history::Kept;
use self::lease::ReverseLease;
use self::line::Fetched;
use self::machine::{Hold, Life};
use self::registration::is_ours;
use self::table::Table;
use crate::supervise::Supervisor;

/// The place of a machine whose commands end with their connections: nothing to adopt.
const CLASSIC: &str = "classic";
/// How long a grant waits for its machine to come back.
const COMES_BACK: Duration = Duration::from_secs(5);

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a machine lives on with its lease when it hears nothing (3 min). A cut of the
    /// network that is shorter than this by a lease's renewals costs nothing.
    pub held: Duration,
    /// Between two signs of life of a machine (10 s, and up to 4 s more).
    pub health: Duration,
    /// How long a sign of life may take (5 s).
    pub answer: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            held: Duration::from_secs(180),
            health: Duration::from_secs(10),
            answer: Duration::from_secs(5),
        }
    }
}

/// Machines that register by themselves. Clones are the same pool.
#[derive(Clone)]
pub struct ReversePool(Arc<Shared>);

struct Shared {
    name: String,
    doorman: Arc<dyn Doorman>,
    registry: Registry<Fetched>,
    table: Mutex<Table>,
    changes: watch::Sender<u64>,
    expected: Vec<Expected>,
    timing: Timing,
    clock: Arc<dyn Clock>,
    /// The tasks of commands on machines without detached ones.
    supervisor: Supervisor,
    /// Where their output is kept meanwhile.
    spool_dir: Option<std::path::PathBuf>,
    /// Where what is remembered is kept.
    kept: Option<Kept>,
    /// Whether somebody looks at keys, and writes.
    watches: AtomicBool,
    started: Instant,
}

/// How a [`ReversePool`] is made.
pub struct ReversePoolBuilder {
    doorman: Arc<dyn Doorman>,
    expected: Vec<Expected>,
    timing: Timing,
    clock: Arc<dyn Clock>,
    spool_dir: Option<std::path::PathBuf>,
    kept: Option<Kept>,
}

impl ReversePoolBuilder {
    /// Machines that should be there; those that are not are told of.
    #[must_use]
    pub fn expect(mut self, expected: impl IntoIterator<Item = Expected>) -> Self {
        self.expected.extend(expected);
        self
    }

    /// How long things take.
    #[must_use]
    pub fn timing(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// What tells the time of what is remembered.
    #[must_use]
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        Self {
            clock: Arc::new(clock),
            ..self
        }
    }

    /// Where output of machines without detached commands is kept until it has been read.
    /// Default: the temporary directory.
    #[must_use]
    pub fn spool_dir(self, dir: impl Into<std::path::PathBuf>) -> Self {
        Self {
            spool_dir: Some(dir.into()),
            ..self
        }
    }

    /// Where what is remembered of machines is kept, so that it survives a restart; the directory
    /// is made when it is missing. Default: it ends with the process.
    #[must_use]
    pub fn remember_in(self, dir: impl Into<std::path::PathBuf>) -> Self {
        Self {
            kept: Some(Kept::new(dir)),
            ..self
        }
    }

    /// The pool; nobody can register yet. Reads what is remembered: a past that is damaged is laid
    /// aside, with a warning.
    #[must_use]
    pub fn build(self) -> ReversePool {
        let past = self.kept.as_ref().map(Kept::read).unwrap_or_default();
        ReversePool(Arc::new(Shared {
            name: "reverse".into(),
            doorman: self.doorman,
            registry: Registry::default(),
            table: Mutex::new(Table::remembering(past)),
            changes: watch::Sender::new(0),
            expected: self.expected,
            timing: self.timing,
            clock: self.clock,
            supervisor: Supervisor::new("reverse pool"),
            spool_dir: self.spool_dir,
            kept: self.kept,
            watches: AtomicBool::new(false),
            started: Instant::now(),
        }))
    }
}

impl fmt::Debug for ReversePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReversePool")
            .field("machines", &self.0.table().lives.len())
            .finish_non_exhaustive()
    }
}

impl ReversePool {
    /// How to make a pool of the machines that `doorman` lets in.
    #[must_use]
    pub fn builder(doorman: impl Doorman + 'static) -> ReversePoolBuilder {
        ReversePoolBuilder {
            doorman: Arc::new(doorman),
            expected: Vec::new(),
            timing: Timing::default(),
            clock: Arc::new(SystemClock),
            spool_dir: None,
            kept: None,
        }
    }

    /// What the front door needs for machines: it takes `/reverse` and `/revdial`.
    #[must_use]
    pub fn dialect(&self) -> ReverseDialect {
        ReverseDialect::new(Arc::clone(&self.0))
    }

    /// Every machine that was ever there, as far as it is remembered.
    #[must_use]
    pub fn history(&self) -> Vec<Seen> {
        self.0.table().history(self.0.clock.now())
    }

    /// The last machines that were not taken, with the reason.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refused> {
        self.0.table().refusals()
    }

    /// Both, for programs.
    #[must_use]
    pub fn past(&self) -> MachinesPast {
        let refused = self.refusals().into_iter().map(Into::into);
        MachinesPast {
            machines: self.history().into_iter().map(Into::into).collect(),
            refused: refused.collect(),
        }
    }

    /// How many machines are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        let lives = self.0.lives();
        lives.iter().filter(|life| life.is_connected()).count()
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Every lock covers a single change: a panic leaves the table whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lives(&self) -> Vec<Arc<Life>> {
        let mut table = self.table();
        table.sweep();
        table.lives.values().cloned().collect()
    }

    /// Tells those who wait for it that something is different now.
    fn changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The machine, once it is there and connected.
    async fn connected(&self, id: &MachineId) -> Arc<Life> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let life = self.table().find(id).filter(|life| life.is_connected());
            if let Some(life) = life {
                return life;
            }
            // The sender is in `self`.
            let _ = changes.changed().await;
        }
    }

    fn hold(self: &Arc<Self>, life: &Arc<Life>, record: LeaseRecord) -> Arc<ReverseLease> {
        let name = record.lease.clone();
        let lease = ReverseLease::new(record, Arc::clone(life), Arc::downgrade(self));
        let lease = Arc::new(lease);
        life.set_hold(Hold::Held(name.clone(), Arc::downgrade(&lease)));
        let now = self.clock.now();
        let id = &life.registration.id;
        let mut table = self.table();
        table.past.leased(id);
        table.note(id, now, format!("held by lease {name}"));
        drop(table);
        lease
    }

    async fn acquire(self: &Arc<Self>, request: &LeaseRequest) -> Result<Arc<ReverseLease>> {
        let id = &request.machine;
        if request.sandbox > Sandbox::None || request.network != Network::Open {
            let text = format!("machine {id} has no sandbox, and what is to run there needs one");
            return Err(Error::new(ErrorKind::Invalid, text)
                .with_hint("builders on machines that register run trusted commits without `sandbox` and `network`"));
        }
        let Ok(life) = timeout(COMES_BACK, self.connected(id)).await else {
            let text = format!("machine {id} is not connected");
            return Err(Error::new(ErrorKind::Unavailable, text));
        };
        let _turn = life.turn.lock().await;
        let held = life.lease();
        match held {
            Some(held) if held.record().lease == request.lease => return Ok(held),
            Some(held) => {
                let text = format!("machine {id} is leased to {}", held.record().lease);
                return Err(Error::new(ErrorKind::Conflict, text));
            }
            None => {}
        }
        life.prepare(request, self.timing.held).await?;
        let place = match (&life.registration.instance, life.is_leasable) {
            (Some(instance), true) => instance.clone(),
            _ => CLASSIC.into(),
        };
        let record = LeaseRecord {
            lease: request.lease.clone(),
            nonce: request.nonce.clone(),
            machine: id.clone(),
            place,
        };
        Ok(self.hold(&life, record))
    }

    async fn adopt(self: &Arc<Self>, record: &LeaseRecord) -> Result<Adoption> {
        let id = &record.machine;
        // What never ran is not waited for; nor what has ended with the connection to an earlier
        // process.
        let is_classic = record.place.is_empty() || record.place == CLASSIC;
        if !is_ours(id) || (is_classic && self.table().find(id).is_none()) {
            return Ok(Adoption::Gone);
        }
        let Ok(life) = timeout(self.timing.held, self.connected(id)).await else {
            return Ok(Adoption::Gone);
        };
        let _turn = life.turn.lock().await;
        if let Some(held) = life
            .lease()
            .filter(|held| held.record().lease == record.lease)
        {
            return Ok(Adoption::Adopted(held));
        }
        let same = life.registration.instance.as_deref() == Some(record.place.as_str());
        if !life.is_leasable || !(same || record.place.is_empty()) {
            return Ok(Adoption::Gone);
        }
        let (asked, held) = (Instant::now(), self.timing.held);
        match life.client.renew_lease(&record.nonce, held).await {
            Ok(()) => {
                life.state().expires = Some(asked + held);
                let lease = self.hold(&life, record.clone());
                Ok(Adoption::Adopted(lease))
            }
            Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound) => {
                Ok(Adoption::Gone)
            }
            Err(error) => Err(error.while_doing(format!("adopt {id}"))),
        }
    }
}

#[async_trait]
impl Pool for ReversePool {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn machines(&self) -> Vec<Slot> {
        let lives = self.0.lives();
        let usable = lives.iter().filter(|life| life.is_usable());
        usable
            .map(|life| life.slot(life.registration.labels.clone()))
            .collect()
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Arc<dyn Lease>> {
        let held = self.0.table().held(&request.lease);
        match held {
            Some(held) => Ok(held),
            None => Ok(self.0.acquire(request).await?),
        }
    }

    async fn adopt(&self, record: &LeaseRecord) -> Result<Adoption> {
        self.0.adopt(record).await
    }

    fn status(&self) -> Vec<MachineStatus> {
        let status = |life: &Arc<Life>| {
            let state = life.state();
            let lease = match &state.hold {
                Hold::Held(lease, _) => Some(lease.clone()),
                _ => None,
            };
            let trouble = match (&state.connected, &state.hold) {
                (None, _) => Some("it is away; it may come back".to_owned()),
                (_, Hold::Foreign) => Some("it is held by an earlier lease".to_owned()),
                _ => None,
            };
            MachineStatus {
                machine: life.registration.id.clone(),
                host_type: life.registration.host_type.clone(),
                labels: life
                    .registration
                    .labels
                    .iter()
                    .map(str::to_owned)
                    .collect::<BTreeSet<_>>(),
                lease,
                trouble,
                sandbox: None,
                limits: None,
            }
        };
        self.0.lives().iter().map(status).collect()
    }

    async fn changed(&self) {
        let mut changes = self.0.changes.subscribe();
        // The sender is in `self`.
        let _ = changes.changed().await;
    }
}

/// Machines by kind.
fn by_kind(lives: &[Arc<Life>]) -> BTreeMap<HostType, Vec<Arc<Life>>> {
    let mut kinds: BTreeMap<HostType, Vec<Arc<Life>>> = BTreeMap::new();
    for life in lives {
        let kind = life.registration.host_type.clone();
        kinds.entry(kind).or_default().push(Arc::clone(life));
    }
    kinds
}
