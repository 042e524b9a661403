//! Machines from elsewhere: a pool of one's own. This one hands out directories of this machine
//! that behave like buildlets; a real one would start a virtual machine in `acquire`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_client::testing::FakeBuildlet;
use build_core::Result;
use build_core::buildlet::{Buildlet, Exec};
use build_core::ids::{BuilderName, HostType, LeaseId, MachineId, Nonce};
use build_core::pool::{
    Adoption, LEASE_TTL, Lease, LeaseRecord, LeaseRequest, MachineStatus, Pool,
};
use build_core::schedule::{Labels, Machine};

/// One machine, always there.
struct Shed {
    machine: Machine,
}

/// The machine, held by somebody.
struct Held {
    record: LeaseRecord,
    buildlet: FakeBuildlet,
}

#[async_trait]
impl Pool for Shed {
    fn name(&self) -> &str {
        "shed"
    }

    fn machines(&self) -> Vec<Machine> {
        vec![self.machine.clone()]
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Arc<dyn Lease>> {
        Ok(Arc::new(Held {
            record: LeaseRecord {
                lease: request.lease.clone(),
                nonce: request.nonce.clone(),
                machine: request.machine.clone(),
                place: "in this process".to_owned(),
            },
            buildlet: FakeBuildlet::new(request.machine.as_str())?,
        }))
    }

    /// Nothing of these machines outlives the process.
    async fn adopt(&self, _record: &LeaseRecord) -> Result<Adoption> {
        Ok(Adoption::Gone)
    }

    fn status(&self) -> Vec<MachineStatus> {
        vec![MachineStatus {
            machine: self.machine.id().clone(),
            host_type: self.machine.host_type().clone(),
            labels: self.machine.labels().iter().map(str::to_owned).collect(),
            lease: None,
            trouble: None,
            sandbox: None,
            limits: None,
        }]
    }
}

#[async_trait]
impl Lease for Held {
    fn record(&self) -> &LeaseRecord {
        &self.record
    }

    fn buildlet(&self) -> &dyn Buildlet {
        &self.buildlet
    }

    async fn renew(&self, _ttl: Duration) -> Result<()> {
        self.buildlet.status().await.map(drop)
    }

    async fn release(&self) -> Result<()> {
        self.buildlet.close().await
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let host_type = HostType::new("shed")?;
    let machine = Machine::new(
        MachineId::new("shed-1")?,
        host_type.clone(),
        Labels::default(),
    );
    let pool = Shed { machine };
    let lease = pool
        .acquire(&LeaseRequest {
            lease: LeaseId::from_bits(1),
            nonce: Nonce::new("not-a-secret-here")?,
            machine: pool.machines()[0].id().clone(),
            host_type,
            builder: BuilderName::new("shed")?,
            sandbox: Default::default(),
            network: Default::default(),
            image: None,
            ttl: LEASE_TTL,
        })
        .await?;
    let done = lease
        .buildlet()
        .exec(Exec::shell("echo made in $(basename $PWD)"))
        .await?;
    print!("{}", done.text());
    lease.release().await
}
