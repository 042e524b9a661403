//! A command of a fake buildlet: a process in a group of its own, or what a script said.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use build_core::buildlet::{Exec, ExecEvent, ExecOutcome, ExecStatus, ExecStream, Program};
use build_core::ids::ExecId;
use bytes::Bytes;
use futures::stream;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio_util::sync::CancellationToken;

use super::{files, io_error, lock};
use crate::{Error, ErrorKind, Result};

/// How often output and end are looked for.
const POLL: Duration = Duration::from_millis(2);
/// Output given in one piece.
const PIECE_BYTES: usize = 64 << 10;

pub(super) struct Command {
    id: ExecId,
    pid: Option<u32>,
    output: File,
    state: Mutex<State>,
}

struct State {
    /// `None` for scripts, and for what could not be started.
    child: Option<Child>,
    killed: bool,
    outcome: Option<ExecOutcome>,
}

impl Command {
    pub(super) fn scripted(
        id: &ExecId,
        output: &Path,
        said: (Vec<u8>, ExecOutcome),
    ) -> Result<Self> {
        std::fs::write(output, said.0).map_err(|e| io_error(output, e))?;
        Self::new(id, output, None, Some(said.1))
    }

    pub(super) fn start(id: &ExecId, output: &Path, exec: &Exec, root: &Path) -> Result<Self> {
        let file = File::create(output).map_err(|e| io_error(output, e))?;
        match spawn(exec, root, file) {
            Ok(child) => Self::new(id, output, Some(child), None),
            Err(error) => Self::new(
                id,
                output,
                None,
                Some(ExecOutcome::NotStarted(error.to_string())),
            ),
        }
    }

    fn new(
        id: &ExecId,
        output: &Path,
        child: Option<Child>,
        outcome: Option<ExecOutcome>,
    ) -> Result<Self> {
        Ok(Self {
            id: id.clone(),
            pid: child.as_ref().map(Child::id),
            output: File::open(output).map_err(|e| io_error(output, e))?,
            state: Mutex::new(State {
                child,
                killed: false,
                outcome,
            }),
        })
    }

    pub(super) fn status(&self) -> Result<ExecStatus> {
        let outcome = self.outcome()?;
        let written = self.output.metadata()?.len();
        Ok(ExecStatus::new(self.id.clone(), self.pid, outcome, written))
    }

    pub(super) fn kill(&self) {
        let mut state = lock(&self.state);
        let running = state.outcome.is_none();
        if let Some(child) = state.child.as_ref().filter(|_| running) {
            // The group is gone when everything in it has ended: nothing is left to do.
            let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
            state.killed = true;
        }
    }

    fn outcome(&self) -> Result<Option<ExecOutcome>> {
        let mut state = lock(&self.state);
        if state.outcome.is_none()
            && let Some(child) = &mut state.child
            && let Some(status) = child.try_wait()?
        {
            state.outcome = Some(if state.killed {
                ExecOutcome::Killed
            } else {
                outcome_of(status)
            });
        }
        Ok(state.outcome.clone())
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.kill();
        if let Some(child) = &mut lock(&self.state).child {
            // It was killed or has ended: this only collects it.
            let _ = child.wait();
        }
    }
}

fn spawn(exec: &Exec, root: &Path, output: File) -> io::Result<Child> {
    let program = match exec.lookup {
        Program::OfSystem => PathBuf::from(&exec.cmd),
        Program::InWorkDir => root.join(&exec.cmd),
    };
    let dir = match (&*exec.dir, exec.lookup) {
        ("", Program::InWorkDir) => program.parent().unwrap_or(root).to_owned(),
        (dir, _) => root.join(dir),
    };
    let mut command = std::process::Command::new(&program);
    command
        .args(&exec.args)
        .current_dir(dir)
        .env("WORKDIR", root)
        .process_group(0);
    for pair in &exec.env_bytes {
        let pair = pair.as_bytes();
        if let Some(at) = pair.iter().position(|byte| *byte == b'=') {
            let (name, value) = (&pair[..at], &pair[at + 1..]);
            command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
        }
    }
    for (name, value) in exec.env.iter().filter_map(|pair| pair.split_once('=')) {
        command.env(name, value);
    }
    match exec.path.as_deref() {
        None => {}
        Some([]) => drop(command.env_remove("PATH")),
        Some(elements) => drop(command.env("PATH", search_path(elements, root))),
    }
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
}

fn search_path(elements: &[String], root: &Path) -> String {
    let inherited = std::env::var("PATH").unwrap_or_default();
    elements
        .join(":")
        .replace("$PATH", &inherited)
        .replace("$WORKDIR", &root.to_string_lossy())
}

fn outcome_of(status: ExitStatus) -> ExecOutcome {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExecOutcome::of_exit(code),
        (None, signal) => ExecOutcome::of_signal(signal.unwrap_or_default(), status.core_dumped()),
    }
}

/// A look at the output of a command as it grows.
pub(super) struct Follow {
    command: Arc<Command>,
    dead: CancellationToken,
    offset: u64,
    /// Bytes until an injected fault cuts the stream.
    cut: Option<u64>,
    ends_command: bool,
}

impl Follow {
    pub(super) fn new(
        command: Arc<Command>,
        dead: CancellationToken,
        offset: u64,
        cut: Option<u64>,
    ) -> Self {
        Self {
            command,
            dead,
            offset,
            cut,
            ends_command: false,
        }
    }

    /// The command is ended when the stream is dropped.
    pub(super) fn ending_the_command(mut self) -> Self {
        self.ends_command = true;
        self
    }

    pub(super) fn stream(self) -> ExecStream {
        Box::pin(stream::unfold(Some(self), |follow| async {
            let mut follow = follow?;
            let event = follow.next().await;
            let more = matches!(event, Ok(ExecEvent::Output(_)));
            Some((event, more.then_some(follow)))
        }))
    }

    async fn next(&mut self) -> Result<ExecEvent> {
        loop {
            if self.dead.is_cancelled() {
                return Err(Error::new(ErrorKind::Unavailable, "buildlet died"));
            }
            // Asked for before the read: what was written before the end is read then.
            let outcome = self.command.outcome()?;
            if let Some(bytes) = self.read()? {
                return Ok(ExecEvent::Output(bytes));
            }
            match (self.cut, outcome) {
                (Some(0), _) => return Err(files::cut_off()),
                (_, Some(outcome)) => return Ok(ExecEvent::Ended(outcome)),
                (_, None) => tokio::time::sleep(POLL).await,
            }
        }
    }

    fn read(&mut self) -> Result<Option<Bytes>> {
        let most = self.cut.map_or(PIECE_BYTES, |cut| {
            PIECE_BYTES.min(usize::try_from(cut).unwrap_or(PIECE_BYTES))
        });
        let mut piece = vec![0; most];
        let count = self.command.output.read_at(&mut piece, self.offset)?;
        piece.truncate(count);
        self.offset += count as u64;
        if let Some(cut) = &mut self.cut {
            *cut -= count as u64;
        }
        Ok((count > 0).then(|| piece.into()))
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        if self.ends_command {
            self.command.kill();
        }
    }
}
