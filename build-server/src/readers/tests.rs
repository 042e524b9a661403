use std::sync::Mutex as StdMutex;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use build_core::clock::{Clock, Timestamp};
use build_core::event::{Memo, MemoKey};
use build_core::ids::{EffectKey, ReaderName};
use build_core::reader::{Call, How, Taken};
use build_core::report::EntryWord;
use build_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// This number makes the reader panic.
const UNLUCKY: u64 = 1_313;

/// Every number is an effect.
struct Counts(ReaderName, How);

impl Counts {
    fn new(how: How) -> Self {
        Self(ReaderName::new("counts").unwrap(), how)
    }
}

#[async_trait]
impl Reader for Counts {
    type Feed = ListFeed<u64>;

    fn name(&self) -> &ReaderName {
        &self.0
    }

    async fn take(&mut self, items: &[u64]) -> Result<Taken> {
        assert!(!items.contains(&UNLUCKY), "bad luck");
        let mut taken = Taken::default();
        for number in items {
            let mut effect = effect(&number.to_string(), "numbers", "there", number)?;
            effect.how = self.1;
            taken.effects.push(effect);
        }
        Ok(taken)
    }
}

/// Its own record, and what goes wrong.
#[derive(Clone, Default)]
struct There {
    seen: Arc<StdMutex<Vec<String>>>,
    refuses: Arc<StdMutex<Option<String>>>,
    hangs: Arc<StdMutex<bool>>,
}

impl There {
    fn seen(&self) -> Vec<String> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Sink for There {
    fn deadline(&self) -> Duration {
        Duration::from_millis(50)
    }

    async fn make(&self, call: &Call) -> Made {
        let key = call.effect.key.to_string();
        if self.refuses.lock().unwrap().as_ref() == Some(&key) {
            return Made::Never("not that one".into());
        }
        self.seen.lock().unwrap().push(key);
        if std::mem::take(&mut *self.hangs.lock().unwrap()) {
            std::future::pending::<()>().await;
        }
        Made::Yes
    }

    async fn is_made(&self, call: &Call) -> Made {
        match self.seen().contains(&call.effect.key.to_string()) {
            true => Made::Yes,
            false => Made::No(String::new().into()),
        }
    }
}

/// A clock that goes with the time of the test, which may be paused.
struct TestClock(tokio::time::Instant);

impl TestClock {
    fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from(std::time::SystemTime::UNIX_EPOCH)
            + Duration::from_secs(1_600_000_000)
            + self.0.elapsed()
    }
}

struct World {
    feed: ListFeed<u64>,
    memos: Arc<MemoryMemos>,
    there: There,
    how: How,
}

impl World {
    fn new() -> Self {
        Self {
            feed: ListFeed::default(),
            memos: Arc::default(),
            there: There::default(),
            how: How::probe(Duration::ZERO),
        }
    }

    fn follower(&self) -> Follower<Counts> {
        Follower::new(Counts::new(self.how), self.feed.clone(), self.memos.clone())
            .sink("there".parse().unwrap(), self.there.clone())
            .clock(TestClock::new())
    }

    /// Runs until everything is done, and `look`s before the end.
    async fn run<T>(&self, look: impl AsyncFnOnce(Outbox) -> T) -> T {
        let follower = self.follower();
        let (outbox, stop) = (follower.outbox(), CancellationToken::new());
        let running = follower.run(stop.clone());
        let looking = async {
            outbox.caught_up(SOON).await.unwrap();
            let seen = look(outbox).await;
            stop.cancel();
            seen
        };
        let (ran, seen) = tokio::join!(running, looking);
        ran.unwrap();
        seen
    }
}

#[tokio::test]
async fn what_is_read_is_made_once_over_runs() {
    let world = World::new();
    (1..=600).for_each(|n| world.feed.push(n));
    world.run(async |_| ()).await;
    world.run(async |_| ()).await;
    world.feed.push(601);
    world.run(async |_| ()).await;
    let expected: Vec<_> = (1..=601).map(|n| n.to_string()).collect();
    assert_eq!(world.there.seen(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_one_item() {
    let world = World::new();
    [11, 12, UNLUCKY, 14]
        .into_iter()
        .for_each(|n| world.feed.push(n));
    let status = world
        .run(async |outbox| outbox.status().await.unwrap())
        .await;
    assert_eq!(world.there.seen(), ["11", "12", "14"]);
    assert_eq!((status.position, status.set_aside), (4, 1));
}

#[tokio::test]
async fn in_doubt_it_asks() {
    let world = World::new();
    *world.there.hangs.lock().unwrap() = true;
    world.feed.push(1);
    world.feed.push(2);
    world.run(async |_| ()).await;
    assert_eq!(world.there.seen(), ["1", "2"]);
}

#[tokio::test]
async fn what_was_given_up_is_listed_tried_again_and_forgotten() {
    let world = World::new();
    *world.there.refuses.lock().unwrap() = Some("2".into());
    (1..=3).for_each(|n| world.feed.push(n));
    let key = EffectKey::new("2").unwrap();
    let until = Timestamp::from_seconds(1 << 40);
    world
        .run(async |outbox: Outbox| {
            let status = outbox.status().await.unwrap();
            assert_eq!(status.entries.len(), 1);
            assert_eq!(status.entries[0].state, EntryWord::GivenUp);
            assert_eq!(status.entries[0].text.as_deref(), Some("not that one"));
            let wrong = outbox
                .retry(Some(EffectKey::new("9").unwrap()), until)
                .await;
            assert_eq!(wrong.unwrap_err().kind(), ErrorKind::NotFound);
        })
        .await;
    let prefixes = [
        MemoKey::new("cursor/").unwrap(),
        MemoKey::new("outbox/").unwrap(),
    ];
    let offline = statuses(&world.memos.load(&prefixes).await.unwrap()).unwrap();
    assert_eq!(offline[0].entries[0].key, key);
    *world.there.refuses.lock().unwrap() = None;
    world
        .run(async |outbox: Outbox| {
            assert_eq!(outbox.retry(None, until).await.unwrap(), 1);
            while !outbox.status().await.unwrap().entries.is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    assert_eq!(world.there.seen(), ["1", "3", "2"]);
}

/// A store that fails now and then, before or after it has written.
struct Shaky(Arc<MemoryMemos>, StdMutex<u32>);

#[async_trait]
impl Memos for Shaky {
    async fn load(&self, prefixes: &[MemoKey]) -> Result<Vec<Memo>> {
        self.0.load(prefixes).await
    }

    async fn save(&self, memos: Vec<Memo>) -> Result<()> {
        let nth = {
            let mut nth = self.1.lock().unwrap();
            *nth += 1;
            *nth
        };
        let failed = Err(Error::new(ErrorKind::Limit, "the disk is full"));
        match nth % 5 {
            1 => failed,
            3 => {
                self.0.save(memos).await?;
                failed
            }
            _ => self.0.save(memos).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_loses_nothing() {
    let world = World::new();
    (100..120).for_each(|n| world.feed.push(n));
    let shaky = Arc::new(Shaky(world.memos.clone(), StdMutex::default()));
    let follower = Follower::new(Counts::new(How::Token), world.feed.clone(), shaky)
        .sink("there".parse().unwrap(), world.there.clone())
        .clock(TestClock::new());
    let (outbox, stop) = (follower.outbox(), CancellationToken::new());
    let looking = async {
        outbox.caught_up(10 * SOON).await.unwrap();
        stop.cancel();
    };
    let (ran, ()) = tokio::join!(follower.run(stop.clone()), looking);
    ran.unwrap();
    let expected: Vec<_> = (100..120).map(|n| n.to_string()).collect();
    assert_eq!(world.there.seen(), expected);
}

#[tokio::test]
async fn the_floor_is_the_reader_furthest_behind_that_is_not_parked() {
    let world = World::new();
    (1..=20)
        .filter(|n| *n != 13)
        .for_each(|n| world.feed.push(n));
    world.run(async |_| ()).await;
    let all = [MemoKey::new("cursor/").unwrap()];
    let kept = world.memos.load(&all).await.unwrap();
    assert_eq!(floor(&kept).unwrap().unwrap().0, 19);
    let month = TestClock::new().now() + build_core::reader::PARK_AFTER + SOON;
    let end = build_core::event::Seq(30);
    let memos = &*world.memos;
    assert!(park(memos, |_| true, end, month).await.unwrap().is_empty());
    assert_eq!(park(memos, |_| false, end, month).await.unwrap().len(), 1);
    assert!(park(memos, |_| false, end, month).await.unwrap().is_empty());
    let kept = world.memos.load(&all).await.unwrap();
    assert_eq!(floor(&kept).unwrap(), None);
}

#[tokio::test]
async fn the_past_is_nobodys_news_for_one_that_begins_at_the_end() {
    let world = World::new();
    (1..=5).for_each(|n| world.feed.push(n));
    for number in [6, 7] {
        let follower = world.follower().from_end();
        let (outbox, stop) = (follower.outbox(), CancellationToken::new());
        let looking = async {
            outbox.caught_up(SOON).await.unwrap();
            stop.cancel();
        };
        let (ran, ()) = tokio::join!(follower.run(stop.clone()), looking);
        ran.unwrap();
        // It comes while nobody reads.
        world.feed.push(number);
    }
    world.run(async |_| ()).await;
    assert_eq!(world.there.seen(), ["6", "7"]);
}
