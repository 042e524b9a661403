//! Readers of the event log of a farm: who is told of news, and a stream that a reader writes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use build_core::Result;
use build_core::clock::Timestamp;
use build_core::event::{
    BuildEvent, EventKind, KindSet, MemoKey, Outcome, Principal, Recorded, StreamId, StreamKind,
    Version,
};
use build_core::ids::{BuildId, BuilderName, CommitHash, ReaderName, RepoName, StepName};
use build_core::reader::{Call, Taken};
use build_core::recipe::{Channel, News, Notify};
use build_core::work::{Class, WorkItem};
use build_server::notify::NotifyReader;
use build_server::readers::sinks::{Entry, EntryEvent, LedgerSink};
use build_server::readers::{Follower, LedgerMemos, LogFeed, Made, Reader, Sink, effect, statuses};
use build_server::store::{Ledger, Store};
use build_server::testing::{batch, event};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

/// A store with its ledger, and builds that are asked for and end.
struct World {
    store: Store,
    ledger: Ledger,
    builds: u64,
}

impl World {
    fn new() -> Self {
        let store = Store::memory();
        let ledger = store.ledger();
        Self {
            store,
            ledger,
            builds: 0,
        }
    }

    fn now() -> Timestamp {
        std::time::SystemTime::now().into()
    }

    async fn write(&self, build: &BuildId, told: &BuildEvent) {
        let log = &**self.store.events();
        let events = vec![event(build, Self::now(), told)];
        let batch = batch(log, events).await.unwrap();
        self.ledger.append(batch).await.unwrap();
    }

    async fn queue(&mut self, branch: &str, class: Class) -> BuildId {
        self.builds += 1;
        let build = BuildId::from_bits(self.builds);
        let commit = CommitHash::new(format!("{:040x}", self.builds)).unwrap();
        let mut item = WorkItem::new(RepoName::new("project").unwrap(), "/project", commit);
        item.branch = Some(branch.into());
        item.class = class;
        item.subject = "once more".into();
        let builder = BuilderName::new("local").unwrap();
        self.write(&build, &BuildEvent::Queued { item, builder })
            .await;
        build
    }

    async fn end(&self, build: &BuildId, passed: bool) {
        let failed = Outcome::Failed {
            step: StepName::new("test").unwrap(),
            text: "exit status 1".into(),
        };
        let outcome = if passed { Outcome::Passed } else { failed };
        self.write(build, &BuildEvent::Finished { outcome }).await;
    }

    async fn tip(&mut self, passed: bool) -> BuildId {
        let build = self.queue("main", Class::DefaultTip).await;
        self.end(&build, passed).await;
        build
    }

    async fn run<R: Reader>(&self, follower: Follower<R>) {
        let (outbox, stop) = (follower.outbox(), CancellationToken::new());
        let looking = async {
            outbox.caught_up(SOON).await.unwrap();
            stop.cancel();
        };
        let (ran, ()) = tokio::join!(follower.run(stop.clone()), looking);
        ran.unwrap();
    }

    fn feed(&self, kind: StreamKind) -> LogFeed {
        LogFeed::new(self.store.events().clone(), KindSet::of([kind]))
    }

    fn memos(&self) -> Arc<LedgerMemos> {
        Arc::new(LedgerMemos::new(&self.ledger))
    }
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Sink for Heard {
    async fn make(&self, call: &Call) -> Made {
        self.0.lock().unwrap().push(call.effect.key.to_string());
        Made::Yes
    }
}

#[tokio::test]
async fn a_line_breaks_once_and_is_mended_once() {
    let mut world = World::new();
    let who = vec![Notify {
        name: "chat".parse().unwrap(),
        on: News::ALL.into_iter().collect(),
        channel: Channel::Command(vec!["true".into()]),
    }];
    let heard = Heard::default();
    let reader = |world: &World| {
        let records = world.store.records().clone();
        let reader = NotifyReader::new(records, who.clone(), "http://farm");
        Follower::new(reader, world.feed(StreamKind::BUILD), world.memos())
            .sink("notify-chat".parse().unwrap(), heard.clone())
    };
    world.tip(true).await;
    let broken = world.tip(false).await;
    world.tip(false).await;
    world.run(reader(&world)).await;
    // What is asked for by hand, older, or of another branch says nothing about this one.
    let by_hand = world.queue("main", Class::Interactive).await;
    world.end(&by_hand, true).await;
    let older = world.queue("main", Class::Backfill).await;
    world.end(&older, true).await;
    let elsewhere = world.queue("other", Class::BranchTip).await;
    world.end(&elsewhere, true).await;
    // The newer tip is done first.
    let slow = world.queue("main", Class::DefaultTip).await;
    let fixed = world.tip(true).await;
    world.end(&slow, false).await;
    world.run(reader(&world)).await;
    world.run(reader(&world)).await;
    let expected = [
        format!("chat/broken/{broken}"),
        format!("chat/fixed/{fixed}"),
    ];
    assert_eq!(*heard.0.lock().unwrap(), expected);
    let cursors = MemoKey::new("cursor/").unwrap();
    let memos = world.store.events().memos(&cursors).await.unwrap();
    let status = statuses(&memos).unwrap();
    assert_eq!(status[0].reader.as_str(), "notify");
    assert_eq!(
        status[0].position,
        world.store.events().head().await.unwrap().0
    );
}

/// Notes the ends of builds in a stream of its own.
struct Notes(ReaderName, u64);

#[async_trait]
impl Reader for Notes {
    type Feed = LogFeed;

    fn name(&self) -> &ReaderName {
        &self.0
    }

    async fn resume(&mut self, state: Option<bytes::Bytes>) -> Result<()> {
        let text = state.map(|state| String::from_utf8_lossy(&state).into_owned());
        self.1 = text.and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(())
    }

    async fn take(&mut self, items: &[Recorded]) -> Result<Taken> {
        let mut taken = Taken::default();
        for item in items.iter().filter(|item| item.kind.as_str() == "finished") {
            let entry = Entry {
                stream: "tide/harbour".parse()?,
                after: Version(self.1),
                closes: false,
                events: vec![EntryEvent {
                    at: item.at,
                    by: Principal::farm(),
                    kind: EventKind::new("noted")?,
                    v: 1,
                    must: false,
                    body: serde_json::value::to_raw_value(&item.stream).unwrap(),
                }],
            };
            let key = format!("{}", item.seq.0);
            taken
                .effects
                .push(effect(&key, "harbour", "ledger", &entry)?);
            self.1 += 1;
            taken.state = Some(self.1.to_string().into());
        }
        Ok(taken)
    }
}

#[tokio::test]
async fn a_reader_writes_a_stream_of_its_own_once() {
    let mut world = World::new();
    for _ in 0..3 {
        world.tip(true).await;
    }
    let notes = |world: &World, memos| {
        let reader = Notes(ReaderName::new("notes").unwrap(), 0);
        Follower::new(reader, world.feed(StreamKind::BUILD), memos)
            .sink("ledger".parse().unwrap(), LedgerSink::new(&world.ledger))
    };
    world.run(notes(&world, world.memos())).await;
    world.tip(false).await;
    world.run(notes(&world, world.memos())).await;
    // One that has lost its memos writes everything again, and nothing is doubled.
    let forgetful = Arc::new(build_server::readers::MemoryMemos::default());
    let reader = Notes(ReaderName::new("notes").unwrap(), 0);
    let follower = Follower::new(reader, world.feed(StreamKind::BUILD), forgetful)
        .sink("ledger".parse().unwrap(), LedgerSink::new(&world.ledger));
    world.run(follower).await;
    let stream: StreamId = "tide/harbour".parse().unwrap();
    let events = world.store.events();
    let noted = events.read_stream(&stream, Version(0), 100).await.unwrap();
    assert_eq!(noted.len(), 4);
}
