//! Detached commands for buildlets that have none.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use build_client::HttpBuildlet;
use build_core::buildlet::{
    Buildlet, ByteStream, DirEntry, Exec, ExecEvent, ExecOutcome, ExecStatus, ExecStream, ListDir,
    Status,
};
use build_core::ids::ExecId;
use build_core::name::Name;
use build_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, SeekFrom};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::supervise::Supervisor;

/// Output is read back in pieces up to this.
const PIECE: usize = 64 << 10;

/// A buildlet of 2020, with commands that can be attached to.
///
/// The command itself runs over one connection, which this side holds and reads into a file; who
/// attaches reads the file. So whoever drives it may come and go. What it cannot give is life
/// beyond that connection: when the connection is cut, or this process ends, the command ends
/// too, and attaching to it fails with [`ErrorKind::Unavailable`]. Longest run and longest silence
/// are kept here, by ending the connection; limits of disk, memory, processes and log are not
/// kept: the buildlet knows none.
///
/// Clones are the same. The files go with the last clone.
#[derive(Clone)]
pub struct Undetached(Arc<Inner>);

struct Inner {
    buildlet: HttpBuildlet,
    supervisor: Supervisor,
    dir: tempfile::TempDir,
    execs: Mutex<HashMap<ExecId, Arc<Run>>>,
}

/// A command, running or ended.
struct Run {
    file: PathBuf,
    state: watch::Sender<State>,
    /// Ends it.
    kill: CancellationToken,
}

#[derive(Clone, Default)]
struct State {
    bytes: u64,
    /// How it ended: an outcome, or why nobody knows.
    end: Option<Result<ExecOutcome, Arc<Error>>>,
}

impl Undetached {
    /// Wraps a buildlet. Commands are tasks of `supervisor`; their output is kept in a directory
    /// below `dir`, by default the temporary one.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(buildlet: HttpBuildlet, supervisor: Supervisor, dir: Option<&Path>) -> Result<Self> {
        let failed = |e: io::Error| Error::from(e).while_doing("make a directory for output");
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("farmer-output-");
        let dir = match dir {
            Some(dir) => std::fs::create_dir_all(dir).and_then(|()| builder.tempdir_in(dir)),
            None => builder.tempdir(),
        };
        Ok(Self(Arc::new(Inner {
            buildlet,
            supervisor,
            dir: dir.map_err(failed)?,
            execs: Mutex::default(),
        })))
    }

    fn execs(&self) -> MutexGuard<'_, HashMap<ExecId, Arc<Run>>> {
        // Every lock covers a single change: a panic leaves the map whole.
        self.0.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &ExecId) -> Result<Arc<Run>> {
        let found = self.execs().get(id).cloned();
        found.ok_or_else(|| {
            let text = format!("{}: no command {id} is known", self.0.buildlet.name());
            Error::new(ErrorKind::NotFound, text)
        })
    }
}

impl Run {
    fn status(&self, id: &ExecId) -> ExecStatus {
        let state = self.state.borrow();
        let outcome = match &state.end {
            None => None,
            Some(Ok(outcome)) => Some(outcome.clone()),
            Some(Err(_)) => Some(ExecOutcome::Lost),
        };
        ExecStatus::new(id.clone(), None, outcome, state.bytes)
    }

    /// Reads the output of the command into the file until it has ended.
    async fn record(self: Arc<Self>, output: ExecStream, limits: Limits) {
        let ended = self.copy(output, limits).await;
        self.state.send_modify(|state| {
            state.end = Some(ended.map_err(Arc::new));
        });
    }

    async fn copy(&self, mut output: ExecStream, limits: Limits) -> Result<ExecOutcome> {
        let failed = |e: io::Error| Error::from(e).while_doing("keep the output of a command");
        let mut file = File::create(&self.file).await.map_err(failed)?;
        let end = limits.timeout.map(|limit| Instant::now() + limit);
        let mut quiet_end = limits.quiet.map(|limit| Instant::now() + limit);
        loop {
            // Dropping `output` ends the command.
            let event = tokio::select! {
                event = output.next() => event,
                () = self.kill.cancelled() => return Ok(ExecOutcome::Killed),
                () = until(end) => return Ok(ExecOutcome::TimedOut),
                () = until(quiet_end) => return Ok(ExecOutcome::Silent),
            };
            match event {
                Some(Ok(ExecEvent::Output(bytes))) => {
                    file.write_all(&bytes).await.map_err(failed)?;
                    file.flush().await.map_err(failed)?;
                    self.state
                        .send_modify(|state| state.bytes += bytes.len() as u64);
                    quiet_end = limits.quiet.map(|limit| Instant::now() + limit);
                }
                Some(Ok(ExecEvent::Ended(outcome))) => return Ok(outcome),
                Some(Err(error)) => return Err(error),
                None => {
                    let text = "the output ended before the command did";
                    return Err(Error::new(ErrorKind::Unavailable, text));
                }
            }
        }
    }
}

struct Limits {
    timeout: Option<Duration>,
    quiet: Option<Duration>,
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Somebody who reads the output of a command.
struct Reader {
    run: Arc<Run>,
    state: watch::Receiver<State>,
    file: Option<File>,
    offset: u64,
}

impl Reader {
    /// The next piece, or the end.
    async fn next(&mut self) -> Result<ExecEvent> {
        loop {
            let state = self.state.borrow_and_update().clone();
            if self.offset < state.bytes {
                return self.read(state.bytes - self.offset).await;
            }
            match state.end {
                Some(Ok(outcome)) => return Ok(ExecEvent::Ended(outcome)),
                Some(Err(cause)) => {
                    let text = "the command ended with its connection";
                    return Err(Error::caused_by(ErrorKind::Unavailable, text, cause));
                }
                None => {}
            }
            // The sender is in `run`.
            let _ = self.state.changed().await;
        }
    }

    async fn read(&mut self, left: u64) -> Result<ExecEvent> {
        let failed = |e: io::Error| Error::from(e).while_doing("read the output of a command");
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let mut file = File::open(&self.run.file).await.map_err(failed)?;
                file.seek(SeekFrom::Start(self.offset))
                    .await
                    .map_err(failed)?;
                self.file.insert(file)
            }
        };
        let count = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; count];
        file.read_exact(&mut piece).await.map_err(failed)?;
        self.offset += count as u64;
        Ok(ExecEvent::Output(Bytes::from(piece)))
    }
}

#[async_trait]
impl Buildlet for Undetached {
    fn name(&self) -> String {
        self.0.buildlet.name()
    }

    async fn status(&self) -> Result<Status> {
        self.0.buildlet.status().await
    }

    async fn work_dir(&self) -> Result<String> {
        self.0.buildlet.work_dir().await
    }

    async fn platform(&self) -> Result<(String, String)> {
        self.0.buildlet.platform().await
    }

    async fn put(&self, path: &str, mode: u32, contents: ByteStream) -> Result<()> {
        self.0.buildlet.put(path, mode, contents).await
    }

    async fn put_tar(&self, tgz: ByteStream, dir: &str) -> Result<()> {
        self.0.buildlet.put_tar(tgz, dir).await
    }

    async fn get_tar(&self, dir: &str) -> Result<ByteStream> {
        self.0.buildlet.get_tar(dir).await
    }

    async fn get_files(&self, dir: &str, paths: &[Name]) -> Result<ByteStream> {
        self.0.buildlet.get_files(dir, paths).await
    }

    async fn list_dir(&self, what: &ListDir) -> Result<Vec<DirEntry>> {
        self.0.buildlet.list_dir(what).await
    }

    async fn remove_all(&self, paths: &[String]) -> Result<()> {
        self.0.buildlet.remove_all(paths).await
    }

    async fn stream(&self, exec: Exec) -> Result<ExecStream> {
        self.0.buildlet.stream(exec).await
    }

    async fn start(&self, exec: Exec) -> Result<ExecStatus> {
        let Some(id) = exec.id.clone() else {
            let text = "detached command without an id";
            return Err(Error::new(ErrorKind::Invalid, text));
        };
        let run = {
            let mut execs = self.execs();
            if let Some(known) = execs.get(&id) {
                return Ok(known.status(&id));
            }
            let run = Arc::new(Run {
                file: self.0.dir.path().join(format!("{:08}", execs.len())),
                state: watch::Sender::default(),
                kill: CancellationToken::new(),
            });
            execs.insert(id.clone(), Arc::clone(&run));
            run
        };
        let limits = Limits {
            timeout: exec.timeout,
            quiet: exec.quiet,
        };
        match self.0.buildlet.stream(exec).await {
            Ok(output) => {
                let recording = Arc::clone(&run).record(output, limits);
                self.0.supervisor.spawn("command", recording);
                Ok(run.status(&id))
            }
            Err(error) => {
                // It may run all the same, and ends with its connection: it is not tried again.
                let text = error.chain();
                let shared = Arc::new(error);
                run.state
                    .send_modify(|state| state.end = Some(Err(Arc::clone(&shared))));
                Err(Error::caused_by(shared.kind(), text, shared))
            }
        }
    }

    async fn attach(&self, id: &ExecId, offset: u64) -> Result<ExecStream> {
        let run = self.find(id)?;
        let reader = Reader {
            state: run.state.subscribe(),
            run,
            file: None,
            offset,
        };
        Ok(Box::pin(stream::unfold(Some(reader), |reader| async {
            let mut reader = reader?;
            let event = reader.next().await;
            let more = matches!(event, Ok(ExecEvent::Output(_)));
            Some((event, more.then_some(reader)))
        })))
    }

    async fn exec_status(&self, id: &ExecId) -> Result<ExecStatus> {
        Ok(self.find(id)?.status(id))
    }

    async fn started(&self) -> Result<Vec<ExecStatus>> {
        let execs = self.execs();
        Ok(execs.iter().map(|(id, run)| run.status(id)).collect())
    }

    async fn kill(&self, id: &ExecId) -> Result<()> {
        let run = self.find(id)?;
        run.kill.cancel();
        let mut state = run.state.subscribe();
        // The sender is in `run`.
        let _ = state.wait_for(|state| state.end.is_some()).await;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.0.buildlet.close().await
    }
}
