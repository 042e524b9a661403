//! A coordinator dies right after any event of a build, and the next one goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use build_core::Result;
use build_core::event::{
    Batch, BuildEvent, KindSet, Memo, MemoKey, Page, Recorded, Seq, StreamHead, StreamId,
    StreamKind, Term, Version,
};
use build_core::ids::RepoId;
use build_server::store::{EventLog, Store};
use tokio::sync::Notify;

use crate::farm::{Built, FakePool, Farm, Repository, SOON, Steps, step, told, whole};

/// A log whose writer never hears that event `dies_at` was recorded.
struct Dies {
    inner: Arc<dyn EventLog>,
    dies_at: Seq,
    dead: Arc<Notify>,
}

#[async_trait]
impl EventLog for Dies {
    async fn append(&self, term: Term, group: Vec<Batch>) -> Vec<Result<Seq>> {
        let answers = self.inner.append(term, group).await;
        if answers.iter().flatten().any(|end| *end >= self.dies_at) {
            self.dead.notify_one();
            std::future::pending::<()>().await;
        }
        answers
    }

    async fn begin_term(&self) -> Result<Term> {
        self.inner.begin_term().await
    }

    async fn head(&self) -> Result<Seq> {
        self.inner.head().await
    }

    async fn heads(&self, of: &[StreamId]) -> Result<Vec<StreamHead>> {
        self.inner.heads(of).await
    }

    async fn read_stream(
        &self,
        of: &StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<Recorded>> {
        self.inner.read_stream(of, after, limit).await
    }

    async fn read_open(&self, kinds: &[StreamKind]) -> Result<Vec<Recorded>> {
        self.inner.read_open(kinds).await
    }

    async fn read(&self, kinds: &KindSet, after: Seq, limit: usize) -> Result<Page<Recorded>> {
        self.inner.read(kinds, after, limit).await
    }

    async fn longer(&self, than: Seq) -> Result<Seq> {
        self.inner.longer(than).await
    }

    async fn memos(&self, prefix: &MemoKey) -> Result<Vec<Memo>> {
        self.inner.memos(prefix).await
    }
}

/// Two steps that write down, outside of the machine, that they ran.
fn steps(witness: &Path) -> Steps {
    let witness = witness.display();
    let one = step("one", &format!("echo one >> {witness}; echo first output"));
    let two = step(
        "two",
        &format!("echo two >> {witness}; cat file; echo second output"),
    );
    Steps(vec![one.clone(), two.needing(&one.name)])
}

/// Opens the directory of a coordinator that has just died.
async fn reopen(dir: &Path) -> Store {
    let open = async {
        loop {
            match Store::open(dir).await {
                Ok(store) => return store,
                // Its last tasks still end.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(SOON, open)
        .await
        .expect("the lock ends with its owner")
}

async fn build_with_crash_at(repository: &Repository, dies_at: Seq) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let witness = dir.path().join("witness");
    let data = dir.path().join("data");
    let pool = FakePool::new(1);
    let dead = Arc::new(Notify::new());

    let store = reopen(&data).await;
    let log = Dies {
        inner: store.events().clone(),
        dies_at,
        dead: dead.clone(),
    };
    let store = store.with_events(Arc::new(log));
    let farm = Farm::start(&pool, store.clone(), steps(&witness));
    let mut item = farm
        .checkouts
        .resolve(&repository.origin(), None)
        .await
        .unwrap();
    // Known before: the first event is that of the wish.
    item.repo_id = Some(RepoId::from_bits(1));
    let (handle, builder) = (farm.handle.clone(), farm.builder());
    let submit = tokio::spawn(async move { handle.submit(item, &builder).await });
    let died = tokio::time::timeout(SOON, dead.notified()).await;
    died.expect("the event is recorded soon");
    let builds = KindSet::of([StreamKind::BUILD]);
    let before = store.events().read(&builds, Seq(0), usize::MAX);
    let before = before.await.unwrap().items;
    drop(store);
    submit.abort();
    // An aborted task says that it was.
    let _ = submit.await;
    farm.kill().await;

    let farm = Farm::start(&pool, reopen(&data).await, steps(&witness));
    let built = farm.built(before[0].stream.build().unwrap()).await;
    check(&farm, &built, &before, &witness).await;
    assert!(pool.leases().is_empty());
    farm.stop().await;
    // Those of its wish are written with its first event and with its last but one.
    built.events.len() + 2
}

async fn check(farm: &Farm, built: &Built, before: &[Recorded], witness: &Path) {
    let died_at = before.len();
    assert!(built.passed(), "died at {died_at}: {:#?}", built.events);
    assert_eq!(
        built.events[..died_at],
        *before,
        "nothing recorded is lost or changed"
    );
    let ran = std::fs::read_to_string(witness).unwrap();
    assert_eq!(ran, "one\ntwo\n", "died at {died_at}: each step ran once");
    let one = farm.log(&built.id, &whole("one")).await;
    let two = farm.log(&built.id, &whole("two")).await;
    assert_eq!(
        (one.as_str(), two.as_str()),
        ("first output\n", "text\nsecond output\n")
    );
    let attempts = built
        .events
        .iter()
        .filter(|e| matches!(told(e), BuildEvent::Started { .. }));
    assert_eq!(
        attempts.count(),
        2,
        "died at {died_at}: what ran was found again"
    );
}

#[tokio::test]
async fn a_crash_after_any_event_loses_nothing_and_runs_nothing_twice() {
    let repository = Repository::with_file("file", "text\n");
    let mut dies_at = 1;
    let mut events = 2;
    while dies_at < events {
        events = build_with_crash_at(&repository, Seq(dies_at as u64)).await;
        dies_at += 1;
    }
    assert!(events > 8, "{events}");
}
