//! A small farm for tests: repositories, machines in this process, recipes by hand.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use build_client::testing::{FakeBuildlet, Script};
use build_core::buildlet::{Buildlet, ByteStream, Exec, ExecOutcome};
use build_core::event::{BuildEvent, Outcome, Recorded, Seq};
use build_core::ids::{BuildId, BuilderName, HostType, LeaseId, MachineId, StepName};
use build_core::plan::{Part, Plan, Sandbox, Step, Unit};
use build_core::pool::{
    Adoption, FilesHere, Lease, LeaseRecord, LeaseRequest, MachineStatus, Pool,
};
use build_core::recipe::{Recipe, Tree};
use build_core::schedule::{Labels, Machine};
use build_core::work::{Builder, WorkItem};
use build_core::{Error, ErrorKind, Result};
use build_server::coordinator::{Coordinator, CoordinatorBuilder, Handle};
use build_server::source::GitCheckouts;
use build_server::store::Store;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a loaded machine.
pub const SOON: Duration = Duration::from_secs(60);

/// A git repository of its own.
pub struct Repository {
    pub dir: tempfile::TempDir,
}

impl Repository {
    pub fn new() -> Self {
        let repository = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// One with a commit that has one file.
    pub fn with_file(name: &str, text: &str) -> Self {
        let repository = Self::new();
        repository.write(name, text);
        repository.commit("first");
        repository
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn origin(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    pub fn git(&self, args: &[&str]) -> String {
        git_in(self.path(), args)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// A minute later each time: `git describe` counts wrongly among commits of one second.
fn date() -> String {
    static MINUTES: AtomicU64 = AtomicU64::new(0);
    let minutes = MINUTES.fetch_add(1, Ordering::Relaxed);
    format!("@{} +0000", 1_600_000_000 + 60 * minutes)
}

pub fn git_in(dir: &Path, args: &[&str]) -> String {
    let date = date();
    let output = Command::new("git")
        .args([
            "-c",
            "protocol.file.allow=always",
            "-c",
            "commit.gpgSign=false",
        ])
        .args(args)
        .current_dir(dir)
        .env_remove("GIT_DIR")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@example.org")
        .env("GIT_COMMITTER_NAME", "A")
        .env("GIT_AUTHOR_DATE", &date)
        .env("GIT_COMMITTER_DATE", &date)
        .env("GIT_COMMITTER_EMAIL", "a@example.org")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Machines in this process; they outlive a coordinator, as processes of their own do.
#[derive(Clone)]
pub struct FakePool(Arc<PoolState>);

struct PoolState {
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
}

#[derive(Clone)]
pub struct FakeLease {
    record: LeaseRecord,
    pub buildlet: FakeBuildlet,
    /// The pool holds its leases: a circle would keep both, and every command, for ever.
    pool: Weak<PoolState>,
}

pub fn local() -> HostType {
    HostType::new("local").unwrap()
}

impl FakePool {
    pub fn new(count: usize) -> Self {
        let machine = |n| {
            let id = MachineId::new(format!("m{n}")).unwrap();
            Machine::new(id, local(), Labels::default())
        };
        Self(Arc::new(PoolState {
            machines: (1..=count).map(machine).collect(),
            leases: Mutex::default(),
            buildlets: Mutex::default(),
            scripts: Vec::new(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            asked: watch::Sender::new(0),
            sandboxes: Mutex::default(),
            kept: tempfile::tempdir().unwrap(),
            tools: Mutex::default(),
        }))
    }

    /// No machine becomes ready before [`FakePool::let_through`].
    pub fn held_back(self) -> Self {
        self.0.gate.forget_permits(Semaphore::MAX_PERMITS);
        self
    }

    /// One more machine becomes ready.
    pub fn let_through(&self) {
        self.0.gate.add_permits(1);
    }

    /// Waits until so many machines were asked for.
    pub async fn until_asked(&self, count: usize) {
        let mut asked = self.0.asked.subscribe();
        let enough = asked.wait_for(|asked| *asked >= count);
        let enough = tokio::time::timeout(SOON, enough).await;
        enough.expect("a machine is asked for soon").unwrap();
    }

    /// From now on its machines have other tools.
    pub fn set_tools(&self, name: &str) {
        *self.0.tools.lock().unwrap() = name.to_owned();
    }

    /// Its machines run `script` in the place of the program `cmd`; before it is used.
    pub fn scripted(
        mut self,
        cmd: &str,
        script: impl Fn(&Exec) -> (Vec<u8>, ExecOutcome) + Send + Sync + 'static,
    ) -> Self {
        let state = Arc::get_mut(&mut self.0).expect("nobody uses it yet");
        state.scripts.push((cmd.to_owned(), Arc::new(script)));
        self
    }

    /// How far each machine was to be kept apart, in the order in which they were asked for.
    pub fn sandboxes(&self) -> Vec<Sandbox> {
        self.0.sandboxes.lock().unwrap().clone()
    }

    /// Forgets machines that have ended.
    pub fn forget(&self) {
        self.0.buildlets.lock().unwrap().clear();
    }

    /// The machines that are held now.
    pub fn leases(&self) -> Vec<FakeLease> {
        self.0.leases.lock().unwrap().values().cloned().collect()
    }

    /// Every buildlet there ever was.
    pub fn buildlets(&self) -> Vec<FakeBuildlet> {
        self.0.buildlets.lock().unwrap().clone()
    }
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
        self.0.sandboxes.lock().unwrap().push(request.sandbox);
        self.0.asked.send_modify(|asked| *asked += 1);
        self.0.gate.acquire().await.unwrap().forget();
        let buildlet = FakeBuildlet::new(request.machine.as_str())?;
        for (cmd, script) in self.0.scripts.clone() {
            buildlet.script(&cmd, move |exec| script(exec));
        }
        self.0.buildlets.lock().unwrap().push(buildlet.clone());
        let lease = FakeLease {
            record: LeaseRecord {
                lease: request.lease.clone(),
                nonce: request.nonce.clone(),
                machine: request.machine.clone(),
                place: format!("fake:{}", request.machine),
            },
            buildlet,
            pool: Arc::downgrade(&self.0),
        };
        let mut leases = self.0.leases.lock().unwrap();
        let same_machine = leases.values().any(|l| l.record.machine == request.machine);
        assert!(!same_machine, "machine {} granted twice", request.machine);
        leases.insert(request.lease.clone(), lease.clone());
        Ok(Arc::new(lease))
    }

    async fn adopt(&self, record: &LeaseRecord) -> Result<Adoption> {
        let lease = self.0.leases.lock().unwrap().get(&record.lease).cloned();
        Ok(match lease {
            Some(lease) if lease.buildlet.status().await.is_ok() => {
                assert_eq!(lease.record.nonce, record.nonce);
                Adoption::Adopted(Arc::new(lease))
            }
            _ => Adoption::Gone,
        })
    }

    fn status(&self) -> Vec<MachineStatus> {
        let leases = self.0.leases.lock().unwrap();
        let status = |machine: &Machine| MachineStatus {
            machine: machine.id().clone(),
            host_type: machine.host_type().clone(),
            labels: Default::default(),
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
        let here = self.pool.upgrade().map(|pool| FilesHere {
            work_dir: self.buildlet.root(),
            keep_dir: pool.kept.path().to_owned(),
            tools: pool.tools.lock().unwrap().clone(),
        });
        Ok(here)
    }

    async fn release_keeping(&self, moves: &[(PathBuf, PathBuf)]) -> Result<()> {
        for (from, to) in moves {
            std::fs::rename(from, to)?;
        }
        self.release().await
    }

    async fn release(&self) -> Result<()> {
        if let Some(pool) = self.pool.upgrade() {
            pool.leases.lock().unwrap().remove(&self.record.lease);
        }
        self.buildlet.die();
        Ok(())
    }
}

/// The same steps for every commit.
#[derive(Clone)]
pub struct Steps(pub Vec<Step>);

#[async_trait]
impl Recipe for Steps {
    async fn plan(&self, _: &WorkItem, _: &Builder, tree: &dyn Tree) -> Result<Plan> {
        tree.list("").await?;
        Plan::new(self.0.clone(), "by hand")
    }
}

pub fn name(text: &str) -> StepName {
    StepName::new(text).unwrap()
}

pub fn step(text: &str, run: &str) -> Step {
    Step::new(name(text), run)
}

pub fn whole(step: &str) -> Unit {
    part(step, Part::Whole)
}

pub fn part(step: &str, part: Part) -> Unit {
    Unit {
        step: name(step),
        part,
    }
}

/// A coordinator that runs in the background.
pub struct Farm {
    pub handle: Handle,
    pub checkouts: GitCheckouts,
    stop: CancellationToken,
    pub running: JoinHandle<Result<()>>,
    _dir: tempfile::TempDir,
}

impl Farm {
    pub fn start(pool: &FakePool, store: Store, recipe: impl Recipe + 'static) -> Self {
        Self::start_with(pool, store, recipe, |builder| builder)
    }

    pub fn start_with(
        pool: &FakePool,
        store: Store,
        recipe: impl Recipe + 'static,
        more: impl FnOnce(CoordinatorBuilder) -> CoordinatorBuilder,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let checkouts = GitCheckouts::new(dir.path());
        let builder = Coordinator::builder()
            .pool(pool.clone())
            .recipe(recipe)
            .checkouts(checkouts.clone())
            .wind_down(SOON)
            .store(store);
        let coordinator = more(builder).build().unwrap();
        let stop = CancellationToken::new();
        Self {
            handle: coordinator.handle(),
            checkouts,
            running: tokio::spawn(coordinator.run(stop.clone())),
            stop,
            _dir: dir,
        }
    }

    pub fn builder(&self) -> BuilderName {
        self.handle.builders()[0].clone()
    }

    /// Submits what is checked out in a repository.
    pub async fn submit(&self, repository: &Repository) -> BuildId {
        let item = self
            .checkouts
            .resolve(&repository.origin(), None)
            .await
            .unwrap();
        self.handle.submit(item, &self.builder()).await.unwrap()
    }

    /// Waits for the end of the coordinator, whatever it is.
    pub async fn ended(self) -> Result<()> {
        let ended = tokio::time::timeout(2 * SOON, self.running).await;
        ended.expect("it ends soon").unwrap()
    }

    /// All events of a build, once nothing more happens to it.
    pub async fn events(&self, build: &BuildId) -> Vec<Recorded> {
        let events = self.handle.events(build, Seq(0));
        let all = tokio::time::timeout(SOON, events.try_collect()).await;
        all.expect("the build ends soon").unwrap()
    }

    /// Builds what is checked out in a repository.
    pub async fn build(&self, repository: &Repository) -> Built {
        let id = self.submit(repository).await;
        self.built(&id).await
    }

    pub async fn built(&self, id: &BuildId) -> Built {
        let events = self.events(id).await;
        Built {
            id: id.clone(),
            events,
        }
    }

    /// Waits for an event of a build.
    pub async fn until(
        &self,
        build: &BuildId,
        mut is_it: impl FnMut(&BuildEvent) -> bool,
    ) -> Recorded {
        let mut events = self.handle.events(build, Seq(0));
        let search = async {
            while let Some(event) = events.next().await {
                let event = event.unwrap();
                if is_it(&told(&event)) {
                    return event;
                }
            }
            panic!("build {build} has ended without it");
        };
        tokio::time::timeout(SOON, search)
            .await
            .expect("the event comes soon")
    }

    /// Waits until so many builds have finished.
    pub async fn until_finished(&self, count: usize) {
        let events = self.handle.all_events(Seq(0));
        let is_end = |e: &Result<Recorded>| {
            matches!(
                build_server::testing::told(e.as_ref().unwrap()),
                Some(BuildEvent::Finished { .. })
            )
        };
        let ends = events.filter(|e| std::future::ready(is_end(e))).take(count);
        let ended = tokio::time::timeout(SOON, ends.count()).await;
        ended.expect("the builds end soon");
    }

    pub async fn log(&self, build: &BuildId, unit: &Unit) -> String {
        let log = self.handle.log(build, unit, None, 0, true).await.unwrap();
        text(log).await
    }

    /// The first Ctrl-C.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// The first Ctrl-C, and what follows.
    pub async fn stop(self) {
        self.begin_stop();
        let ended = tokio::time::timeout(SOON, self.running).await;
        ended.expect("it stops soon").unwrap().unwrap();
    }

    /// `kill -9`, as far as this process can do it to a part of itself.
    pub async fn kill(self) {
        self.running.abort();
        // An aborted task says that it was.
        let _ = self.running.await;
    }
}

pub async fn text(stream: ByteStream) -> String {
    let pieces: Vec<_> = stream.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

/// What an event of a build tells, or of a session after its beginning.
pub fn told(recorded: &Recorded) -> BuildEvent {
    build_server::testing::told(recorded).expect("an event that is known")
}

/// A build that has ended.
pub struct Built {
    pub id: BuildId,
    pub events: Vec<Recorded>,
}

impl Built {
    pub fn outcome(&self) -> Outcome {
        let mut events = self.events.iter().rev();
        let outcome = events.find_map(|e| match told(e) {
            BuildEvent::Finished { outcome } => Some(outcome),
            _ => None,
        });
        outcome.expect("a build that has ended has an outcome")
    }

    pub fn passed(&self) -> bool {
        self.outcome().is_passed()
    }

    pub fn cache_hits(&self) -> Vec<String> {
        let hits = self.events.iter().filter_map(|e| match told(e) {
            BuildEvent::Prepared { cache_hits, .. } => Some(cache_hits),
            _ => None,
        });
        hits.flatten().collect()
    }
}
