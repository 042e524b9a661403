//! One detached command from its start to its end.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use build_core::buildlet::{Exec, ExecOutcome};
use tokio::time::{Instant, timeout};

use super::limits::Watch;
use super::pump::{Pumped, Running, pump, stop_pair};
use super::spool::Writer;
use super::{Detached, End, Entry};
use crate::buildlet::exec::{END_GRACE, OUTPUT_GRACE, SHUTDOWN_GRACE};
use crate::buildlet::processes::{Child, Exit, Grace, os_words};
use crate::supervise::Task;

pub(super) struct Run {
    detached: Detached,
    entry: Arc<Entry>,
    exec: Exec,
    dir: PathBuf,
    child: Child,
    started: Instant,
}

/// Why a command ends.
enum Cause {
    /// Its first process ended.
    Exited(Exit),
    /// It has to end, within this time.
    Stopped(ExecOutcome, Duration),
}

/// The moving of output, going on or over.
enum Pumping {
    Going(Task<io::Result<Pumped>>),
    Over(io::Result<Pumped>),
}

impl Pumping {
    /// Waits for its end. Cancel safe; answers again when it is over.
    async fn over(&mut self) -> &io::Result<Pumped> {
        if let Self::Going(task) = self {
            *self = Self::Over(
                task.await
                    .unwrap_or_else(|error| Err(io::Error::other(error))),
            );
        }
        match self {
            Self::Over(result) => result,
            Self::Going(_) => unreachable!("the line above has put the result in place"),
        }
    }

    /// Waits for its failure, for ever when it goes well. Cancel safe.
    async fn failed(&mut self) -> ExecOutcome {
        match self.over().await {
            Err(error) => output_lost(error),
            Ok(_) => std::future::pending().await,
        }
    }
}

/// How a command ends whose output cannot be kept.
fn output_lost(error: &io::Error) -> ExecOutcome {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ExecOutcome::DiskQuota,
        _ => ExecOutcome::Limit(format!("output cannot be kept: {}", os_words(error))),
    }
}

impl Run {
    pub(super) fn new(
        detached: Detached,
        entry: Arc<Entry>,
        exec: Exec,
        dir: PathBuf,
        child: Child,
    ) -> Self {
        Self {
            detached,
            entry,
            exec,
            dir,
            child,
            started: Instant::now(),
        }
    }

    /// Waits for the end of the command, or brings it about; ends its tree; keeps how it ended.
    pub(super) async fn see_to_end(mut self, output: OwnedFd, writer: Writer) {
        let head = writer.written();
        // Open until the tree has ended: a command whose output cannot be kept is ended by us, for
        // that reason, and not by a closed pipe.
        let output = Arc::new(output);
        let end = match self.start_pump(output.clone(), writer) {
            Ok((running, mut pumping)) => {
                let cause = self.cause(&mut pumping).await;
                self.finish(cause, running, pumping).await
            }
            Err(error) => {
                self.child.end_tree(Grace::None).await;
                End {
                    outcome: output_lost(&error),
                    written: head,
                    truncated: true,
                }
            }
        };
        drop(output);
        let (entry, spool) = (self.entry.clone(), self.detached.0.spool.clone());
        let keep = move || entry.end(&spool, end);
        // A panic is told by the supervisor; nothing else can fail here.
        let _ = self
            .detached
            .0
            .supervisor
            .spawn_blocking("keep a status", keep)
            .await;
    }

    fn start_pump(&self, output: Arc<OwnedFd>, writer: Writer) -> io::Result<(Running, Pumping)> {
        let (running, stop) = stop_pair()?;
        let state = self.entry.state.clone();
        let work = move || pump(&output, &stop, writer, &state);
        let name = format!("output of {}", self.entry.id);
        let task = self.detached.0.supervisor.spawn_blocking(&name, work);
        Ok((running, Pumping::Going(task)))
    }

    async fn cause(&mut self, pumping: &mut Pumping) -> Cause {
        let supervisor = &self.detached.0.supervisor;
        let (bounds, is_counted) = self.child.bounds();
        let watch = Watch {
            bounds,
            is_counted,
            place: self.detached.0.processes.place(),
            limits: &self.exec,
            started: self.started,
            state: self.entry.follow(),
            dir: &self.dir,
            supervisor,
            measure: self.child.meter(),
        };
        tokio::select! {
            exit = self.child.wait() => Cause::Exited(exit),
            outcome = watch.exceeded() => Cause::Stopped(outcome, END_GRACE),
            outcome = pumping.failed() => Cause::Stopped(outcome, END_GRACE),
            () = self.entry.kill.cancelled() => Cause::Stopped(ExecOutcome::Killed, END_GRACE),
            () = supervisor.token().cancelled() => Cause::Stopped(ExecOutcome::Killed, SHUTDOWN_GRACE),
        }
    }

    /// Ends what still runs and collects the output that is left. Returns the bytes kept too.
    async fn finish(&mut self, cause: Cause, running: Running, mut pumping: Pumping) -> End {
        let (outcome, grace) = match cause {
            Cause::Exited(exit) => {
                // Whoever still holds the pipe may have something to say, for a moment; no more.
                match timeout(OUTPUT_GRACE, pumping.over()).await {
                    Ok(Err(error)) => (output_lost(error), END_GRACE),
                    Ok(Ok(_)) | Err(_) => (exit.outcome(), END_GRACE),
                }
            }
            Cause::Stopped(outcome, grace) => (outcome, grace),
        };
        let held = matches!(pumping, Pumping::Going(_));
        self.child.end_tree(Grace::Wait(grace)).await;
        // Takes the first process off when it was ended just now.
        let _ = timeout(OUTPUT_GRACE, self.child.wait()).await;
        drop(running);
        match pumping.over().await {
            Ok(pumped) => End {
                outcome,
                written: pumped.written,
                truncated: pumped.truncated || held,
            },
            Err(_) => End {
                outcome,
                written: self.entry.report().output_bytes,
                truncated: true,
            },
        }
    }
}
