//! A buildlet without a server, for tests and examples.
//!
//! [`FakeBuildlet`] does what a real one does: files lie in a directory of its own, commands
//! are real processes (or closures, see [`FakeBuildlet::script`]), detached ones go on when
//! nobody listens. What goes wrong is told in advance with [`FakeBuildlet::inject`].

mod command;
mod contract;
mod faults;
mod files;
mod mirror;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use build_core::buildlet::{
    Buildlet, ByteStream, DirEntry, Exec, ExecOutcome, ExecStatus, ExecStream, ListDir, Status,
};
use build_core::ids::ExecId;
use tokio_util::sync::CancellationToken;

use self::command::{Command, Follow};
pub use self::contract::{contract, detached_contract};
use self::faults::Faults;
pub use self::faults::{Call, Fault};
pub use self::mirror::{Mirror, go_archive};
use crate::{Error, ErrorKind, Result};

/// What runs instead of a program: its output and how it ends.
pub type Script = dyn Fn(&Exec) -> (Vec<u8>, ExecOutcome) + Send + Sync;

/// A buildlet in this process. Clones share it; the last one removes its files and ends its
/// commands.
#[derive(Clone)]
pub struct FakeBuildlet(Arc<Shared>);

struct Shared {
    name: String,
    dir: tempfile::TempDir,
    scripts: Mutex<HashMap<String, Arc<Script>>>,
    commands: Mutex<HashMap<ExecId, Arc<Command>>>,
    faults: Faults,
    dead: CancellationToken,
    /// Numbers the commands of [`Buildlet::stream`].
    streamed: AtomicU64,
}

impl FakeBuildlet {
    /// A buildlet with an empty work directory.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("fake-buildlet-")
            .tempdir()?;
        for inside in ["work", "spool"] {
            std::fs::create_dir(dir.path().join(inside))?;
        }
        Ok(Self(Arc::new(Shared {
            name: name.to_owned(),
            dir,
            scripts: Mutex::default(),
            commands: Mutex::default(),
            faults: Faults::default(),
            dead: CancellationToken::new(),
            streamed: AtomicU64::new(0),
        })))
    }

    /// Runs `script` instead of the program `cmd`.
    pub fn script(
        &self,
        cmd: &str,
        script: impl Fn(&Exec) -> (Vec<u8>, ExecOutcome) + Send + Sync + 'static,
    ) {
        lock(&self.0.scripts).insert(cmd.to_owned(), Arc::new(script));
    }

    /// Lets the next call of that kind go wrong. Faults of a kind happen in the order in
    /// which they were injected.
    pub fn inject(&self, call: Call, fault: Fault) {
        self.0.faults.inject(call, fault);
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.0.faults.calls()
    }

    /// The machine dies: its commands end, calls under way and to come fail.
    pub fn die(&self) {
        self.0.dead.cancel();
        self.0.kill_all();
    }

    /// Where its files are.
    pub fn root(&self) -> PathBuf {
        self.0.root()
    }

    async fn begin(&self, call: Call) -> Result<Option<u64>> {
        let dead = || {
            Error::new(
                ErrorKind::Unavailable,
                format!("buildlet {} is dead", self.0.name),
            )
        };
        match self.0.faults.next(call) {
            _ if self.0.dead.is_cancelled() => Err(dead()),
            None => Ok(None),
            Some(Fault::CutAfter(bytes)) => Ok(Some(bytes)),
            Some(Fault::Fail(kind)) => Err(Error::new(kind, format!("injected fault in {call:?}"))),
            Some(Fault::Hang) => {
                self.0.dead.cancelled().await;
                Err(dead())
            }
        }
    }

    fn find(&self, id: &ExecId) -> Result<Arc<Command>> {
        let missing = || {
            Error::new(
                ErrorKind::NotFound,
                format!("{}: no command {id}", self.0.name),
            )
        };
        lock(&self.0.commands).get(id).cloned().ok_or_else(missing)
    }

    /// Starts a command unless it is known.
    fn run(&self, id: &ExecId, exec: &Exec) -> Result<Arc<Command>> {
        let script = lock(&self.0.scripts).get(&exec.cmd).cloned();
        let mut commands = lock(&self.0.commands);
        if let Some(known) = commands.get(id) {
            return Ok(Arc::clone(known));
        }
        let output = self.0.dir.path().join("spool").join(id.as_str());
        let command = match script {
            Some(script) => Command::scripted(id, &output, script(exec))?,
            None => Command::start(id, &output, exec, &self.root())?,
        };
        let command = Arc::new(command);
        commands.insert(id.clone(), Arc::clone(&command));
        Ok(command)
    }
}

impl Shared {
    fn root(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn kill_all(&self) {
        for command in lock(&self.commands).values() {
            command.kill();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.kill_all();
    }
}

#[async_trait]
impl Buildlet for FakeBuildlet {
    fn name(&self) -> String {
        self.0.name.clone()
    }

    async fn status(&self) -> Result<Status> {
        self.begin(Call::Status).await?;
        let mut status = Status::default();
        status.version = 25;
        status.detached = true;
        status.os = "linux".into();
        status.arch = "amd64".into();
        Ok(status)
    }

    async fn work_dir(&self) -> Result<String> {
        self.begin(Call::WorkDir).await?;
        Ok(self.root().to_string_lossy().into_owned())
    }

    async fn put(&self, path: &str, mode: u32, contents: ByteStream) -> Result<()> {
        self.begin(Call::Put).await?;
        let bytes = crate::collect(contents).await?;
        files::write(&files::beneath(&self.root(), path)?, mode, &bytes)
    }

    async fn put_tar(&self, tgz: ByteStream, dir: &str) -> Result<()> {
        self.begin(Call::PutTar).await?;
        let bytes = crate::collect(tgz).await?;
        files::unpack(&files::beneath(&self.root(), dir)?, &bytes)
    }

    async fn get_tar(&self, dir: &str) -> Result<ByteStream> {
        let cut = self.begin(Call::GetTar).await?;
        let packed = files::pack(&files::beneath(&self.root(), dir)?)?;
        Ok(files::pieces(packed, cut))
    }

    async fn list_dir(&self, what: &ListDir) -> Result<Vec<DirEntry>> {
        self.begin(Call::ListDir).await?;
        let dir = files::beneath(&self.root(), &what.dir)?;
        let mut entries = Vec::new();
        files::list(&dir, b"", what, &mut entries)?;
        Ok(entries)
    }

    async fn remove_all(&self, paths: &[String]) -> Result<()> {
        self.begin(Call::RemoveAll).await?;
        let root = self.root();
        let all: Vec<PathBuf> = paths
            .iter()
            .map(|path| files::beneath(&root, path))
            .collect::<Result<_>>()?;
        all.iter()
            .try_for_each(|path: &PathBuf| files::remove(path))
    }

    async fn stream(&self, exec: Exec) -> Result<ExecStream> {
        let cut = self.begin(Call::Stream).await?;
        let number = self.0.streamed.fetch_add(1, Ordering::Relaxed);
        let command = self.run(&ExecId::new(format!("stream-{number}"))?, &exec)?;
        Ok(Follow::new(command, self.0.dead.clone(), 0, cut)
            .ending_the_command()
            .stream())
    }

    async fn start(&self, exec: Exec) -> Result<ExecStatus> {
        self.begin(Call::Start).await?;
        let missing = || Error::new(ErrorKind::Invalid, "detached command without an id");
        let id = exec.id.clone().ok_or_else(missing)?;
        self.run(&id, &exec)?.status()
    }

    async fn attach(&self, id: &ExecId, offset: u64) -> Result<ExecStream> {
        let cut = self.begin(Call::Attach).await?;
        Ok(Follow::new(self.find(id)?, self.0.dead.clone(), offset, cut).stream())
    }

    async fn exec_status(&self, id: &ExecId) -> Result<ExecStatus> {
        self.begin(Call::ExecStatus).await?;
        self.find(id)?.status()
    }

    async fn kill(&self, id: &ExecId) -> Result<()> {
        self.begin(Call::Kill).await?;
        self.find(id)?.kill();
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.begin(Call::Close).await?;
        self.die();
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each lock covers one insertion or look-up: a panic leaves the map whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn io_error(path: &Path, error: std::io::Error) -> Error {
    Error::from(error).while_doing(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use build_core::buildlet::ExecEvent;
    use futures::StreamExt;

    use super::*;

    fn fake() -> FakeBuildlet {
        FakeBuildlet::new("fake").unwrap()
    }

    #[tokio::test]
    async fn the_fake_keeps_the_contract() {
        contract(&fake()).await;
        detached_contract(&fake()).await;
    }

    #[tokio::test]
    async fn a_script_stands_for_a_program() {
        let fake = fake();
        fake.script("make", |exec| {
            (exec.args.join("+").into_bytes(), ExecOutcome::Exit(2))
        });
        let done = fake
            .exec(Exec::new("make").arg("all").arg("test"))
            .await
            .unwrap();
        assert_eq!(
            (done.outcome(), done.text().as_str()),
            (&ExecOutcome::Exit(2), "all+test")
        );
        assert_eq!(fake.calls(), [Call::Stream]);
    }

    #[tokio::test]
    async fn faults_happen_once_and_in_order() {
        let fake = fake();
        fake.inject(Call::Status, Fault::Fail(ErrorKind::TimedOut));
        fake.inject(Call::Status, Fault::Fail(ErrorKind::Unavailable));
        assert_eq!(fake.status().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(
            fake.status().await.unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        fake.status().await.unwrap();
    }

    #[tokio::test]
    async fn a_cut_output_goes_on_where_it_was_cut() {
        let fake = fake();
        let id = ExecId::new("e1").unwrap();
        fake.start(Exec::shell("echo 0123456789").id(id.clone()))
            .await
            .unwrap();
        fake.inject(Call::Attach, Fault::CutAfter(4));
        let mut cut = fake.attach(&id, 0).await.unwrap();
        assert_eq!(
            cut.next().await.unwrap().unwrap(),
            ExecEvent::Output("0123".into())
        );
        assert_eq!(
            cut.next().await.unwrap().unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        let mut rest = fake.attach(&id, 4).await.unwrap();
        assert_eq!(
            rest.next().await.unwrap().unwrap(),
            ExecEvent::Output("456789\n".into())
        );
    }

    #[tokio::test]
    async fn a_dead_machine_ends_what_waits_for_it() {
        let fake = fake();
        fake.inject(Call::PutTar, Fault::Hang);
        let hangs = fake.put_tar(crate::once(""), "src");
        let runs = fake.exec(Exec::shell("sleep 1000"));
        let dies = async { fake.die() };
        let (hung, ran, ()) = tokio::join!(hangs, runs, dies);
        assert_eq!(hung.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(ran.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(
            fake.status().await.unwrap_err().kind(),
            ErrorKind::Unavailable
        );
    }
}
