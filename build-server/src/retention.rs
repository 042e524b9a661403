//! What is thrown away or made small, and when: logs go after a while, events of builds that
//! ended are packed, results are kept for ever.
//!
//! A reconciler: it compares what lies on the disk with what the records say, as often as it
//! likes, and a sweep that was cut off is finished by the next one.

use std::time::Duration;

use build_core::Result;
use build_core::clock::{Clock, Timestamp};
use build_core::event::{MemoKey, Seq};
use build_core::ids::BuildId;
use tokio::time::sleep;

use crate::readers::{self, LedgerMemos, Outboxes};
use crate::store::{Ledger, Store};

/// How long logs are kept when nothing is said.
pub const KEEP_LOGS: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How long the events of a build stay as they were written: whoever follows the log of all
/// events and was away for less has missed nothing.
pub const KEEP_EVENTS: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Between two sweeps: a look at each build's directory is cheap, but not free.
const SWEEP_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// Throws away what is kept no longer.
pub struct Retention<C> {
    store: Store,
    clock: C,
    keep_logs: Duration,
    keep_events: Duration,
    readers: Option<(Outboxes, LedgerMemos)>,
}

/// What a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Builds whose logs were removed.
    pub builds: usize,
    /// Events that were packed.
    pub packed: usize,
}

impl<C: Clock> Retention<C> {
    /// Keeps the logs of each build for `keep_logs` after its end.
    pub fn new(store: Store, clock: C, keep_logs: Duration) -> Self {
        Self {
            store,
            clock,
            keep_logs,
            keep_events: KEEP_EVENTS,
            readers: None,
        }
    }

    /// Packs the events of each build this long after its end. Default: [`KEEP_EVENTS`].
    #[must_use]
    pub fn keep_events(mut self, keep: Duration) -> Self {
        self.keep_events = keep;
        self
    }

    /// Parks readers that have read nothing for 30 days: those that run by themselves, of others
    /// the memos that `ledger` writes. Default: none is parked.
    #[must_use]
    pub fn park_readers(mut self, outboxes: Outboxes, ledger: &Ledger) -> Self {
        self.readers = Some((outboxes, LedgerMemos::new(ledger)));
        self
    }

    /// Sweeps for ever; what fails is told in the log and tried again at the next sweep.
    pub async fn run(self) {
        loop {
            match self.sweep().await {
                Ok(Swept { builds, packed }) => {
                    tracing::info!(builds, packed, "old logs were removed, old events packed");
                }
                Err(error) => tracing::warn!(error = error.chain(), "cannot tidy up"),
            }
            sleep(SWEEP_EVERY).await;
        }
    }

    /// Removes the logs and packs the events of builds that ended long enough ago. Open builds,
    /// and directories that belong to no recorded build, are left alone.
    ///
    /// Cancel safe: the next sweep goes on.
    ///
    /// # Errors
    /// When the records or the logs cannot be read, or something cannot be removed or packed.
    pub async fn sweep(&self) -> Result<Swept> {
        let before = self.clock.now() - self.keep_events;
        let mut swept = self.remove_logs().await?;
        self.park().await?;
        let cursors = MemoKey::new("cursor/")?;
        let cursors = self.store.events().memos(&cursors).await?;
        // Packed events can be read; it is only slower for whoever is far behind.
        let floor = readers::floor(&cursors)?.unwrap_or(Seq(u64::MAX));
        loop {
            // One pack at a time: builds that run record what they do in between.
            match self.store.events().pack(before, floor).await? {
                0 => return Ok(swept),
                packed => swept.packed += packed,
            }
        }
    }

    async fn park(&self) -> Result<()> {
        let Some((outboxes, memos)) = &self.readers else {
            return Ok(());
        };
        let end = self.store.events().head().await?;
        let running = outboxes.all();
        for outbox in &running {
            // One that has just ended is parked by the next sweep.
            let _ended = outbox.park(end.0).await;
        }
        let is_running = |name: &_| running.iter().any(|outbox| outbox.name() == name);
        readers::park(memos, is_running, end, self.clock.now()).await?;
        Ok(())
    }

    async fn remove_logs(&self) -> Result<Swept> {
        let (logs, now) = (self.store.logs(), self.clock.now());
        let mut swept = Swept::default();
        for build in logs.builds().await? {
            if self.is_over(&build, now).await? {
                logs.remove(&build).await?;
                swept.builds += 1;
            }
        }
        Ok(swept)
    }

    async fn is_over(&self, build: &BuildId, now: Timestamp) -> Result<bool> {
        let row = self.store.records().build(build).await?;
        let ended = row.filter(|row| !row.is_open()).and_then(|r| r.finished);
        Ok(ended.is_some_and(|ended| now.since(ended) > self.keep_logs))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use build_core::clock::ManualClock;
    use build_core::event::{Batch, BuildEvent, NewEvent, Outcome, Principal, Version};
    use build_core::ids::{BuilderName, CommitHash, RepoName};
    use build_core::work::{Class, WorkItem};

    use super::*;
    use crate::store::FileLogs;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn queued() -> BuildEvent {
        BuildEvent::Queued {
            item: WorkItem {
                repo: RepoName::new("r").unwrap(),
                origin: "/r".into(),
                commit: CommitHash::new("0".repeat(40)).unwrap(),
                commit_time: Timestamp::default(),
                subject: String::new(),
                branch: None,
                tag: None,
                order: None,
                change: None,
                author: None,
                class: Class::DefaultTip,
                labels: Default::default(),
                worktree: false,
                rerun_of: None,
                repo_id: None,
                host: None,
                patch_set: None,
                trust: Default::default(),
                rest: Default::default(),
            },
            builder: BuilderName::new("local").unwrap(),
        }
    }

    #[tokio::test]
    async fn logs_go_after_their_time_and_results_stay() {
        let store = Store::memory();
        let clock = ManualClock::at(Timestamp::from_seconds(1_600_000_000));
        let (ended, open) = (BuildId::from_bits(1), BuildId::from_bits(2));
        let event = |build: &BuildId, event| {
            NewEvent::new(build, clock.now(), Principal::farm(), &event).unwrap()
        };
        let outcome = Outcome::Passed;
        let batch = Batch {
            expects: vec![((&ended).into(), Version(0)), ((&open).into(), Version(0))],
            events: vec![
                event(&ended, queued()),
                event(&open, queued()),
                event(&ended, BuildEvent::Finished { outcome }),
            ],
            closes: vec![(&ended).into()],
            memos: Vec::new(),
        };
        store.ledger().append(batch).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = store.with_logs(Arc::new(FileLogs::new(dir.path())));
        let logs = dir.path();
        for name in [ended.as_str(), open.as_str(), "B00000000f", "notes"] {
            std::fs::create_dir_all(logs.join(name)).unwrap();
            std::fs::write(logs.join(name).join("x.log"), "text").unwrap();
        }
        let retention = Retention::new(store.clone(), clock.clone(), KEEP_LOGS);
        clock.advance(90 * DAY);
        assert_eq!(retention.sweep().await.unwrap().builds, 0, "not yet");
        clock.advance(DAY);
        assert_eq!(retention.sweep().await.unwrap().builds, 1);
        assert!(!logs.join(ended.as_str()).exists());
        for kept in [open.as_str(), "B00000000f", "notes"] {
            assert!(logs.join(kept).exists(), "{kept}");
        }
        assert_eq!(retention.sweep().await.unwrap().builds, 0);
        let row = store.records().build(&ended).await.unwrap().unwrap();
        assert_eq!(row.outcome, Some(Outcome::Passed));
    }

    #[tokio::test]
    async fn a_farm_without_logs_has_nothing_to_remove() {
        let retention = Retention::new(Store::memory(), ManualClock::default(), KEEP_LOGS);
        assert_eq!(retention.sweep().await.unwrap(), Swept::default());
    }
}
