//! Machines whose buildlets are real ones, in this process; they outlive a coordinator.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use build_client::HttpBuildlet;
use build_client::transport::UnixDial;
use build_core::Result;
use build_core::buildlet::Buildlet;
use build_core::ids::{HostType, LeaseId, MachineId};
use build_core::pool::{Adoption, Lease, LeaseRecord, LeaseRequest, MachineStatus, Pool};
use build_core::schedule::{Labels, Machine};
use build_server::buildlet::{Address, BuildletServer, Config, Listener};
use tokio_util::sync::CancellationToken;

pub(super) fn kind() -> HostType {
    HostType::new("host-linux-amd64-localdev").unwrap()
}

#[derive(Clone)]
pub(super) struct ServedPool(Arc<State>);

struct State {
    machines: Vec<Machine>,
    leases: Mutex<HashMap<LeaseId, Arc<ServedLease>>>,
}

impl ServedPool {
    pub(super) fn new(count: usize) -> Self {
        let machine = |n| {
            let id = MachineId::new(format!("m{n}")).unwrap();
            Machine::new(id, kind(), Labels::default())
        };
        Self(Arc::new(State {
            machines: (1..=count).map(machine).collect(),
            leases: Mutex::default(),
        }))
    }

    pub(super) fn held(&self) -> usize {
        self.0.leases.lock().unwrap().len()
    }

    /// Ends every machine, as a power cut does.
    pub(super) fn die(&self) {
        for lease in self.0.leases.lock().unwrap().values() {
            lease.stop.cancel();
        }
    }
}

struct ServedLease {
    record: LeaseRecord,
    client: HttpBuildlet,
    stop: CancellationToken,
    pool: Weak<State>,
    _dir: tempfile::TempDir,
}

/// What a machine's password is: nobody else may see it.
pub(super) const PASSWORD: &str = "machine-password";

async fn serve(record: LeaseRecord, pool: Weak<State>) -> ServedLease {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("w")).unwrap();
    let path = std::env::var("PATH").unwrap();
    let config = Config::new(dir.path().join("w"), dir.path().join("state"))
        .env([format!("PATH={path}")])
        .password(Some(PASSWORD.into()));
    let server = BuildletServer::open(config).unwrap();
    let socket = dir.path().join("s");
    let address: Address = format!("unix:{}", socket.display()).parse().unwrap();
    let listener = Listener::bind(&address).await.unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(server.run(vec![listener], stop.clone()));
    let client = HttpBuildlet::builder(UnixDial::new(&socket));
    ServedLease {
        record,
        client: client.password(PASSWORD).build(),
        stop,
        pool,
        _dir: dir,
    }
}

#[async_trait]
impl Pool for ServedPool {
    fn name(&self) -> &str {
        "served"
    }

    fn machines(&self) -> Vec<Machine> {
        self.0.machines.clone()
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Arc<dyn Lease>> {
        let record = LeaseRecord {
            lease: request.lease.clone(),
            nonce: request.nonce.clone(),
            machine: request.machine.clone(),
            place: "served".into(),
        };
        let lease = Arc::new(serve(record, Arc::downgrade(&self.0)).await);
        let mut leases = self.0.leases.lock().unwrap();
        leases.insert(request.lease.clone(), lease.clone());
        Ok(lease)
    }

    async fn adopt(&self, record: &LeaseRecord) -> Result<Adoption> {
        let lease = self.0.leases.lock().unwrap().get(&record.lease).cloned();
        Ok(match lease {
            Some(lease) if !lease.stop.is_cancelled() => Adoption::Adopted(lease),
            _ => Adoption::Gone,
        })
    }

    fn status(&self) -> Vec<MachineStatus> {
        let leases = self.0.leases.lock().unwrap();
        let status = |machine: &Machine| {
            let mut held = leases.values().map(|lease| &lease.record);
            MachineStatus {
                machine: machine.id().clone(),
                host_type: machine.host_type().clone(),
                labels: Default::default(),
                lease: held
                    .find(|record| record.machine == *machine.id())
                    .map(|record| record.lease.clone()),
                trouble: None,
                sandbox: None,
            }
        };
        self.0.machines.iter().map(status).collect()
    }
}

#[async_trait]
impl Lease for ServedLease {
    fn record(&self) -> &LeaseRecord {
        &self.record
    }

    fn buildlet(&self) -> &dyn Buildlet {
        &self.client
    }

    async fn renew(&self, _: Duration) -> Result<()> {
        self.client.status().await.map(drop)
    }

    async fn release(&self) -> Result<()> {
        self.stop.cancel();
        if let Some(pool) = self.pool.upgrade() {
            pool.leases.lock().unwrap().remove(&self.record.lease);
        }
        Ok(())
    }
}
