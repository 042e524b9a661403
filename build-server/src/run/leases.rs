//! The machines that are held: got, found again, given back.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::buildlet::Buildlet;
use build_core::dispatch::Reply;
use build_core::ids::{BuildId, ExecId, LeaseId, MachineId};
use build_core::pool::{Adoption, Lease, LeaseRecord, LeaseRequest, Pool};
use build_core::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::caches::{MadeBy, Restored};
use super::warm::Leaving;

/// For a machine to hear that it is left for a while.
const LEAVE: Duration = Duration::from_secs(1);

/// Longest keeping of caches when a machine is given back: others wait for it.
const KEEP_CACHES: Duration = Duration::from_secs(3 * 60);

/// One machine that is held.
pub(super) struct Held {
    pub(super) lease: Arc<dyn Lease>,
    /// Canceled when the machine is given back: whatever is carried out on it stops.
    pub(super) over: CancellationToken,
    /// The command that runs on it.
    pub(super) running: Mutex<Option<(BuildId, ExecId)>>,
    /// What its checkout was filled with, when this process has filled it.
    pub(super) restored: Mutex<Option<Restored>>,
    /// Toolchains in its work directory.
    pub(super) lent: Mutex<BTreeSet<String>>,
    /// What it may leave to later builds.
    leaving: Mutex<Option<Leaving>>,
}

impl Held {
    pub(super) fn buildlet(&self) -> &dyn Buildlet {
        self.lease.buildlet()
    }

    /// Says what it may leave to later builds, in the place of what was said before.
    pub(super) fn leave(&self, leaving: Option<Leaving>) {
        // Nothing panics while it holds this lock.
        *self.leaving.lock().unwrap_or_else(PoisonError::into_inner) = leaving;
    }

    /// The work, unless the machine is given back meanwhile.
    pub(super) async fn unless_over<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.over.cancelled() => Err(Error::new(
                ErrorKind::Canceled,
                format!("lease {} was given back", self.lease.record().lease),
            )),
        }
    }
}

/// What this process knows of a lease.
enum Known {
    /// Its machine is being made ready. `abandoned`: whoever was to give it back did not wait.
    Coming {
        abandoned: bool,
    },
    Held(Arc<Held>),
}

/// The machines that are held or on their way, by lease.
#[derive(Default)]
pub(super) struct Leases {
    known: Mutex<HashMap<LeaseId, Known>>,
    /// Told when a machine that was on its way is here, or will not come.
    arrived: Notify,
}

impl Leases {
    fn map(&self) -> MutexGuard<'_, HashMap<LeaseId, Known>> {
        // Nothing panics while it holds this lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, lease: &LeaseId) -> Result<Arc<Held>> {
        match self.map().get(lease) {
            Some(Known::Held(held)) => Ok(held.clone()),
            _ => {
                let text = format!("lease {lease} is not held by this process");
                Err(Error::new(ErrorKind::NotFound, text))
            }
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Held>> {
        let map = self.map();
        let held = map.values().filter_map(|known| match known {
            Known::Held(held) => Some(held.clone()),
            Known::Coming { .. } => None,
        });
        held.collect()
    }

    /// From now on the machine is on its way: whoever gives the lease back waits for it.
    pub(super) fn expect(&self, lease: &LeaseId) {
        let coming = Known::Coming { abandoned: false };
        self.map().entry(lease.clone()).or_insert(coming);
    }

    fn insert(&self, lease: Arc<dyn Lease>) -> String {
        let record = lease.record().clone();
        let held = Known::Held(Arc::new(Held {
            lease,
            over: CancellationToken::new(),
            running: Mutex::default(),
            restored: Mutex::default(),
            lent: Mutex::default(),
            leaving: Mutex::default(),
        }));
        match self.map().entry(record.lease) {
            // Got or found a second time: what runs on the first one goes on.
            Entry::Occupied(mut known) if matches!(known.get(), Known::Coming { .. }) => {
                known.insert(held);
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(vacant) => {
                vacant.insert(held);
            }
        }
        self.arrived.notify_waiters();
        record.place
    }

    /// Whether the machine that has come is wanted by nobody any more.
    fn is_abandoned(&self, lease: &LeaseId) -> bool {
        matches!(
            self.map().get(lease),
            Some(Known::Coming { abandoned: true })
        )
    }

    /// The machine of a lease, once it is here; `None` when it was never asked for or will not
    /// come: then there is nothing to give back.
    ///
    /// When the future is dropped before, whoever gets the machine gives it back.
    async fn arrival(&self, lease: &LeaseId) -> Option<Arc<Held>> {
        let _abandoning = Abandoning {
            leases: self,
            lease,
        };
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable();
            match self.map().get(lease) {
                None => return None,
                Some(Known::Held(held)) => return Some(held.clone()),
                Some(Known::Coming { .. }) => {}
            }
            arrived.await;
        }
    }

    fn remove(&self, lease: &LeaseId) {
        self.map().remove(lease);
        self.arrived.notify_waiters();
    }
}

/// Waits for a machine to give it back.
struct Abandoning<'a> {
    leases: &'a Leases,
    lease: &'a LeaseId,
}

impl Drop for Abandoning<'_> {
    fn drop(&mut self) {
        if let Some(Known::Coming { abandoned }) = self.leases.map().get_mut(self.lease) {
            *abandoned = true;
        }
    }
}

/// A machine is on its way as long as this lives.
struct Coming<'a> {
    leases: &'a Leases,
    lease: &'a LeaseId,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let mut map = self.leases.map();
        if matches!(map.get(self.lease), Some(Known::Coming { .. })) {
            map.remove(self.lease);
        }
        drop(map);
        self.leases.arrived.notify_waiters();
    }
}

impl Inner {
    fn pool_of(&self, machine: &MachineId) -> Result<&Arc<dyn Pool>> {
        let has = |pool: &&Arc<dyn Pool>| pool.status().iter().any(|m| m.machine == *machine);
        self.pools.iter().find(has).ok_or_else(|| {
            let text = format!("no pool has a machine {machine}");
            Error::new(ErrorKind::NotFound, text)
        })
    }

    pub(super) async fn acquire(&self, request: &LeaseRequest) -> Result<Reply> {
        let _coming = Coming {
            leases: &self.leases,
            lease: &request.lease,
        };
        let lease = self.pool_of(&request.machine)?.acquire(request).await?;
        if self.leases.is_abandoned(&request.lease) {
            lease.release().await?;
            let text = format!("lease {} was given back before", request.lease);
            return Err(Error::new(ErrorKind::Canceled, text));
        }
        let place = self.leases.insert(lease);
        Ok(Reply::Ready { place })
    }

    pub(super) async fn adopt(
        &self,
        build: Option<&BuildId>,
        record: &LeaseRecord,
    ) -> Result<Reply> {
        if let Ok(held) = self.leases.find(&record.lease) {
            let place = held.lease.record().place.clone();
            return Ok(Reply::Ready { place });
        }
        let adopted = match self.pool_of(&record.machine) {
            Ok(pool) => pool.adopt(record).await?,
            Err(error) => self.adopt_anywhere(record).await?.ok_or(error)?,
        };
        match adopted {
            Adoption::Adopted(lease) => Ok(Reply::Ready {
                place: self.leases.insert(lease),
            }),
            Adoption::Gone => {
                let output_bytes = match build {
                    Some(build) => self.output_on(build, &record.lease).await?,
                    None => 0,
                };
                Ok(Reply::Gone { output_bytes })
            }
        }
    }

    /// The machine may not be in any pool's list any more, and still run.
    async fn adopt_anywhere(&self, record: &LeaseRecord) -> Result<Option<Adoption>> {
        let mut gone = None;
        for pool in &self.pools {
            match pool.adopt(record).await? {
                Adoption::Gone => gone = Some(Adoption::Gone),
                adopted => return Ok(Some(adopted)),
            }
        }
        Ok(gone)
    }

    /// Bytes in the log of what runs on a lease, as the event log tells.
    async fn output_on(&self, build: &BuildId, lease: &LeaseId) -> Result<u64> {
        let row = self.store.records().build(build).await?;
        let runs = row.map(|row| row.runs).unwrap_or_default();
        let open = runs
            .iter()
            .find(|run| run.lease == *lease && run.end.is_none());
        Ok(match open {
            Some(run) => self.logs.len(build, &run.exec).await,
            None => 0,
        })
    }

    /// This process ends: machines that were not given back are asked to end, but for those
    /// that stay.
    pub(super) fn let_go(&self, kept: &BTreeSet<LeaseId>) {
        for held in self.leases.all() {
            if !kept.contains(&held.lease.record().lease) {
                held.lease.let_go();
            }
        }
    }

    /// This process ends and another one comes: machines that stay last for `ttl` until then.
    /// One that does not answer in time lasts as long as it was told last.
    pub(super) async fn leave(&self, kept: &BTreeSet<LeaseId>, ttl: Duration) {
        let stays = |held: &Arc<Held>| kept.contains(&held.lease.record().lease);
        let staying = self.leases.all().into_iter().filter(stays);
        let told = staying.map(|held| async move {
            match tokio::time::timeout(LEAVE, held.lease.renew(ttl)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(error = error.chain(), "a machine may not stay"),
                Err(_) => tracing::warn!("a machine may not stay: it is silent"),
            }
        });
        futures::future::join_all(told).await;
    }

    /// Keeps caches as well as it can, then gives the machine back; a machine that is on its way,
    /// as soon as it is here.
    pub(super) async fn release(
        &self,
        lease: &LeaseId,
        made_by: Option<MadeBy<'_>>,
        caches: &[String],
        warm: bool,
    ) -> Result<Reply> {
        let Some(held) = self.leases.arrival(lease).await else {
            return Ok(Reply::Released);
        };
        held.over.cancel();
        if let Some(of) = made_by.filter(|_| !caches.is_empty()) {
            let keep = self.keep_caches(&held, of, caches);
            if tokio::time::timeout(KEEP_CACHES, keep).await.is_err() {
                tracing::warn!(%lease, "keeping caches took too long, they stay as they were");
            }
        }
        // From here on it is not renewed: when this fails, it ends by expiry.
        self.leases.remove(lease);
        let leaving = {
            let mut leaving = held.leaving.lock().unwrap_or_else(PoisonError::into_inner);
            leaving.take().filter(|_| warm)
        };
        match leaving {
            Some(leaving) => self.release_warm(&held, leaving).await?,
            None => held.lease.release().await?,
        }
        Ok(Reply::Released)
    }
}
