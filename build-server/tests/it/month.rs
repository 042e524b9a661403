//! A month of a farm that is never stopped: what it keeps stays bounded, apart from results.
//!
//! The coordinator, the database and the files are real; the clock is turned by hand, and
//! machines only say what commands printed. Kept for a shorter time than a farm's default, so
//! that a month holds several rounds: logs 5 days, events as they were written 3 days.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::buildlet::{ByteStream, ExecOutcome};
use build_core::clock::{Clock, ManualClock, Timestamp};
use build_core::event::{BuildEvent, KindSet, Seq, StreamKind};
use build_core::ids::{BuildId, CommitHash, RepoName};
use build_core::name::Name;
use build_core::recipe::Tree;
use build_core::work::{Class, WorkItem};
use build_core::{ErrorKind, Result};
use build_server::coordinator::EventStream;
use build_server::retention::Retention;
use build_server::source::{Checkouts, WorkTree};
use build_server::store::{FileBlobs, Quota, Store};
use futures::StreamExt;

use crate::farm::{FakePool, Farm, SOON, Steps, step, text, told, whole};

const DAYS: u64 = 30;
/// From here on nothing may grow any more.
const SETTLED: u64 = 15;
const ROUNDS_A_DAY: u64 = 3;
const BUILDS_A_ROUND: u64 = 23;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The test runs itself in a process of its own: others open files and take memory.
const ALONE: &str = "FARMER_TEST_ALONE";

/// Checkouts of an empty tree.
struct Empty {
    dir: tempfile::TempDir,
    packed: Vec<u8>,
}

impl Empty {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tar = Command::new("tar")
            .args(["-cz", "-C"])
            .arg(dir.path())
            .arg(".")
            .output();
        let packed = tar.unwrap().stdout;
        Self { dir, packed }
    }
}

#[async_trait]
impl Checkouts for Empty {
    async fn tree(&self, _: &WorkItem) -> Result<Box<dyn Tree>> {
        Ok(Box::new(WorkTree::at(self.dir.path())))
    }

    async fn pack(&self, _: &WorkItem, _: u32) -> Result<ByteStream> {
        let packed = bytes::Bytes::from(self.packed.clone());
        Ok(futures::stream::iter([Ok(packed)]).boxed())
    }

    async fn changed_since(&self, _: &WorkItem, _: &CommitHash) -> Result<Option<Vec<Name>>> {
        Ok(None)
    }
}

fn item(n: u64, now: Timestamp) -> WorkItem {
    WorkItem {
        repo: RepoName::new("orchard").unwrap(),
        origin: "/orchard".into(),
        commit: CommitHash::new(format!("{n:040x}")).unwrap(),
        commit_time: now,
        subject: format!("tree: grow branch number {n}"),
        branch: Some("main".into()),
        tag: None,
        order: None,
        change: None,
        author: Some("Ada <ada@example.org>".into()),
        class: Class::DefaultTip,
        labels: Default::default(),
        worktree: false,
        rerun_of: None,
        repo_id: None,
        host: None,
        patch_set: None,
        trust: Default::default(),
        rest: Default::default(),
    }
}

/// What the farm holds at the end of a day.
#[derive(Clone, Copy, Debug)]
struct Held {
    files: usize,
    /// Without the database.
    bytes: u64,
    database: u64,
    events: usize,
    descriptors: usize,
    resident: u64,
}

impl Held {
    async fn by(store: &Store, dir: &Path) -> Self {
        let mut held = Self {
            files: 0,
            bytes: 0,
            database: 0,
            events: store
                .events()
                .read(&KindSet::all(), Seq(0), usize::MAX)
                .await
                .unwrap()
                .items
                .len(),
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            resident: resident(),
        };
        let mut dirs = vec![dir.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                let about = entry.metadata().unwrap();
                if about.is_dir() {
                    dirs.push(entry.path());
                    continue;
                }
                held.files += 1;
                match entry.file_name().to_str().unwrap().starts_with("farmer.db") {
                    true => held.database += about.len(),
                    false => held.bytes += about.len(),
                }
            }
        }
        held
    }
}

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// In memory where there is such a file system: this is no test of how fast disks are.
fn data_dir() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    tempfile::tempdir_in(memory).unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

async fn until_all_ended(events: &mut EventStream, builds: u64) {
    let mut left = builds;
    let waiting = async {
        while left > 0 {
            let event = events.next().await.unwrap().unwrap();
            // The last thing that happens to a build.
            left -= u64::from(matches!(
                build_server::testing::told(&event),
                Some(BuildEvent::LeaseEnded { .. })
            ));
        }
    };
    tokio::time::timeout(SOON, waiting)
        .await
        .expect("the builds end soon");
}

#[test]
fn a_month_of_commits_fills_neither_memory_nor_disk() {
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        return runtime.unwrap().block_on(month());
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "month::a_month_of_commits_fills_neither_memory_nor_disk",
        ])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complained}");
    assert!(
        said.contains("1 passed") && said.contains("bytes a result"),
        "it has run: {said}"
    );
}

async fn month() {
    let dir = data_dir();
    let clock = ManualClock::at(Timestamp::from_seconds(1_600_000_000));
    let store = store(dir.path()).await;
    let pool = FakePool::new(BUILDS_A_ROUND as usize).scripted("/bin/sh", |_| {
        let line = "test a_branch_grows ... ok\n";
        (line.repeat(60).into_bytes(), ExecOutcome::Ok)
    });
    let timed = clock.clone();
    let farm = Farm::start_with(
        &pool,
        store.clone(),
        Steps(vec![step("test", "grow")]),
        |farm| farm.clock(timed).checkouts(Empty::new()),
    );
    let retention = Retention::new(store.clone(), clock.clone(), 5 * DAY).keep_events(3 * DAY);
    let mut events = farm.handle.all_events(Seq(0));
    let (mut builds, mut days) = (Vec::new(), Vec::new());
    for _ in 0..DAYS {
        for _ in 0..ROUNDS_A_DAY {
            for _ in 0..BUILDS_A_ROUND {
                let item = item(builds.len() as u64, clock.now());
                builds.push(farm.handle.submit(item, &farm.builder()).await.unwrap());
            }
            until_all_ended(&mut events, BUILDS_A_ROUND).await;
            pool.forget();
            clock.advance(DAY / ROUNDS_A_DAY as u32);
        }
        retention.sweep().await.unwrap();
        days.push(Held::by(&store, dir.path()).await);
    }
    judge(&days, &builds);
    check_readable(&farm, &store, &builds).await;
    assert_eq!(farm.handle.counts().outcomes["passed"], builds.len() as u64);
    farm.stop().await;
    drop((store, retention, events));
    let again = self::store(dir.path()).await;
    assert_eq!(
        again
            .events()
            .read_open(&[StreamKind::BUILD])
            .await
            .unwrap(),
        []
    );
}

async fn store(dir: &Path) -> Store {
    let mut quota = Quota::default();
    quota.source = 16 << 10;
    let blobs = FileBlobs::open(dir.join("blobs"), quota).unwrap();
    Store::open(dir).await.unwrap().with_blobs(Arc::new(blobs))
}

/// Nothing grows in the second half of the month but results.
fn judge(days: &[Held], builds: &[BuildId]) {
    let (middle, end) = (days[SETTLED as usize - 1], days[DAYS as usize - 1]);
    let results = builds.len() as u64 * (DAYS - SETTLED) / DAYS;
    let each = end.database.saturating_sub(middle.database) / results;
    println!(
        "{} builds; {each} bytes a result; {middle:?} then {end:?}",
        builds.len()
    );
    let flat = |what: &str, then: u64, now: u64, slack: u64| {
        assert!(now <= then + slack, "{what}: {then}, then {now}: {days:#?}");
    };
    flat(
        "files",
        middle.files as u64,
        end.files as u64,
        middle.files as u64 / 50,
    );
    flat("bytes of files", middle.bytes, end.bytes, middle.bytes / 50);
    flat("events", middle.events as u64, end.events as u64, 50);
    flat(
        "descriptors",
        middle.descriptors as u64,
        end.descriptors as u64,
        4,
    );
    flat("memory", middle.resident, end.resident, 8 << 20);
    assert!(each < 6000, "{each} bytes a result");
}

/// Of an old build everything is told but its output, of a new one that too.
async fn check_readable(farm: &Farm, store: &Store, builds: &[BuildId]) {
    for (build, is_old) in [(&builds[0], true), (builds.last().unwrap(), false)] {
        let row = store.records().build(build).await.unwrap().unwrap();
        assert!(row.outcome.unwrap().is_passed());
        assert_eq!(row.runs.len(), 1);
        let events = farm.events(build).await;
        assert!(
            matches!(told(&events[0]), BuildEvent::Queued { .. }),
            "{events:#?}"
        );
        let last = events.last().unwrap();
        assert!(
            matches!(told(last), BuildEvent::LeaseEnded { .. }),
            "{last:?}"
        );
        let log = farm.handle.log(build, &whole("test"), None, 0, false).await;
        match log {
            Ok(log) if !is_old => assert!(text(log).await.starts_with("test a_branch_grows")),
            Ok(_) => panic!("the log of an old build is still there"),
            Err(error) => assert!(is_old && error.kind() == ErrorKind::NotFound, "{error:?}"),
        }
    }
}
