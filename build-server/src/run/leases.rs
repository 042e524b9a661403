//! The machines that are held: got, found again, given back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use build_core::buildlet::Buildlet;
use build_core::dispatch::Reply;
use build_core::ids::{BuildId, ExecId, LeaseId, MachineId};
use build_core::pool::{Adoption, Lease, LeaseRecord, LeaseRequest, Pool};
use build_core::work::{Builder, WorkItem};
use build_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::caches::Restored;

/// Longest keeping of caches when a machine is given back: others wait for it.
const KEEP_CACHES: Duration = Duration::from_secs(3 * 60);

/// One machine that is held.
pub(super) struct Held {
    pub(super) lease: Arc<dyn Lease>,
    /// Canceled when the machine is given back: whatever is carried out on it stops.
    pub(super) over: CancellationToken,
    /// The command that runs on it.
    pub(super) running: Mutex<Option<(BuildId, ExecId)>>,
    /// What its caches came from.
    pub(super) restored: Mutex<Restored>,
}

impl Held {
    pub(super) fn buildlet(&self) -> &dyn Buildlet {
        self.lease.buildlet()
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

/// The machines that are held, by lease.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<LeaseId, Arc<Held>>>);

impl Leases {
    fn map(&self) -> MutexGuard<'_, HashMap<LeaseId, Arc<Held>>> {
        // Nothing panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, lease: &LeaseId) -> Result<Arc<Held>> {
        self.map().get(lease).cloned().ok_or_else(|| {
            let text = format!("lease {lease} is not held by this process");
            Error::new(ErrorKind::NotFound, text)
        })
    }

    pub(super) fn all(&self) -> Vec<Arc<Held>> {
        self.map().values().cloned().collect()
    }

    fn insert(&self, lease: Arc<dyn Lease>) -> String {
        let record = lease.record().clone();
        let held = Held {
            lease,
            over: CancellationToken::new(),
            running: Mutex::default(),
            restored: Mutex::default(),
        };
        // Got or found a second time: what runs on the first one goes on.
        self.map()
            .entry(record.lease)
            .or_insert_with(|| Arc::new(held));
        record.place
    }

    fn remove(&self, lease: &LeaseId) {
        self.map().remove(lease);
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
        let lease = self.pool_of(&request.machine)?.acquire(request).await?;
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

    /// Keeps caches as well as it can, then gives the machine back.
    pub(super) async fn release(
        &self,
        lease: &LeaseId,
        for_caches: Option<(&WorkItem, &Builder)>,
        caches: &[String],
    ) -> Result<Reply> {
        let held = self.leases.find(lease)?;
        held.over.cancel();
        if let Some((item, builder)) = for_caches.filter(|_| !caches.is_empty()) {
            let keep = self.keep_caches(&held, item, builder, caches);
            if tokio::time::timeout(KEEP_CACHES, keep).await.is_err() {
                tracing::warn!(%lease, "keeping caches took too long, they stay as they were");
            }
        }
        // From here on it is not renewed: when this fails, it ends by expiry.
        self.leases.remove(lease);
        held.lease.release().await?;
        Ok(Reply::Released)
    }
}
