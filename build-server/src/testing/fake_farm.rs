//! A whole farm in this process.

use std::time::Duration;

use build_core::Result;
use build_core::event::{BuildEvent, Outcome, Recorded, Seq};
use build_core::ids::{BuildId, BuilderName};
use build_core::plan::Unit;
use build_core::work::WorkItem;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{SOON, told};
use crate::coordinator::{CoordinatorBuilder, Handle};
use crate::supervise::{Supervisor, Task};

/// A coordinator that runs in the background of a test, with whatever parts it was given. It ends when
/// it is dropped.
///
/// With the twins beside it, [`FakePool`](super::FakePool),
/// [`MemoryRepository`](super::MemoryRepository), [`MemoryCheckouts`](super::MemoryCheckouts) and
/// [`Store::memory`](crate::store::Store::memory), nothing of it needs git, a network or a program:
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> build_core::Result<()> {
/// use build_core::recipe::Detect;
/// use build_server::coordinator::Coordinator;
/// use build_server::testing::{FakeFarm, FakePool, MemoryCheckouts, MemoryRepository};
///
/// let repository = MemoryRepository::new("acme/server");
/// repository.write(".farmer.toml", "[[step]]\nname = 'hello'\nrun = 'cat word'\n");
/// repository.write("word", "hello\n");
/// let item = repository.commit("first");
/// let farm = FakeFarm::start(
///     Coordinator::builder()
///         .pool(FakePool::new(1))
///         .recipe(Detect)
///         .checkouts(MemoryCheckouts::default().with(&repository)),
/// )?;
/// let built = farm.build(item).await;
/// assert!(built.passed());
/// assert_eq!(farm.log(&built.id, &built.units()[0]).await, "hello\n");
/// farm.stop().await;
/// # Ok(())
/// # }
/// ```
pub struct FakeFarm {
    handle: Handle,
    stop: CancellationToken,
    running: Task<Result<()>>,
    _ends: DropGuard,
}

impl FakeFarm {
    /// Starts what `builder` says.
    ///
    /// # Errors
    /// As [`CoordinatorBuilder::build`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(builder: CoordinatorBuilder) -> Result<Self> {
        let coordinator = builder.build()?;
        let (handle, stop) = (coordinator.handle(), CancellationToken::new());
        let running = coordinator.run(stop.clone());
        Ok(Self {
            handle,
            running: Supervisor::new("fake farm").spawn("coordinator", running),
            _ends: stop.clone().drop_guard(),
            stop,
        })
    }

    /// What a program asks of it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The first builder.
    ///
    /// # Panics
    /// When it has none.
    pub fn builder(&self) -> BuilderName {
        let first = self.handle.builders().first();
        first.expect("a farm has a builder").clone()
    }

    /// Asks for a build on the first builder and waits for its end.
    ///
    /// # Panics
    /// When it is refused, or does not end within [`SOON`].
    pub async fn build(&self, item: WorkItem) -> Built {
        let id = self.handle.submit(item, &self.builder()).await;
        self.built(&id.expect("the build is taken")).await
    }

    /// A build, once nothing more happens to it.
    ///
    /// # Panics
    /// When there is none, or it does not end within [`SOON`].
    pub async fn built(&self, id: &BuildId) -> Built {
        let events = self.handle.events(id, Seq(0));
        let all = tokio::time::timeout(SOON, events.try_collect()).await;
        let all = all.unwrap_or_else(|_| panic!("build {id} ends soon"));
        Built {
            id: id.clone(),
            events: all.expect("the events of a build can be read"),
        }
    }

    /// Waits for an event of a build.
    ///
    /// # Panics
    /// When the build ends without it, or it does not come within [`SOON`].
    pub async fn until(
        &self,
        build: &BuildId,
        mut is_it: impl FnMut(&BuildEvent) -> bool,
    ) -> Recorded {
        let mut events = self.handle.events(build, Seq(0));
        let search = async {
            while let Some(event) = events.next().await {
                let event = event.expect("the events of a build can be read");
                if told(&event).is_some_and(|told| is_it(&told)) {
                    return event;
                }
            }
            panic!("build {build} has ended without it");
        };
        let found = tokio::time::timeout(SOON, search).await;
        found.unwrap_or_else(|_| panic!("the event of build {build} comes soon"))
    }

    /// Waits until so many builds have finished since the log began.
    ///
    /// # Panics
    /// When they do not within [`SOON`].
    pub async fn until_finished(&self, count: usize) {
        let events = self.handle.all_events(Seq(0));
        let is_end = |event: &Result<Recorded>| {
            let event = event.as_ref().expect("the log can be read");
            matches!(told(event), Some(BuildEvent::Finished { .. }))
        };
        let ends = events.filter(|event| std::future::ready(is_end(event)));
        let ended = tokio::time::timeout(SOON, ends.take(count).count()).await;
        ended.unwrap_or_else(|_| panic!("{count} builds end soon"));
    }

    /// What the last attempt of a unit has said, once it has ended.
    ///
    /// # Panics
    /// When there is no such log, or it does not end within [`SOON`].
    pub async fn log(&self, build: &BuildId, unit: &Unit) -> String {
        let read = async {
            let log = self.handle.log(build, unit, None, 0, true).await?;
            let pieces: Vec<_> = log.try_collect().await?;
            Ok::<_, build_core::Error>(String::from_utf8_lossy(&pieces.concat()).into_owned())
        };
        let read = tokio::time::timeout(SOON, read).await;
        let read = read.unwrap_or_else(|_| panic!("the log of {unit} ends soon"));
        read.unwrap_or_else(|error| panic!("the log of {unit}: {}", error.chain()))
    }

    /// Asks it to stop, as the first Ctrl-C does, and does not wait.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Stops it and waits for its end.
    ///
    /// # Panics
    /// When it does not end within [`SOON`], or not well.
    pub async fn stop(self) {
        self.begin_stop();
        self.ended().await.expect("it ends well");
    }

    /// Waits for its end, whatever it is.
    ///
    /// # Errors
    /// Those of the coordinator.
    ///
    /// # Panics
    /// When it does not end within twice [`SOON`], or a task of it panicked.
    pub async fn ended(self) -> Result<()> {
        let ended = tokio::time::timeout(2 * SOON, self.running).await;
        let ended = ended.expect("the farm ends soon");
        ended.expect("nothing in it panicked")
    }

    /// `kill -9`, as far as a process can do it to a part of itself: nothing is said, nothing given back.
    pub async fn kill(self) {
        self.running.abort();
        // An aborted task says that it was.
        drop(self.running.await);
    }
}

/// A build that has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Built {
    /// Which one.
    pub id: BuildId,
    /// Everything that happened.
    pub events: Vec<Recorded>,
}

impl Built {
    /// What the known ones of its events tell.
    pub fn told(&self) -> impl DoubleEndedIterator<Item = BuildEvent> {
        self.events.iter().filter_map(told)
    }

    /// How it ended.
    ///
    /// # Panics
    /// Never: a build that has ended has an outcome.
    pub fn outcome(&self) -> Outcome {
        let outcome = self.told().rev().find_map(|event| match event {
            BuildEvent::Finished { outcome } => Some(outcome),
            _ => None,
        });
        outcome.expect("a build that has ended has an outcome")
    }

    /// Whether every step passed.
    pub fn passed(&self) -> bool {
        self.outcome().is_passed()
    }

    /// What ran, in the order in which it began; each attempt once.
    pub fn units(&self) -> Vec<Unit> {
        let started = self.told().filter_map(|event| match event {
            BuildEvent::Started { unit, .. } => Some(unit),
            _ => None,
        });
        started.collect()
    }

    /// The caches that were put back.
    pub fn cache_hits(&self) -> Vec<String> {
        let hits = self.told().filter_map(|event| match event {
            BuildEvent::Prepared { cache_hits, .. } => Some(cache_hits),
            _ => None,
        });
        hits.flatten().collect()
    }
}

/// Waits for the next second of this machine's clock: archives hold whole seconds.
pub async fn next_second() {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    let passed = since.map_or(0, |since| since.subsec_nanos());
    let left = Duration::from_secs(1) - Duration::from_nanos(passed.into());
    tokio::time::sleep(left).await;
}
