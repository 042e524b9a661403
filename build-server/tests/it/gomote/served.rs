//! Machines whose buildlets are real ones, in this process; they outlive a coordinator.

use std::collections::HashMap;
use std::path::PathBuf;
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
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

pub(super) fn kind() -> HostType {
    HostType::new("host-linux-amd64-localdev").unwrap()
}

#[derive(Clone)]
pub(super) struct ServedPool(Arc<State>);

struct State {
    machines: Vec<Machine>,
    /// Whether their buildlets know only what those of Go do.
    as_go: bool,
    leases: Mutex<HashMap<LeaseId, Arc<ServedLease>>>,
}

impl ServedPool {
    pub(super) fn new(count: usize) -> Self {
        Self::with(count, false)
    }

    /// Machines whose buildlets know neither terminals nor input nor sftp, as Go's do not.
    pub(super) fn as_go(count: usize) -> Self {
        Self::with(count, true)
    }

    fn with(count: usize, as_go: bool) -> Self {
        let machine = |n| {
            let id = MachineId::new(format!("m{n}")).unwrap();
            Machine::new(id, kind(), Labels::default())
        };
        Self(Arc::new(State {
            machines: (1..=count).map(machine).collect(),
            as_go,
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

/// Leads to the buildlet at `to`; of paths that are ours alone it knows nothing.
async fn lead(listener: UnixListener, to: PathBuf) {
    while let Ok((mut near, _)) = listener.accept().await {
        let to = to.clone();
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                if near.read_buf(&mut head).await.is_ok_and(|count| count == 0) {
                    return;
                }
            }
            let is_ours = |path: &[u8]| head.starts_with(&[b"POST ", path].concat());
            if is_ours(b"/exec/attached") || is_ours(b"/sftp") || is_ours(b"/agent") {
                let no =
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                // Whoever asked may be gone.
                let _ = near.write_all(no).await;
                return;
            }
            let mut far = UnixStream::connect(to).await.unwrap();
            far.write_all(&head).await.unwrap();
            // Either side may end it at any time.
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
    }
}

async fn serve(record: LeaseRecord, pool: Weak<State>, as_go: bool) -> ServedLease {
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
    let reached = match as_go {
        true => {
            let before = dir.path().join("go");
            let listener = UnixListener::bind(&before).unwrap();
            tokio::spawn(lead(listener, socket));
            before
        }
        false => socket,
    };
    let client = HttpBuildlet::builder(UnixDial::new(&reached));
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
        let lease = Arc::new(serve(record, Arc::downgrade(&self.0), self.0.as_go).await);
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
                limits: None,
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
