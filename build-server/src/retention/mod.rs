//! What is thrown away or made small, and when: logs and kept files go after a while, events of
//! builds that ended are packed, results are kept for ever.
//!
//! A reconciler: it compares what lies on the disk with what the records say, as often as it
//! likes, and a sweep that was cut off is finished by the next one.

mod artifacts;

use std::time::Duration;

use build_core::Result;
use build_core::clock::{Clock, Timestamp};
use build_core::event::{MemoKey, Seq};
use build_core::ids::BuildId;
use tokio::time::sleep;

use crate::readers::{self, LedgerMemos, Outboxes};
use crate::store::{Ledger, Store};

pub use self::artifacts::KeepArtifacts;

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
    keep_artifacts: KeepArtifacts,
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
    /// Contents of kept files that were removed.
    pub files: usize,
}

impl<C: Clock> Retention<C> {
    /// Keeps the logs of each build for `keep_logs` after its end.
    pub fn new(store: Store, clock: C, keep_logs: Duration) -> Self {
        Self {
            store,
            clock,
            keep_logs,
            keep_events: KEEP_EVENTS,
            keep_artifacts: KeepArtifacts::default(),
            readers: None,
        }
    }

    /// Packs the events of each build this long after its end. Default: [`KEEP_EVENTS`].
    #[must_use]
    pub fn keep_events(mut self, keep: Duration) -> Self {
        self.keep_events = keep;
        self
    }

    /// How long files that builds have kept stay. Default: for ever, but where a step says less.
    #[must_use]
    pub fn keep_artifacts(mut self, keep: KeepArtifacts) -> Self {
        self.keep_artifacts = keep;
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
                Ok(Swept {
                    builds,
                    packed,
                    files,
                }) => {
                    tracing::info!(
                        builds,
                        packed,
                        files,
                        "old logs and files were removed, old events packed"
                    );
                }
                Err(error) => tracing::warn!(error = error.chain(), "cannot tidy up"),
            }
            sleep(SWEEP_EVERY).await;
        }
    }

    /// Removes the logs and kept files and packs the events of builds that ended long enough ago. Open builds,
    /// and directories that belong to no recorded build, are left alone.
    ///
    /// Cancel safe: the next sweep goes on.
    ///
    /// # Errors
    /// When the records or the logs cannot be read, or something cannot be removed or packed.
    pub async fn sweep(&self) -> Result<Swept> {
        let before = self.clock.now() - self.keep_events;
        let mut swept = self.remove_logs().await?;
        swept.files = artifacts::sweep(&self.store, &self.keep_artifacts, self.clock.now()).await?;
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
    use build_core::event::{Artifact, Batch, BuildEvent, NewEvent, Outcome, Principal, Version};
    use build_core::ids::{BuilderName, CommitHash, RepoName, StepName};
    use build_core::plan::{Plan, Step};
    use build_core::work::{Class, WorkItem};

    use futures::TryStreamExt as _;

    use super::*;
    use crate::store::{BlobKind, FileLogs};

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

    /// A build whose step "a" has kept files with these contents.
    async fn keep(
        store: &Store,
        clock: &ManualClock,
        n: u64,
        own: Option<Duration>,
        texts: &[&str],
    ) {
        let build = BuildId::from_bits(n);
        let name = StepName::new("a").unwrap();
        let mut step = Step::new(name.clone(), "x");
        step.artifacts_keep = own;
        let mut artifacts = Vec::new();
        for text in texts {
            let contents = build_client::once((*text).to_owned());
            let stored = store.blobs().put_by_hash(BlobKind::Artifact, contents);
            let (_, info) = stored.await.unwrap();
            artifacts.push(Artifact {
                path: (*text).into(),
                size: info.size,
                sha256: info.sha256,
            });
        }
        let told = [
            queued(),
            BuildEvent::Planned {
                plan: Plan::new(vec![step], "t").unwrap(),
            },
            BuildEvent::Kept {
                step: name,
                artifacts,
                snapshot: None,
            },
            BuildEvent::Finished {
                outcome: Outcome::Passed,
            },
        ];
        let event = |event: &BuildEvent| {
            NewEvent::new(&build, clock.now(), Principal::farm(), event).unwrap()
        };
        let batch = Batch {
            expects: vec![((&build).into(), Version(0))],
            events: told.iter().map(event).collect(),
            closes: vec![(&build).into()],
            memos: Vec::new(),
        };
        store.ledger().append(batch).await.unwrap();
    }

    async fn left(store: &Store) -> Vec<String> {
        let mut left = Vec::new();
        for key in store.blobs().keys(BlobKind::Artifact).await.unwrap() {
            let contents = store.blobs().get(&key).await.unwrap().unwrap();
            let pieces: Vec<_> = contents.try_collect().await.unwrap();
            left.push(String::from_utf8(pieces.concat()).unwrap());
        }
        left.sort();
        left
    }

    #[tokio::test]
    async fn kept_files_go_after_their_time_and_shared_ones_with_the_last() {
        let store = Store::memory();
        let clock = ManualClock::at(Timestamp::from_seconds(1_600_000_000));
        keep(&store, &clock, 1, None, &["one", "shared"]).await;
        keep(&store, &clock, 2, Some(2 * DAY), &["short"]).await;
        clock.advance(5 * DAY);
        keep(&store, &clock, 3, Some(90 * DAY), &["shared", "three"]).await;
        let farm = KeepArtifacts::default().age(Some(10 * DAY));
        let retention = Retention::new(store.clone(), clock.clone(), KEEP_LOGS);
        let retention = retention.keep_artifacts(farm);
        assert_eq!(retention.sweep().await.unwrap().files, 1);
        assert_eq!(left(&store).await, ["one", "shared", "three"]);
        let row = store.records().build(&BuildId::from_bits(3)).await.unwrap();
        let (row, name) = (row.unwrap(), StepName::new("a").unwrap());
        let until = farm.until(&row, &name).unwrap();
        assert_eq!(
            until,
            clock.now() + 10 * DAY,
            "never longer than the farm says"
        );

        clock.advance(6 * DAY);
        // Somebody reads a file whose time is over.
        let one = store.blobs().keys(BlobKind::Artifact).await.unwrap();
        let mut reading = Vec::new();
        for key in &one {
            reading.push(store.in_use().read(key).await);
        }
        assert_eq!(retention.sweep().await.unwrap().files, 0);
        drop(reading);
        assert_eq!(retention.sweep().await.unwrap().files, 1);
        assert_eq!(left(&store).await, ["shared", "three"]);
        clock.advance(5 * DAY);
        assert_eq!(retention.sweep().await.unwrap().files, 2);
        assert!(left(&store).await.is_empty());
    }

    #[tokio::test]
    async fn the_oldest_files_make_room() {
        let store = Store::memory();
        let clock = ManualClock::at(Timestamp::from_seconds(1_600_000_000));
        for (n, texts) in [
            (1, ["0123", "both"]),
            (2, ["4567", "both"]),
            (3, ["89", "new"]),
        ] {
            keep(&store, &clock, n, None, &texts).await;
            clock.advance(DAY);
        }
        let sweep = async |most: u64| {
            let keep = KeepArtifacts::default().bytes(Some(most));
            let retention = Retention::new(store.clone(), clock.clone(), KEEP_LOGS);
            let swept = retention.keep_artifacts(keep).sweep().await.unwrap();
            (swept.files, left(&store).await.join(" "))
        };
        assert_eq!(sweep(17).await, (0, "0123 4567 89 both new".to_owned()));
        assert_eq!(sweep(16).await, (1, "4567 89 both new".to_owned()));
        // The second build goes with what it has alone, then with what it shared.
        assert_eq!(sweep(9).await, (1, "89 both new".to_owned()));
        assert_eq!(sweep(8).await, (1, "89 new".to_owned()));
        assert_eq!(sweep(0).await, (2, String::new()));
    }

    #[tokio::test]
    async fn a_farm_without_logs_has_nothing_to_remove() {
        let retention = Retention::new(Store::memory(), ManualClock::default(), KEEP_LOGS);
        assert_eq!(retention.sweep().await.unwrap(), Swept::default());
    }
}
