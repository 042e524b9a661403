//! Machines in this process: the twin of every pool.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use build_client::testing::{FakeBuildlet, Script};
use build_core::buildlet::{Buildlet, Exec, ExecOutcome};
use build_core::ids::{HostType, LeaseId, MachineId};
use build_core::plan::Sandbox;
use build_core::pool::{
    Adoption, FilesHere, Lease, LeaseRecord, LeaseRequest, MachineStatus, Pool,
};
use build_core::schedule::{Labels, Machine};
use build_core::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, watch};

use super::SOON;

/// A [`Pool`] whose machines are [`FakeBuildlet`]s: each has a directory of its own and runs real
/// commands, or closures in their place. They outlive a coordinator, as processes of their own
/// do, and end with the last clone of the pool.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> build_core::Result<()> {
/// use build_core::pool::Pool;
/// use build_server::testing::{FakePool, pool};
///
/// let machines = FakePool::new(2);
/// assert_eq!(machines.machines().len(), 2);
/// pool(&machines).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FakePool(Arc<Shared>);

struct Shared {
    machines: Vec<Machine>,
    leases: Mutex<HashMap<LeaseId, FakeLease>>,
    /// Every buildlet there ever was.
    buildlets: Mutex<Vec<FakeBuildlet>>,
    /// What machines say in the place of a program.
    scripts: Vec<(String, Arc<Script>)>,
    /// One permit lets one machine become ready.
    gate: Semaphore,
    /// How many machines were asked for.
    asked: watch::Sender<usize>,
    /// How far each was to be kept apart.
    sandboxes: Mutex<Vec<Sandbox>>,
    /// What outlives its machines.
    kept: tempfile::TempDir,
    /// Which tools its machines have.
    tools: Mutex<String>,
    /// Whether machines see no files of the coordinator's.
    elsewhere: bool,
}

/// A machine of a [`FakePool`] that somebody holds.
#[derive(Clone)]
pub struct FakeLease {
    record: LeaseRecord,
    buildlet: FakeBuildlet,
    /// The pool holds its leases: a circle would keep both, and every command, for ever.
    pool: Weak<Shared>,
}

impl FakeLease {
    /// The machine, to look into it or to let it die.
    pub fn machine(&self) -> &FakeBuildlet {
        &self.buildlet
    }
}

impl FakePool {
    /// The kind of its machines: that of builders nobody has said more about.
    ///
    /// # Panics
    /// Never.
    pub fn host_type() -> HostType {
        HostType::new("local").expect("it is a name")
    }

    /// So many machines, called `m1` and so on.
    ///
    /// # Panics
    /// When no directory can be made for what outlives them.
    pub fn new(count: usize) -> Self {
        let machine = |n| {
            let id = MachineId::new(format!("m{n}")).expect("it is a name");
            Machine::new(id, Self::host_type(), Labels::default())
        };
        Self(Arc::new(Shared {
            machines: (1..=count).map(machine).collect(),
            leases: Mutex::default(),
            buildlets: Mutex::default(),
            scripts: Vec::new(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            asked: watch::Sender::new(0),
            sandboxes: Mutex::default(),
            kept: tempfile::tempdir().expect("a directory for what is kept"),
            tools: Mutex::default(),
            elsewhere: false,
        }))
    }

    /// No machine becomes ready before [`FakePool::let_through`].
    #[must_use]
    pub fn held_back(self) -> Self {
        self.0.gate.forget_permits(Semaphore::MAX_PERMITS);
        self
    }

    /// Its machines run `script` in the place of the program `cmd`.
    ///
    /// # Panics
    /// When there are clones of it: a pool is told before it is used.
    #[must_use]
    pub fn scripted(
        mut self,
        cmd: &str,
        script: impl Fn(&Exec) -> (Vec<u8>, ExecOutcome) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::get_mut(&mut self.0).expect("nobody uses it yet");
        shared.scripts.push((cmd.to_owned(), Arc::new(script)));
        self
    }

    /// Its machines have files of their own, as far as anybody is told.
    ///
    /// # Panics
    /// When there are clones of it.
    #[must_use]
    pub fn elsewhere(mut self) -> Self {
        let shared = Arc::get_mut(&mut self.0).expect("nobody uses it yet");
        shared.elsewhere = true;
        self
    }

    /// One more machine becomes ready.
    pub fn let_through(&self) {
        self.0.gate.add_permits(1);
    }

    /// Waits until so many machines were asked for.
    ///
    /// # Panics
    /// When they are not within [`SOON`].
    pub async fn until_asked(&self, count: usize) {
        let mut asked = self.0.asked.subscribe();
        let enough = asked.wait_for(|asked| *asked >= count);
        let enough = tokio::time::timeout(SOON, enough).await;
        let enough = enough.expect("a machine is asked for soon");
        drop(enough.expect("the pool is there"));
    }

    /// From now on its machines have other tools: builds do not begin warm with what was made by
    /// those before.
    pub fn set_tools(&self, name: &str) {
        name.clone_into(&mut lock(&self.0.tools));
    }

    /// How far each machine was to be kept apart, in the order in which they were asked for.
    pub fn sandboxes(&self) -> Vec<Sandbox> {
        lock(&self.0.sandboxes).clone()
    }

    /// Forgets machines that have ended.
    pub fn forget(&self) {
        lock(&self.0.buildlets).clear();
    }

    /// The machines that are held now.
    pub fn leases(&self) -> Vec<FakeLease> {
        lock(&self.0.leases).values().cloned().collect()
    }

    /// Every machine there ever was: each lease gets a new one.
    pub fn buildlets(&self) -> Vec<FakeBuildlet> {
        lock(&self.0.buildlets).clone()
    }

    fn start(&self, request: &LeaseRequest) -> Result<FakeLease> {
        let buildlet = FakeBuildlet::new(request.machine.as_str())?;
        for (cmd, script) in self.0.scripts.clone() {
            buildlet.script(&cmd, move |exec| script(exec));
        }
        lock(&self.0.buildlets).push(buildlet.clone());
        Ok(FakeLease {
            record: LeaseRecord {
                lease: request.lease.clone(),
                nonce: request.nonce.clone(),
                machine: request.machine.clone(),
                place: format!("fake:{}", request.machine),
            },
            buildlet,
            pool: Arc::downgrade(&self.0),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Pool for FakePool {
    fn name(&self) -> &str {
        "fake"
    }

    fn machines(&self) -> Vec<Machine> {
        self.0.machines.clone()
    }

    async fn acquire(&self, request: &LeaseRequest) -> Result<Arc<dyn Lease>> {
        lock(&self.0.sandboxes).push(request.sandbox);
        self.0.asked.send_modify(|asked| *asked += 1);
        let closed = |_| Error::new(ErrorKind::Bug, "the gate of a pool is never closed");
        self.0.gate.acquire().await.map_err(closed)?.forget();
        let mut leases = lock(&self.0.leases);
        if let Some(known) = leases.get(&request.lease) {
            return Ok(Arc::new(known.clone()));
        }
        if leases.values().any(|l| l.record.machine == request.machine) {
            let text = format!("machine {} was granted twice", request.machine);
            tracing::error!(machine = %request.machine, "a machine was granted twice");
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        let lease = self.start(request)?;
        leases.insert(request.lease.clone(), lease.clone());
        Ok(Arc::new(lease))
    }

    async fn adopt(&self, record: &LeaseRecord) -> Result<Adoption> {
        let lease = lock(&self.0.leases).get(&record.lease).cloned();
        let is_same = |lease: &FakeLease| lease.record.nonce == record.nonce;
        Ok(match lease.filter(is_same) {
            Some(lease) if lease.buildlet.status().await.is_ok() => {
                Adoption::Adopted(Arc::new(lease))
            }
            _ => Adoption::Gone,
        })
    }

    fn status(&self) -> Vec<MachineStatus> {
        let leases = lock(&self.0.leases);
        let status = |machine: &Machine| MachineStatus {
            machine: machine.id().clone(),
            host_type: machine.host_type().clone(),
            labels: std::collections::BTreeSet::new(),
            lease: leases
                .values()
                .find(|l| l.record.machine == *machine.id())
                .map(|l| l.record.lease.clone()),
            trouble: None,
            sandbox: None,
            limits: None,
        };
        self.0.machines.iter().map(status).collect()
    }
}

#[async_trait]
impl Lease for FakeLease {
    fn record(&self) -> &LeaseRecord {
        &self.record
    }

    fn buildlet(&self) -> &dyn Buildlet {
        &self.buildlet
    }

    async fn renew(&self, _: Duration) -> Result<()> {
        let gone = |_| Error::new(ErrorKind::NotFound, "the machine has ended");
        self.buildlet.status().await.map(|_| ()).map_err(gone)
    }

    async fn files_here(&self) -> Result<Option<FilesHere>> {
        let pool = self.pool.upgrade().filter(|_| self.sees_our_files());
        Ok(pool.map(|pool| FilesHere {
            work_dir: self.buildlet.root(),
            keep_dir: pool.kept.path().to_owned(),
            tools: lock(&pool.tools).clone(),
        }))
    }

    fn sees_our_files(&self) -> bool {
        let pool = self.pool.upgrade();
        pool.is_none_or(|pool| !pool.elsewhere)
    }

    async fn release_keeping(&self, moves: &[(PathBuf, PathBuf)]) -> Result<()> {
        for (from, to) in moves {
            std::fs::rename(from, to)?;
        }
        self.release().await
    }

    async fn release(&self) -> Result<()> {
        if let Some(pool) = self.pool.upgrade() {
            lock(&pool.leases).remove(&self.record.lease);
        }
        self.buildlet.die();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_keeps_the_contract_of_pools() {
        let pool = FakePool::new(2);
        super::super::pool(&pool).await.unwrap();
        super::super::pool_after_restart(&pool, &pool.clone())
            .await
            .unwrap();
        assert!(pool.leases().is_empty());
        assert_eq!(pool.buildlets().len(), 3);
        pool.forget();
        assert!(pool.buildlets().is_empty());
    }
}
