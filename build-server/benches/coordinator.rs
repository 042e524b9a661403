//! What the coordinator can do: events, restarts, builds from commit to result.
//!
//! `cargo bench -p build-server --features sqlite --bench coordinator -- [NAME…]` prints one JSON
//! line for each bench, with every sample. Builds run on real local buildlets: name the program
//! in `FARMER_BUILDLET` (`target/release/buildlet`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use build_core::buildlet::ExecOutcome;
use build_core::clock::Timestamp;
use build_core::dispatch::Dispatcher;
use build_core::event::{
    Batch, BuildEvent, NewEvent, Outcome, Principal, Seq, StreamId, StreamKind, UnitEnd, Version,
};
use build_core::ids::{
    BuildId, BuilderName, CommitHash, ExecId, LeaseId, MachineId, RepoName, StepName,
};
use build_core::plan::{Part, Plan, Step, Unit};
use build_core::recipe::{Recipe, Tree};
use build_core::schedule::DefaultPolicy;
use build_core::work::{Builder, Class, WorkItem};
use build_server::coordinator::{Coordinator, Handle};
use build_server::pool::LocalPool;
use build_server::source::GitCheckouts;
use build_server::store::Store;
use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

const NAMES: [&str; 7] = [
    "append", "group", "restart", "trivial", "burst", "output", "history",
];

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    if let Some(unknown) = args.iter().find(|a| !NAMES.contains(&a.as_str())) {
        bail!(
            "there is no bench {unknown:?}; benches: {}",
            NAMES.join(", ")
        );
    }
    for name in NAMES
        .iter()
        .filter(|n| args.is_empty() || args.iter().any(|a| a == *n))
    {
        let (unit, samples) = match *name {
            "append" => ("events/s", append(1).await?),
            "group" => ("events/s", append(64).await?),
            "restart" => ("ms", restart().await?),
            "trivial" => ("ms", trivial().await?),
            "burst" => ("ms", burst().await?),
            "output" => ("ms", output().await?),
            _ => ("ms", history().await?),
        };
        report(name, unit, samples);
    }
    Ok(())
}

fn report(name: &str, unit: &str, mut samples: Vec<f64>) {
    let raw: Vec<_> = samples.iter().map(|s| (s * 10.0).round() / 10.0).collect();
    samples.sort_by(f64::total_cmp);
    let p50 = samples[samples.len() / 2];
    let line = serde_json::json!({
        "bench": name, "unit": unit, "p50": (p50 * 10.0).round() / 10.0, "samples": raw,
        "peak_rss_mb": peak_rss_mb(),
    });
    println!("{line}");
}

/// The most memory this process ever held.
fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn item(n: u64) -> Result<WorkItem> {
    Ok(WorkItem {
        repo: RepoName::new("bench")?,
        origin: "/nowhere".into(),
        commit: CommitHash::new(format!("{n:040x}"))?,
        commit_time: Timestamp::from_seconds(1),
        subject: "a change".into(),
        branch: Some("main".into()),
        tag: None,
        order: None,
        change: None,
        author: Some("a@example.org".into()),
        class: Class::DefaultTip,
        labels: Default::default(),
        worktree: false,
        rerun_of: None,
        repo_id: None,
        host: None,
        patch_set: None,
        trust: Default::default(),
        rest: Default::default(),
    })
}

/// The events of a build of one step; the last `leave_out` did not happen yet.
fn life(n: u64, leave_out: usize) -> Result<Vec<NewEvent>> {
    let unit = Unit {
        step: StepName::new("test")?,
        part: Part::Whole,
    };
    let lease = LeaseId::from_bits(n);
    let machine = MachineId::new("local-1")?;
    let plan = Plan::new(vec![Step::new(unit.step.clone(), "make test")], "bench")?;
    let mut events = vec![
        BuildEvent::Queued {
            item: item(n)?,
            builder: BuilderName::new("local")?,
        },
        BuildEvent::Planned { plan },
        BuildEvent::Leased {
            lease: lease.clone(),
            machine,
            unit: unit.clone(),
        },
        BuildEvent::Ready {
            lease: lease.clone(),
            place: "unix:/somewhere".into(),
        },
        BuildEvent::Prepared {
            lease: lease.clone(),
            base: build_core::event::Base::Source,
            cache_hits: vec![],
            start: None,
            tool_caches: vec![],
        },
        BuildEvent::Started {
            unit: unit.clone(),
            attempt: 1,
            lease: lease.clone(),
            exec: ExecId::new("e")?,
            tests: vec![],
        },
        BuildEvent::Ended {
            unit,
            attempt: 1,
            end: UnitEnd::Exited(ExecOutcome::Ok),
            output_bytes: 9,
            took: Duration::from_secs(1),
            guessed: false,
        },
        BuildEvent::Finished {
            outcome: Outcome::Passed,
        },
        BuildEvent::LeaseEnded {
            lease,
            reason: build_core::event::LeaseEnd::Released,
        },
    ];
    events.truncate(events.len() - leave_out);
    let (at, by) = (Timestamp::from_seconds(2), Principal::farm());
    let new = |event| {
        Ok(NewEvent::new(
            BuildId::from_bits(n),
            at,
            by.clone(),
            &event,
        )?)
    };
    events.into_iter().map(new).collect()
}

/// Durable events per second, `at_once` builds advancing together.
async fn append(at_once: u64) -> Result<Vec<f64>> {
    let dir = tempfile::tempdir_in(".")?;
    let store = Store::open(dir.path()).await?;
    let ledger = store.ledger();
    let (mut head, mut n, mut samples) = (Seq(0), 0, Vec::new());
    for _ in 0..5 {
        let (begin, from) = (Instant::now(), head);
        while begin.elapsed() < Duration::from_secs(2) {
            let lives = (n..n + at_once)
                .map(|n| life(n, 0))
                .collect::<Result<Vec<_>>>()?;
            n += at_once;
            for step in 0..lives[0].len() {
                let mut batch = Batch::default();
                for event in lives.iter().map(|life| &life[step]) {
                    let stream = event.stream.clone();
                    batch.expects.push((stream.clone(), Version(step as u64)));
                    if step + 1 == lives[0].len() {
                        batch.closes.push(stream);
                    }
                    batch.events.push(event.clone());
                }
                head = ledger.append(batch).await?;
            }
        }
        samples.push((head.0 - from.0) as f64 / begin.elapsed().as_secs_f64());
    }
    Ok(samples)
}

/// From opening a store with 100,000 finished builds and 20 open ones to the dispatcher's first commands.
async fn restart() -> Result<Vec<f64>> {
    const FINISHED: u64 = 100_000;
    const OPEN: u64 = 20;
    let dir = tempfile::tempdir_in(".")?;
    let store = Store::open(dir.path()).await?;
    let ledger = store.ledger();
    let mut head = Seq(0);
    for first in (0..FINISHED).step_by(1000) {
        let mut batch = Batch::default();
        for n in first..first + 1000 {
            let stream = StreamId::from(BuildId::from_bits(n));
            batch.expects.push((stream.clone(), Version(0)));
            batch.closes.push(stream);
            batch.events.extend(life(n, 0)?);
        }
        head = ledger.append(batch).await?;
    }
    for n in FINISHED..FINISHED + OPEN {
        head = ledger
            .append(Batch {
                expects: vec![(BuildId::from_bits(n).into(), Version(0))],
                events: life(n, 3)?,
                ..Batch::default()
            })
            .await?;
    }
    drop((ledger, store));
    let mut samples = Vec::new();
    for _ in 0..5 {
        let begin = Instant::now();
        let store = open_again(dir.path()).await?;
        let events = store.events().read_open(&[StreamKind::BUILD]).await?;
        let mut dispatcher = Dispatcher::new(DefaultPolicy, [], [7; 32]);
        let restored = dispatcher.restore(events, [], Timestamp::from_seconds(3));
        samples.push(ms(begin.elapsed()));
        ensure!(!restored.effects.is_empty() && restored.damaged.is_empty());
        ensure!(dispatcher.builds().count() as u64 == OPEN);
    }
    eprintln!("restart: {} events in the log", head.0);
    Ok(samples)
}

async fn open_again(dir: &Path) -> Result<Store> {
    Store::open(dir).await.context("open the store again")
}

struct Steps(Vec<Step>);

#[async_trait]
impl Recipe for Steps {
    async fn plan(&self, _: &WorkItem, _: &Builder, tree: &dyn Tree) -> build_core::Result<Plan> {
        tree.list("").await?;
        Plan::new(self.0.clone(), "bench")
    }
}

/// A coordinator with everything on disk and real buildlets.
struct Farm {
    dir: tempfile::TempDir,
    handle: Handle,
    checkouts: GitCheckouts,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<build_core::Result<()>>,
}

impl Farm {
    async fn start(slots: usize, steps: Vec<Step>) -> Result<Self> {
        Self::start_with(slots, slots.min(2), steps).await
    }

    /// A farm with some machines ready.
    async fn start_with(slots: usize, spares: usize, steps: Vec<Step>) -> Result<Self> {
        let program = std::env::var_os("FARMER_BUILDLET").context("FARMER_BUILDLET is not set")?;
        let dir = tempfile::Builder::new().prefix("f").tempdir()?;
        let pool = LocalPool::builder(PathBuf::from(program), slots)
            .arguments(std::iter::empty::<&str>())
            .data_dir(dir.path())
            .spares(spares)
            .build()?;
        let checkouts = GitCheckouts::new(dir.path().join("git"));
        let coordinator = Coordinator::builder()
            .pool(pool)
            .recipe(Steps(steps))
            .checkouts(checkouts.clone())
            .store(Store::open(dir.path()).await?)
            .build()?;
        let stop = CancellationToken::new();
        let handle = coordinator.handle();
        let running = spawn(coordinator.run(stop.clone()));
        let farm = Self {
            dir,
            handle,
            checkouts,
            stop,
            running,
        };
        farm.spares_ready(spares).await?;
        Ok(farm)
    }

    /// Waits until so many buildlets tell where they listen.
    async fn spares_ready(&self, spares: usize) -> Result<()> {
        let machines = self.dir.path().join("machines/local");
        let begin = Instant::now();
        loop {
            let ready = match machines.read_dir() {
                Ok(found) => found
                    .flatten()
                    .filter(|machine| machine.path().join("buildlet.json").exists())
                    .count(),
                Err(_) => 0,
            };
            if ready >= spares {
                return Ok(());
            }
            ensure!(begin.elapsed() < Duration::from_secs(120), "{ready} spares");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn submit(&self, repository: &Path) -> Result<BuildId> {
        let origin = repository.to_str().context("a plain path")?;
        let item = self.checkouts.resolve(origin, None).await?;
        Ok(self
            .handle
            .submit(item, &self.handle.builders()[0].clone())
            .await?)
    }

    async fn result(&self, build: &BuildId) -> Result<()> {
        let mut events = self.handle.events(build, Seq(0));
        while let Some(event) = events.try_next().await? {
            if let Some(BuildEvent::Finished { outcome }) = event.read() {
                ensure!(outcome.is_passed(), "{outcome:?}");
                return Ok(());
            }
        }
        bail!("build {build} has no result")
    }

    async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.running.await??;
        // Machines may be deleted in the background yet.
        let begin = Instant::now();
        while let Err(error) = std::fs::remove_dir_all(self.dir.path()) {
            ensure!(begin.elapsed() < Duration::from_secs(60), error);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench is its own supervisor")]
fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(future)
}

fn step(name: &str, run: &str) -> Result<Step> {
    Ok(Step::new(StepName::new(name)?, run))
}

fn git(dir: &Path, args: &[&str]) -> Result<()> {
    let who = [
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@example.org",
        "-c",
        "gc.auto=0",
    ];
    let done = Command::new("git")
        .args(who)
        .args(args)
        .current_dir(dir)
        .status()?;
    ensure!(done.success(), "git {args:?}");
    Ok(())
}

fn commit(dir: &Path, message: &str) -> Result<()> {
    git(dir, &["add", "--all"])?;
    git(dir, &["commit", "--quiet", "-m", message])
}

/// A repository of 1,000 files.
fn thousand_files() -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    git(dir.path(), &["init", "--quiet"])?;
    for n in 0..1000 {
        let place = dir.path().join(format!("d{}", n / 50));
        std::fs::create_dir_all(&place)?;
        std::fs::write(
            place.join(format!("f{n}.txt")),
            format!("line {n}\n").repeat(100),
        )?;
    }
    commit(dir.path(), "first")?;
    Ok(dir)
}

/// Commit seen → result recorded, each time a new commit.
async fn trivial() -> Result<Vec<f64>> {
    let repository = thousand_files()?;
    let farm = Farm::start(2, vec![step("test", "true")?]).await?;
    let mut samples = Vec::new();
    for n in 0..25 {
        std::fs::write(repository.path().join("d0/f0.txt"), n.to_string())?;
        commit(repository.path(), "next")?;
        // Spares are made ready between two commits.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begin = Instant::now();
        let build = farm.submit(repository.path()).await?;
        farm.result(&build).await?;
        samples.push(ms(begin.elapsed()));
    }
    farm.stop().await?;
    // The first ones warm up caches.
    Ok(samples.split_off(5))
}

/// One build of many independent steps that sleep a second, each with a machine of its own.
async fn burst() -> Result<Vec<f64>> {
    let repository = thousand_files()?;
    let mut samples = Vec::new();
    for slots in [16, 64, 256] {
        let steps = (0..slots).map(|n| step(&format!("s{n}"), "sleep 1"));
        let farm = Farm::start_with(slots, slots, steps.collect::<Result<_>>()?).await?;
        let begin = Instant::now();
        let build = farm.submit(repository.path()).await?;
        farm.result(&build).await?;
        samples.push(ms(begin.elapsed()));
        eprintln!(
            "burst of {slots}: {} ms",
            samples[samples.len() - 1].round()
        );
        farm.stop().await?;
    }
    Ok(samples)
}

/// 1 GiB of output from a step to somebody who follows it.
async fn output() -> Result<Vec<f64>> {
    let repository = thousand_files()?;
    let run =
        "yes 'a line of output that is sixty bytes long, as many of them are' | head -c 1073741824";
    let farm = Farm::start(1, vec![step("print", run)?]).await?;
    let mut samples = Vec::new();
    for _ in 0..3 {
        let build = farm.submit(repository.path()).await?;
        let mut events = farm.handle.events(&build, Seq(0));
        while let Some(event) = events.try_next().await? {
            if event.kind.as_str() == "started" {
                break;
            }
        }
        let begin = Instant::now();
        let unit = Unit {
            step: StepName::new("print")?,
            part: Part::Whole,
        };
        let mut log = farm.handle.log(&build, &unit, None, 0, true).await?;
        let mut bytes = 0;
        while let Some(piece) = log.next().await {
            bytes += piece?.len();
        }
        samples.push(ms(begin.elapsed()));
        ensure!(bytes == 1 << 30, "{bytes} bytes arrived");
        farm.result(&build).await?;
    }
    farm.stop().await?;
    Ok(samples)
}

/// Start of a build of a repository with 300 MB of history → first byte of its output.
async fn history() -> Result<Vec<f64>> {
    let repository = tempfile::tempdir()?;
    git(repository.path(), &["init", "--quiet"])?;
    let mut noise = 1u64;
    for n in 0..300 {
        let mut bytes = Vec::with_capacity(1 << 20);
        while bytes.len() < 1 << 20 {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(n + 1);
            bytes.extend_from_slice(&(noise >> 16).to_be_bytes()[2..]);
        }
        std::fs::write(repository.path().join("noise"), bytes)?;
        commit(repository.path(), &n.to_string())?;
        if n == 10 {
            git(repository.path(), &["tag", "-a", "-m", "old", "v1"])?;
        }
    }
    let mut samples = Vec::new();
    for _ in 0..3 {
        let begin = Instant::now();
        let farm = Farm::start(1, vec![step("describe", "git describe")?]).await?;
        let build = farm.submit(repository.path()).await?;
        let mut events = farm.handle.events(&build, Seq(0));
        while let Some(event) = events.try_next().await? {
            if event.kind.as_str() == "started" {
                break;
            }
        }
        let unit = Unit {
            step: StepName::new("describe")?,
            part: Part::Whole,
        };
        let mut log = farm.handle.log(&build, &unit, None, 0, true).await?;
        let first = log.next().await.context("some output")??;
        samples.push(ms(begin.elapsed()));
        ensure!(first.starts_with(b"v1-289-g"), "{first:?}");
        farm.result(&build).await?;
        farm.stop().await?;
    }
    Ok(samples)
}
