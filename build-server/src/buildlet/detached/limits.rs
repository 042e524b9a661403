//! When a detached command has to end.

use std::io;
use std::path::Path;
use std::time::Duration;

use build_core::buildlet::{Exec, ExecOutcome};
use build_core::tree::{Taken, measure};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until};

use super::State;
use crate::buildlet::sandbox::Bounds;
use crate::supervise::Supervisor;

/// How often the disk is asked for its free space.
const DISK_POLL: Duration = Duration::from_secs(2);
/// How often the processes of a command are counted and their memory is summed up.
const TREE_POLL: Duration = Duration::from_millis(250);
/// How often what a machine has on its disk is counted, at most.
const QUOTA_POLL: Duration = Duration::from_millis(250);
/// The part of one processor that this may take.
const QUOTA_SHARE: u32 = 20;
/// A disk is nearly full when it has fewer inodes left, or not this part of them.
const FEWEST_INODES: u64 = 10_000;
const INODES_PART: u64 = 50;

/// Whether the disk that holds `path` has room for few more files. Some disks have no bound.
fn lacks_inodes(path: &Path) -> io::Result<bool> {
    let disk = rustix::fs::statvfs(path)?;
    let fewest = FEWEST_INODES.min(disk.f_files / INODES_PART);
    Ok(disk.f_files > 0 && disk.f_favail < fewest)
}

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
    /// What it may take at most.
    pub(super) bounds: Bounds,
    /// Whether the kernel sees to memory and processes.
    pub(super) is_counted: bool,
    /// The directory of its machine, where that is known.
    pub(super) place: Option<&'w Path>,
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
            limit = self.too_much_on_disk() => ExecOutcome::Limit(limit),
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
            let looked = disk_free_bytes(self.dir)
                .and_then(|free| Ok(free < floor || floor > 0 && lacks_inodes(self.dir)?));
            match looked {
                Ok(true) => return,
                Ok(false) => {}
                // The command may have removed its own work directory.
                Err(error) => tracing::debug!(%error, "cannot ask for the free space"),
            }
        }
    }

    async fn too_large(&self) -> String {
        let Bounds {
            memory_bytes,
            processes,
            ..
        } = self.bounds;
        if self.is_counted || memory_bytes.is_none() && processes.is_none() {
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
            if let Some(most) = processes.filter(|most| count as u64 > *most) {
                return format!("{most} processes");
            }
        }
    }
}

impl<M> Watch<'_, M> {
    /// The quota of a machine's directory: what it has there is counted again and again, the less
    /// often the longer that takes.
    async fn too_much_on_disk(&self) -> String {
        let Bounds {
            disk_bytes, files, ..
        } = self.bounds;
        let Some(place) = self.place.filter(|_| disk_bytes.or(files).is_some()) else {
            return std::future::pending().await;
        };
        let most_bytes = disk_bytes.unwrap_or(u64::MAX);
        let most_files = files.unwrap_or(u64::MAX);
        loop {
            let (place, begun) = (place.to_owned(), Instant::now());
            let fits =
                move |taken: &Taken| taken.bytes <= most_bytes && taken.entries <= most_files;
            let counting = move || measure(&place, fits).map(|taken| (taken, fits(&taken)));
            let counted = self.supervisor.spawn_blocking("count files", counting);
            match counted.await {
                Ok(Ok((_, true))) => {}
                Ok(Ok((taken, false))) if taken.bytes > most_bytes => {
                    return format!("{most_bytes} bytes on the disk of its machine");
                }
                Ok(Ok(_)) => return format!("{most_files} files on its machine"),
                // It moves its directories about: the next look counts again.
                Ok(Err(error)) => tracing::debug!(%error, "cannot count what a machine has"),
                Err(error) => tracing::debug!(%error, "nobody counts what a machine has"),
            }
            sleep((begun.elapsed() * QUOTA_SHARE).max(QUOTA_POLL)).await;
        }
    }
}

fn steady(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
