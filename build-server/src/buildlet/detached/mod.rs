//! Commands that go on when the connection that started them ends.
//!
//! Each has an id, by which it is started at most once; its output is spooled to disk, so that
//! clients can come and go and attach at any offset. Protocol facts: docs/protocol/buildlet.md.

mod limits;
mod pump;
mod run;
mod spool;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use build_core::buildlet::{Exec, ExecOutcome, ExecReport, ExecState};
use build_core::clock::Timestamp;
use build_core::ids::ExecId;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::processes::{Child, Command, Processes};
use crate::supervise::Supervisor;
pub(crate) use limits::disk_free_bytes;
use run::Run;
use spool::{Spool, Writer};

/// Commands that are remembered: enough for the life of any lease, and a bound on disk use by
/// small files.
const MOST_COMMANDS: usize = 10_000;

/// A detached command to start.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) id: ExecId,
    /// Or why it cannot be started, in the protocol's words.
    pub(crate) command: Result<Command, String>,
    /// What was asked for, with its limits.
    pub(crate) exec: Exec,
    /// Output that comes before the command's own.
    pub(crate) banner: Vec<u8>,
}

/// All detached commands of a buildlet. Clones share them.
#[derive(Clone)]
pub(crate) struct Detached(Arc<Shared>);

struct Shared {
    supervisor: Supervisor,
    processes: Processes,
    spool: Spool,
    entries: Mutex<HashMap<ExecId, Arc<Entry>>>,
}

/// One command, running or ended.
pub(crate) struct Entry {
    id: ExecId,
    state: watch::Sender<State>,
    kill: CancellationToken,
}

/// How far a command is.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Its output bytes are those in the file.
    pub(crate) report: ExecReport,
    /// When the command wrote last, or was started.
    last_output: Instant,
}

impl State {
    pub(crate) fn is_ended(&self) -> bool {
        self.report.state != ExecState::Running
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    outcome: ExecOutcome,
    written: u64,
    /// A part of the output is missing.
    truncated: bool,
}

/// Why a command was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(
        "{MOST_COMMANDS} commands are remembered already; halt this buildlet and start another"
    )]
    TooMany,
    #[error("cannot spool the output of {0}")]
    Spool(ExecId, #[source] io::Error),
}

impl Detached {
    /// Opens the spool in `dir`; what an earlier process had not ended is lost from then on.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub(crate) fn open(
        supervisor: Supervisor,
        processes: Processes,
        dir: PathBuf,
    ) -> io::Result<Self> {
        let spool = Spool::open(dir)?;
        let found = spool.recover(now())?.into_iter();
        let entries = found.map(|report| (report.id.clone(), Arc::new(Entry::new(report))));
        let entries = Mutex::new(entries.collect());
        Ok(Self(Arc::new(Shared {
            supervisor,
            processes,
            spool,
            entries,
        })))
    }

    /// Every command that is known, the oldest first.
    pub(crate) fn reports(&self) -> Vec<ExecReport> {
        let mut reports: Vec<_> = self
            .entries()
            .values()
            .map(|entry| entry.report())
            .collect();
        reports.sort_by_key(|report| report.started_us);
        reports
    }

    /// Forgets a command that has ended, and its output; `false` while it runs.
    pub(crate) fn forget(&self, entry: &Entry) -> bool {
        let ended = entry.state.borrow().is_ended();
        if ended {
            self.entries().remove(&entry.id);
            self.0.spool.remove(&entry.id);
        }
        ended
    }

    pub(crate) fn find(&self, id: &ExecId) -> Option<Arc<Entry>> {
        self.entries().get(id).cloned()
    }

    /// Starts a command, unless one of that id is known: then only its status is told. A command
    /// that could not be started has ended; that is no error.
    pub(crate) async fn start(&self, order: Order) -> Result<ExecReport, StartError> {
        let entry = match self.enter(&order.id)? {
            Ok(new) => new,
            Err(known) => return Ok(known.report()),
        };
        if let Err(error) = self.launch(&entry, &order).await {
            self.entries().remove(&order.id);
            self.0.spool.remove(&order.id);
            return Err(StartError::Spool(order.id, error));
        }
        Ok(entry.report())
    }

    /// A new entry, or the one that is there.
    fn enter(&self, id: &ExecId) -> Result<Result<Arc<Entry>, Arc<Entry>>, StartError> {
        let mut entries = self.entries();
        if let Some(known) = entries.get(id) {
            return Ok(Err(known.clone()));
        }
        if entries.len() >= MOST_COMMANDS {
            return Err(StartError::TooMany);
        }
        let entry = Arc::new(Entry::new(ExecReport::started(id.clone(), None, now())));
        entries.insert(id.clone(), entry.clone());
        Ok(Ok(entry))
    }

    async fn launch(&self, entry: &Arc<Entry>, order: &Order) -> io::Result<()> {
        let shared = &*self.0;
        let mut writer = self.create_files(entry.report(), order).await?;
        let (child, output, dir) = match shared.start_process(order) {
            Ok(started) => started,
            Err(text) => {
                writer.finish()?;
                let outcome = ExecOutcome::NotStarted(text);
                entry.end(
                    &shared.spool,
                    End {
                        outcome,
                        written: writer.written(),
                        truncated: false,
                    },
                );
                return Ok(());
            }
        };
        entry.state.send_modify(|state| {
            state.report.pid = Some(child.pid());
            state.report.output_bytes = writer.written();
        });
        shared.spool.write_report(&entry.report(), false)?;
        let run = Run::new(self.clone(), entry.clone(), order.exec.clone(), dir, child);
        let name = format!("exec {}", order.id);
        shared
            .supervisor
            .spawn(&name, run.see_to_end(output, writer));
        Ok(())
    }

    /// The files of a command. That it starts is on the disk before it does: after a crash of
    /// the machine nobody takes it for one that never ran.
    async fn create_files(&self, report: ExecReport, order: &Order) -> io::Result<Writer> {
        let (banner, cap) = (order.banner.clone(), order.exec.log_bytes);
        let spool = self.0.spool.clone();
        let create = move || {
            let mut writer = Writer::new(spool.create_output(&report.id)?, cap);
            writer.write(&banner)?;
            spool.write_report(&report, true)?;
            Ok(writer)
        };
        let created = self.0.supervisor.spawn_blocking("note a start", create);
        created
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<ExecId, Arc<Entry>>> {
        self.0
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The output of a command, for reading.
    ///
    /// # Errors
    /// When the file is gone.
    pub(crate) fn open_output(&self, entry: &Entry) -> io::Result<File> {
        self.0.spool.open_output(&entry.id)
    }
}

impl Shared {
    fn start_process(&self, order: &Order) -> Result<(Child, OwnedFd, PathBuf), String> {
        let command = order.command.as_ref().map_err(Clone::clone)?;
        let started = self.processes.spawn(order.id.as_str(), command);
        let (child, output) = started.map_err(|error| command.spawn_failure(&error))?;
        Ok((child, output, command.dir.clone()))
    }
}

impl Entry {
    fn new(report: ExecReport) -> Self {
        let state = State {
            last_output: Instant::now(),
            report,
        };
        Self {
            id: state.report.id.clone(),
            state: watch::Sender::new(state),
            kill: CancellationToken::new(),
        }
    }

    pub(crate) fn report(&self) -> ExecReport {
        self.state.borrow().report.clone()
    }

    /// Its present state, and what comes.
    pub(crate) fn follow(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Asks for its end, and waits until it has ended.
    pub(crate) async fn kill(&self) {
        self.kill.cancel();
        // The sender is in `self`: waiting cannot fail.
        let _ = self.follow().wait_for(State::is_ended).await;
    }

    /// Writes the end down, then tells it. Blocks for the disk.
    fn end(&self, spool: &Spool, end: End) {
        let mut report = self.report().ended(&end.outcome, now());
        report.output_bytes = end.written;
        report.truncated = end.truncated;
        if let Err(error) = spool.write_report(&report, true) {
            // It is still told to whoever asks this process; after a restart it counts as lost.
            tracing::warn!(exec = %self.id, %error, "cannot keep how a command ended");
        }
        self.state.send_modify(|state| state.report = report);
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
