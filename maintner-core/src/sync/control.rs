//! The strings of a running synchronisation: wake, stop, look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::Progress;

/// What a host's reader is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HostState {
    /// Nothing was read yet.
    #[default]
    Starting,
    /// Reading.
    Syncing,
    /// The host asked for patience.
    Waiting,
    /// In step; looking again later.
    InStep,
    /// The last try failed; there will be another.
    Failing,
}

impl HostState {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Syncing => "syncing",
            Self::Waiting => "waiting",
            Self::InStep => "in step",
            Self::Failing => "failing",
        }
    }
}

/// What is known of one host.
#[derive(Debug, Clone, Default)]
pub struct HostStatus {
    /// What its reader is at.
    pub state: HostState,
    /// How far.
    pub progress: Progress,
    /// When the first comparison began.
    pub began: Option<SystemTime>,
    /// When it was last in step.
    pub in_step: Option<SystemTime>,
    /// Mutations written since the start.
    pub mutations: u64,
    /// Why the last try failed.
    pub error: Option<String>,
}

impl HostStatus {
    /// How long the present work will take at the pace it had so far.
    pub fn remaining(&self, now: SystemTime) -> Option<Duration> {
        let (done, total) = (self.progress.done, self.progress.total?);
        let spent = now.duration_since(self.began?).ok()?;
        if done == 0 || done >= total {
            return None;
        }
        Some(spent.mul_f64((total - done) as f64 / done as f64))
    }
}

#[derive(Debug, Default)]
struct Inner {
    stopped: bool,
    woken: BTreeSet<String>,
    hosts: BTreeMap<String, HostStatus>,
}

/// Handle of a running synchronisation. Clones are handles to the same one.
#[derive(Debug, Clone, Default)]
pub struct Control {
    shared: Arc<(Mutex<Inner>, Condvar)>,
}

impl Control {
    /// A handle of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every change of `Inner` is a single step, so a panic elsewhere leaves a whole one.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the synchronisation: after the step that is under way.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.shared.1.notify_all();
    }

    /// Whether it was told to stop.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// There is news at the host of this name. Remembered until its reader gets to it, also
    /// while it is reading: no wake-up is lost.
    pub fn wake(&self, name: &str) {
        self.lock().woken.insert(name.to_owned());
        self.shared.1.notify_all();
    }

    /// What is known of each host, by name.
    pub fn hosts(&self) -> BTreeMap<String, HostStatus> {
        self.lock().hosts.clone()
    }

    pub(super) fn update(&self, name: &str, change: impl FnOnce(&mut HostStatus)) {
        change(self.lock().hosts.entry(name.to_owned()).or_default());
    }

    /// Waits; ends early when told to stop.
    pub fn pause(&self, patience: Duration) {
        self.wait(None, patience);
    }

    /// Waits until it is told to stop.
    pub fn wait_for_stop(&self) {
        let runs = |inner: &mut Inner| !inner.stopped;
        let waited = self.shared.1.wait_while(self.lock(), runs);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes the wake-up of a host, if there is one.
    pub(super) fn take(&self, name: &str) -> bool {
        self.lock().woken.remove(name)
    }

    /// Waits; ends early when told to stop, or (if a name is given) when that host is woken.
    pub(super) fn wait(&self, name: Option<&str>, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut inner = self.lock();
        while !inner.stopped && !name.is_some_and(|name| inner.woken.contains(name)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.1.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_before_the_wait_counts() {
        let control = Control::new();
        control.wake("git:a");
        control.wait(Some("git:a"), Duration::from_secs(60));
        assert!(control.take("git:a") && !control.take("git:a"));
        control.stop();
        control.wait(None, Duration::from_secs(60));
        assert!(control.is_stopped());
    }

    #[test]
    fn the_time_that_is_left() {
        let began = SystemTime::UNIX_EPOCH;
        let status = HostStatus {
            began: Some(began),
            progress: Progress {
                done: 25,
                total: Some(100),
                ..Progress::default()
            },
            ..HostStatus::default()
        };
        let now = began + Duration::from_secs(10);
        assert_eq!(status.remaining(now), Some(Duration::from_secs(30)));
    }
}
