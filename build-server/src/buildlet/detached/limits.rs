//! When a detached command has to end.

use std::io;
use std::path::Path;
use std::time::Duration;

use build_core::buildlet::{Exec, ExecOutcome};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::State;
use crate::supervise::Supervisor;

/// How often the disk is asked for its free space.
const DISK_POLL: Duration = Duration::from_secs(2);
/// How often the processes of a command are counted and their memory is summed up.
const TREE_POLL: Duration = Duration::from_millis(250);

/// Free bytes of the disk that holds `path`, for everybody.
pub(crate) fn disk_free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Watches one command. Enforced by looking now and then, so a command may go beyond a limit for
/// as long as the interval. Memory is what its processes have that no disk backs, files in a
/// `/dev/shm` of its own included.
pub(super) struct Watch<'w, M> {
    /// What was asked for.
    pub(super) limits: &'w Exec,
    pub(super) started: Instant,
    pub(super) state: watch::Receiver<State>,
    pub(super) dir: &'w Path,
    pub(super) supervisor: &'w Supervisor,
    /// Processes and bytes of memory of the command.
    pub(super) measure: M,
}

impl<M> Watch<'_, M>
where
    M: Fn() -> io::Result<(usize, u64)> + Clone + Send + 'static,
{
    /// Waits until a limit is reached, for ever when there is none. Cancel safe.
    pub(super) async fn exceeded(&self) -> ExecOutcome {
        tokio::select! {
            () = self.too_long() => ExecOutcome::TimedOut,
            () = self.too_quiet() => ExecOutcome::Silent,
            () = self.disk_full() => ExecOutcome::DiskQuota,
            limit = self.too_large() => ExecOutcome::Limit(limit),
        }
    }

    async fn too_long(&self) {
        match self
            .limits
            .timeout
            .and_then(|limit| self.started.checked_add(limit))
        {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    }

    async fn too_quiet(&self) {
        let Some(limit) = self.limits.quiet else {
            return std::future::pending().await;
        };
        loop {
            let Some(end) = self.state.borrow().last_output.checked_add(limit) else {
                return std::future::pending().await;
            };
            sleep_until(end).await;
            if self.state.borrow().last_output + limit <= Instant::now() {
                return;
            }
        }
    }

    async fn disk_full(&self) {
        let Some(floor) = self.limits.disk_floor_bytes else {
            return std::future::pending().await;
        };
        let mut ticks = steady(DISK_POLL);
        loop {
            ticks.tick().await;
            match disk_free_bytes(self.dir) {
                Ok(free) if free < floor => return,
                Ok(_) => {}
                // The command may have removed its own work directory.
                Err(error) => tracing::debug!(%error, "cannot ask for the free space"),
            }
        }
    }

    async fn too_large(&self) -> String {
        let Exec {
            memory_bytes,
            processes,
            ..
        } = *self.limits;
        if memory_bytes.is_none() && processes.is_none() {
            return std::future::pending().await;
        }
        let mut ticks = steady(TREE_POLL);
        loop {
            ticks.tick().await;
            let measured = self
                .supervisor
                .spawn_blocking("measure a command", self.measure.clone())
                .await;
            let Ok(Ok((count, bytes))) = measured else {
                continue;
            };
            if let Some(most) = memory_bytes.filter(|most| bytes > *most) {
                return format!("memory of {most} bytes");
            }
            if let Some(most) = processes.filter(|most| count > *most as usize) {
                return format!("{most} processes");
            }
        }
    }
}

fn steady(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
