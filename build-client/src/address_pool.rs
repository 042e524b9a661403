//! Machines that run already, each known by how to speak to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use build_core::buildlet::{Buildlet, ListDir};
use build_core::ids::{LeaseId, MachineId};
use build_core::pool::{Adoption, Lease, LeaseRecord, LeaseRequest, MachineStatus, Pool};
use build_core::schedule::Machine;

use crate::{Error, ErrorKind, Result};

type Machines = BTreeMap<MachineId, (Machine, Arc<dyn Buildlet>)>;
type Held = Arc<Mutex<BTreeMap<MachineId, LeaseId>>>;

/// A pool of machines that somebody else started. One lease holds a machine at a time; a lease
/// that ends leaves its work directory empty. Leases do not expire: nothing would end them on
/// the machine's side.
#[derive(Clone, Default)]
pub struct AddressPool {
    machines: Machines,
    held: Held,
}

impl AddressPool {
    /// A pool without machines.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a machine.
    #[must_use]
    pub fn with(mut self, machine: Machine, buildlet: impl Buildlet + 'static) -> Self {
        self.machines
            .insert(machine.id().clone(), (machine, Arc::new(buildlet)));
        self
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<MachineId, LeaseId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn machine(&self, id: &MachineId) -> Result<&Arc<dyn Buildlet>> {
        let (_, buildlet) = self
            .machines
            .get(id)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no machine {id}")))?;
        Ok(buildlet)
    }

    async fn lease(&self, record: LeaseRecord) -> Result<Arc<dyn Lease>> {
        let buildlet = self.machine(&record.machine)?.clone();
        {
            let mut held = self.held();
            match held.get(&record.machine) {
                Some(lease) if *lease != record.lease => {
                    let text = format!("machine {} is leased already", record.machine);
                    return Err(Error::new(ErrorKind::Conflict, text));
                }
                _ => held.insert(record.machine.clone(), record.lease.clone()),
            };
        }
        if let Err(error) = buildlet.status().await {
            self.held().remove(&record.machine);
            return Err(error.while_doing(format!("asking machine {}", record.machine)));
        }
        Ok(Arc::new(AddressLease {
            record,
            buildlet,
            held: self.held.clone(),
        }))
    }
}

#[async_trait]
impl Pool for AddressPool {
    fn name(&self) -> &str {
        "addresses"
    }

    fn machines(&self) -> Vec<Machine> {
        self.machines
            .values()
            .map(|(machine, _)| machine.clone())
            .collect()
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Arc<dyn Lease>> {
        let place = self.machine(&request.machine)?.name();
        self.lease(LeaseRecord {
            lease: request.lease.clone(),
            nonce: request.nonce.clone(),
            machine: request.machine.clone(),
            place,
        })
        .await
    }

    async fn adopt(&self, record: &LeaseRecord) -> Result<Adoption> {
        Ok(Adoption::Adopted(self.lease(record.clone()).await?))
    }

    fn status(&self) -> Vec<MachineStatus> {
        let held = self.held();
        let status = |(machine, _): &(Machine, Arc<dyn Buildlet>)| MachineStatus {
            machine: machine.id().clone(),
            host_type: machine.host_type().clone(),
            labels: machine.labels().iter().map(str::to_owned).collect(),
            lease: held.get(machine.id()).cloned(),
            trouble: None,
            sandbox: None,
            limits: None,
        };
        self.machines.values().map(status).collect()
    }
}

struct AddressLease {
    record: LeaseRecord,
    buildlet: Arc<dyn Buildlet>,
    held: Held,
}

impl AddressLease {
    fn give_back(&self) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = held.get(&self.record.machine) == Some(&self.record.lease);
        if ours {
            held.remove(&self.record.machine);
        }
        ours
    }
}

#[async_trait]
impl Lease for AddressLease {
    fn record(&self) -> &LeaseRecord {
        &self.record
    }

    fn buildlet(&self) -> &dyn Buildlet {
        self.buildlet.as_ref()
    }

    async fn renew(&self, _ttl: Duration) -> Result<()> {
        self.buildlet.status().await.map(|_| ())
    }

    async fn release(&self) -> Result<()> {
        let held = self
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&self.record.machine)
            == Some(&self.record.lease);
        if !held {
            return Ok(());
        }
        let cleaned = async {
            let left = self.buildlet.list_dir(&ListDir::default()).await?;
            let names = left.iter().filter_map(|entry| entry.name.as_str());
            let names: Vec<String> = names.map(str::to_owned).collect();
            match (left.len(), names.len()) {
                (0, _) => Ok(()),
                (all, text) if all == text => self.buildlet.remove_all(&names).await,
                // The protocol has no word for the others.
                _ => self.buildlet.remove_all(&[".".to_owned()]).await,
            }
        };
        let cleaned = cleaned.await;
        self.give_back();
        cleaned
    }
}

impl Drop for AddressLease {
    fn drop(&mut self) {
        self.give_back();
    }
}
