//! Builds from the commit to the result, with machines in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use build_core::event::{
    Batch, BuildEvent, KindSet, Memo, MemoKey, Outcome, Page, Recorded, Seq, StreamHead, StreamId,
    StreamKind, Term, UnitEnd, Version,
};
use build_core::ids::BuilderName;
use build_core::plan::Part;
use build_core::recipe::Detect;
use build_core::report::BuildStatus;
use build_core::work::Class;
use build_core::{Error, ErrorKind, Result};
use build_server::source::GitSource;
use build_server::store::{BuildFilter, EventLog, Store};

use crate::farm::{FakePool, Farm, Repository, SOON, Steps, part, step, told, whole};

#[tokio::test]
async fn a_commit_is_built_and_everything_is_recorded() {
    let repository = Repository::with_file("hello.txt", "hello\n");
    let run =
        "mkdir -p out/bin && cp hello.txt out/bin/a\\ b && echo r > report.xml && cat hello.txt";
    let mut build = step("build", run);
    build.artifacts = vec!["out/**".into(), "*.xml".into(), "none/*".into()];
    let test = step("test", "echo testing; test -f report.xml").needing(&build.name);
    let pool = FakePool::new(2);
    let farm = Farm::start(&pool, Store::memory(), Steps(vec![build, test]));
    let built = farm.build(&repository).await;
    assert!(built.passed(), "{:#?}", built.events);
    assert_eq!(farm.log(&built.id, &whole("build")).await, "hello\n");
    assert_eq!(farm.log(&built.id, &whole("test")).await, "testing\n");
    let row = farm
        .handle
        .records()
        .build(&built.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.state, BuildStatus::Passed);
    assert_eq!(row.item.subject, "first");
    let kept = &row.kept[0].artifacts;
    let kept: Vec<_> = kept.iter().map(|a| (a.path.as_str(), a.size)).collect();
    assert_eq!(kept, [(Some("out/bin/a b"), 6), (Some("report.xml"), 2)]);
    assert!(pool.leases().is_empty());
    assert_eq!(
        pool.buildlets().len(),
        1,
        "the second step goes on where the first one was"
    );
    farm.stop().await;
}

#[tokio::test]
async fn a_step_that_fails_fails_the_build() {
    let repository = Repository::with_file("a", "");
    let bad = step("bad", "echo oh no; exit 3");
    let after = step("after", "true").needing(&bad.name);
    let farm = Farm::start(&FakePool::new(1), Store::memory(), Steps(vec![bad, after]));
    let built = farm.build(&repository).await;
    let Outcome::Failed { step, text } = built.outcome() else {
        panic!("{:?}", built.outcome())
    };
    assert_eq!((step.as_str(), text.as_str()), ("bad", "exit status 3"));
    assert!(
        farm.handle
            .log(&built.id, &whole("after"), None, 0, false)
            .await
            .is_err()
    );
    farm.stop().await;
}

#[tokio::test]
async fn shards_run_on_several_machines_and_cover_every_test() {
    let repository = Repository::with_file("a", "");
    let mut test = step("test", "for t in {tests}; do echo ran $t; done");
    test.tests = Some("echo t1 t2 t3 t4 t5".into());
    test.shards = 2;
    let farm = Farm::start(&FakePool::new(2), Store::memory(), Steps(vec![test]));
    let built = farm.build(&repository).await;
    assert!(built.passed(), "{:#?}", built.events);
    let mut lines = Vec::new();
    for shard in 0..2 {
        let log = farm.log(&built.id, &part("test", Part::Shard(shard))).await;
        lines.extend(log.lines().map(str::to_owned));
    }
    lines.sort();
    assert_eq!(lines, ["ran t1", "ran t2", "ran t3", "ran t4", "ran t5"]);
    farm.stop().await;
}

#[tokio::test]
async fn a_missing_tool_is_named_and_is_no_failure_of_the_code() {
    let repository = Repository::with_file("a", "");
    let mut build = step("build", "no-such-tool");
    build.tools = vec!["sh".into(), "no-such-tool".into()];
    let farm = Farm::start(&FakePool::new(1), Store::memory(), Steps(vec![build]));
    let built = farm.build(&repository).await;
    let Outcome::Misconfigured { text, .. } = built.outcome() else {
        panic!("{:?}", built.outcome())
    };
    assert!(text.contains("no-such-tool: not found on PATH"), "{text}");
    farm.stop().await;
}

#[tokio::test]
async fn a_canceled_build_ends_and_gives_its_machine_back() {
    let repository = Repository::with_file("a", "");
    let pool = FakePool::new(1);
    let long = step("long", "echo begun; sleep 600");
    let farm = Farm::start(&pool, Store::memory(), Steps(vec![long]));
    let build = farm.submit(&repository).await;
    farm.until(&build, |e| matches!(e, BuildEvent::Started { .. }))
        .await;
    farm.handle.cancel(&build, "me").await.unwrap();
    let built = farm.built(&build).await;
    assert_eq!(built.outcome(), Outcome::Canceled { by: "me".into() });
    assert!(pool.leases().is_empty());
    assert!(
        farm.handle.cancel(&build, "me").await.is_err(),
        "it has ended"
    );
    farm.stop().await;
}

#[tokio::test]
async fn a_machine_that_dies_is_an_attempt_with_a_reason() {
    let repository = Repository::with_file("a", "");
    let pool = FakePool::new(1);
    let marks = tempfile::tempdir().unwrap();
    let mark = marks.path().join("second").display().to_string();
    // The first attempt waits for its machine to die, the second one passes.
    let run = format!("if [ -e {mark} ]; then echo passed; else touch {mark}; sleep 600; fi");
    let farm = Farm::start(&pool, Store::memory(), Steps(vec![step("flaky", &run)]));
    let build = farm.submit(&repository).await;
    farm.until(&build, |e| matches!(e, BuildEvent::Started { .. }))
        .await;
    while !marks.path().join("second").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    pool.buildlets()[0].die();
    let built = farm.built(&build).await;
    assert!(built.passed(), "{:#?}", built.events);
    let ends = built.events.iter().filter_map(|e| match told(e) {
        BuildEvent::Ended { attempt, end, .. } => Some((attempt, end)),
        _ => None,
    });
    let ends: Vec<_> = ends.collect();
    assert!(
        matches!(&ends[0], (1, UnitEnd::Lost(text)) if !text.is_empty()),
        "{ends:?}"
    );
    assert_eq!(ends[1].0, 2);
    farm.stop().await;
}

#[tokio::test]
async fn independent_steps_run_at_the_same_time_on_two_machines() {
    let repository = Repository::with_file("a", "");
    let meeting = tempfile::tempdir().unwrap();
    let meet = |me: &str, other: &str| {
        let place = meeting.path().display();
        format!("touch {place}/{me}; until [ -e {place}/{other} ]; do sleep 0.01; done; echo met")
    };
    let steps = vec![
        step("left", &meet("l", "r")),
        step("right", &meet("r", "l")),
    ];
    let farm = Farm::start(&FakePool::new(2), Store::memory(), Steps(steps));
    let built = farm.build(&repository).await;
    assert!(built.passed(), "{:#?}", built.events);
    let at = |wanted: fn(&BuildEvent) -> bool| {
        let found = built
            .events
            .iter()
            .filter(|e| wanted(&told(e)))
            .map(|e| e.seq.0);
        found.collect::<Vec<_>>()
    };
    let leased = at(|e| matches!(e, BuildEvent::Leased { .. }));
    let ended = at(|e| matches!(e, BuildEvent::LeaseEnded { .. }));
    assert_eq!((leased.len(), ended.len()), (2, 2));
    assert!(
        leased.iter().max() < ended.iter().min(),
        "the leases overlap"
    );
    farm.stop().await;
}

#[tokio::test]
async fn a_step_that_two_others_need_is_copied_to_a_second_machine() {
    let repository = Repository::with_file("a", "");
    let base = step("base", "mkdir made && echo made > made/file");
    let left = step("left", "cat made/file").needing(&base.name);
    let right = step("right", "cat made/file; git rev-parse HEAD").needing(&base.name);
    let farm = Farm::start(
        &FakePool::new(2),
        Store::memory(),
        Steps(vec![base, left, right]),
    );
    let built = farm.build(&repository).await;
    assert!(built.passed(), "{:#?}", built.events);
    assert_eq!(farm.log(&built.id, &whole("left")).await, "made\n");
    let head = repository.git(&["rev-parse", "HEAD"]);
    assert_eq!(
        farm.log(&built.id, &whole("right")).await,
        format!("made\n{head}\n")
    );
    farm.stop().await;
}

#[tokio::test]
async fn output_is_followed_while_a_step_runs() {
    let repository = Repository::with_file("a", "");
    let gate = tempfile::tempdir().unwrap();
    let gate = gate.path().join("open");
    let run = format!(
        "echo one; until [ -e {} ]; do sleep 0.01; done; echo two",
        gate.display()
    );
    let farm = Farm::start(
        &FakePool::new(1),
        Store::memory(),
        Steps(vec![step("slow", &run)]),
    );
    let build = farm.submit(&repository).await;
    farm.until(&build, |e| matches!(e, BuildEvent::Started { .. }))
        .await;
    let mut log = farm
        .handle
        .log(&build, &whole("slow"), None, 0, true)
        .await
        .unwrap();
    let first = futures::StreamExt::next(&mut log).await.unwrap().unwrap();
    assert_eq!(first, "one\n");
    std::fs::create_dir_all(gate.parent().unwrap()).unwrap();
    std::fs::write(&gate, "").unwrap();
    assert_eq!(crate::farm::text(log).await, "two\n");
    farm.stop().await;
}

#[tokio::test]
async fn a_cache_lets_only_what_changed_be_made_again() {
    let repository = Repository::with_file("input", "1");
    repository.write("other", "1");
    repository.commit("first with two files");
    let run = "if [ -e out/result ] && ! [ input -nt out/result ]; then echo kept; \
        else mkdir -p out && cp input out/result && echo made; fi";
    let mut make = step("make", run);
    make.cache = vec!["out".into()];
    let farm = Farm::start(&FakePool::new(1), Store::memory(), Steps(vec![make]));
    let mut told = Vec::new();
    let mut hits = Vec::new();
    for (file, text) in [("", ""), ("other", "2"), ("input", "2"), ("other", "3")] {
        if file == "input" {
            // Archives hold whole seconds: what is made in one is not told apart.
            crate::farm::next_second().await;
        }
        if !file.is_empty() {
            repository.write(file, text);
            repository.commit(file);
        }
        let built = farm.build(&repository).await;
        assert!(built.passed(), "{:#?}", built.events);
        told.push(farm.log(&built.id, &whole("make")).await);
        hits.push(built.cache_hits().len());
    }
    assert_eq!(told, ["made\n", "kept\n", "made\n", "kept\n"]);
    assert_eq!(hits, [0, 1, 1, 1]);

    repository.git(&["checkout", "--quiet", "--orphan", "elsewhere"]);
    repository.commit("no history in common");
    let built = farm.build(&repository).await;
    assert!(
        built.cache_hits().is_empty(),
        "its commit does not come before this one"
    );
    farm.stop().await;
}

#[tokio::test]
async fn new_commits_of_a_watched_repository_are_built() {
    let repository = Repository::with_file("a", "");
    let source = GitSource::watch(repository.origin());
    let pool = FakePool::new(1);
    let farm = Farm::start_with(
        &pool,
        Store::memory(),
        Steps(vec![step("ok", "true")]),
        |b| b.source(source),
    );
    farm.until_finished(1).await;
    let second = repository.commit("second");
    farm.until_finished(2).await;
    let page = farm
        .handle
        .records()
        .builds(&BuildFilter::default(), None, 9)
        .await
        .unwrap();
    assert_eq!(page.builds.len(), 2, "each commit once");
    assert_eq!(page.builds[0].item.commit.as_str(), second);
    farm.stop().await;
}

#[tokio::test]
async fn of_several_commits_in_one_push_the_newest_is_built_first_and_the_others_when_idle() {
    let repository = Repository::with_file("a", "");
    repository.commit("older than the farm");
    let pool = FakePool::new(1);
    let store = Store::memory();
    let start = || {
        let source = GitSource::watch(repository.origin());
        let steps = Steps(vec![step("ok", "true")]);
        Farm::start_with(&pool, store.clone(), steps, |b| b.source(source))
    };
    let farm = start();
    farm.until_finished(1).await;
    repository.git(&["checkout", "--quiet", "-b", "side"]);
    let pushed = ["one", "two", "three"].map(|subject| repository.commit(subject));
    repository.git(&["checkout", "--quiet", "main"]);
    repository.git(&["merge", "--quiet", "--ff-only", "side"]);
    farm.until_finished(4).await;
    farm.stop().await;

    // Another start finds nothing that was not seen.
    let farm = start();
    let fourth = repository.commit("four");
    farm.until_finished(5).await;
    let all = BuildFilter::default();
    let page = farm.handle.records().builds(&all, None, 9).await.unwrap();
    let mut begun: Vec<_> = page.builds.iter().map(|b| (b.started, &b.item)).collect();
    begun.sort_by_key(|(started, _)| *started);
    let commits: Vec<_> = begun.iter().map(|(_, i)| i.commit.as_str()).collect();
    assert_eq!(commits.len(), 5, "first run: the newest commit alone");
    assert_eq!(commits[1], pushed[2], "the newest first");
    assert!(commits[2..4].contains(&pushed[0].as_str()));
    assert!(commits[2..4].contains(&pushed[1].as_str()));
    assert_eq!(commits[4], fourth);
    let classes: Vec<_> = begun.iter().map(|(_, i)| i.class).collect();
    assert_eq!(classes[1..3], [Class::DefaultTip, Class::Backfill]);
    farm.stop().await;
}

#[tokio::test]
async fn a_commit_for_machines_that_the_farm_has_not_says_so() {
    let repository = Repository::with_file(
        ".farmer.toml",
        "[[builder]]\nname = \"lunix\"\nhost = \"mac\"\n[[host]]\nname = \"mac\"\n\
         [[step]]\nname = \"a\"\nrun = \"true\"\n",
    );
    let source = GitSource::watch(repository.origin());
    let pool = FakePool::new(1);
    let farm = Farm::start_with(&pool, Store::memory(), Detect, |b| b.source(source));
    farm.until_finished(1).await;
    let all = BuildFilter::default();
    let page = farm.handle.records().builds(&all, None, 9).await.unwrap();
    let [row] = &page.builds[..] else {
        panic!("{page:?}");
    };
    let outcome = row.outcome.as_ref().unwrap().to_string();
    let cause = "builder \"lunix\" is on host \"mac\", of which this farm has no machine";
    assert!(outcome.ends_with(cause), "{outcome}");
    for (wrong, hint) in [("locl", "local"), ("lunx", "lunix")] {
        let wrong = BuilderName::new(wrong).unwrap();
        let error = farm.handle.submit(row.item.clone(), &wrong).await;
        let hint = format!("did you mean \"{hint}\"?");
        assert_eq!(error.unwrap_err().hint(), Some(&*hint));
    }
    farm.stop().await;
}

/// A log on a disk that is full for a while.
struct Full {
    inner: Arc<dyn EventLog>,
    is_full: AtomicBool,
}

#[async_trait]
impl EventLog for Full {
    async fn append(&self, term: Term, group: Vec<Batch>) -> Vec<Result<Seq>> {
        if self.is_full.load(Ordering::SeqCst) {
            let full = || Err(Error::new(ErrorKind::Limit, "no space left on device"));
            return group.iter().map(|_| full()).collect();
        }
        self.inner.append(term, group).await
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

#[tokio::test]
async fn a_full_disk_stops_dispatching_says_so_and_loses_nothing() {
    let repository = Repository::with_file("a", "");
    let store = Store::memory();
    let full = Arc::new(Full {
        inner: store.events().clone(),
        is_full: AtomicBool::new(true),
    });
    let store = store.with_events(full.clone());
    let pool = FakePool::new(1);
    let farm = Farm::start(&pool, store, Steps(vec![step("ok", "true")]));
    let item = farm
        .checkouts
        .resolve(&repository.origin(), None)
        .await
        .unwrap();
    let builder = farm.builder();
    let submit = farm.handle.submit(item, &builder);
    let look = async {
        loop {
            let status = farm.handle.status().await.unwrap();
            if let Some(text) = status.stalled {
                assert!(text.contains("no space left"), "{text}");
                assert!(pool.buildlets().is_empty(), "nothing was begun");
                full.is_full.store(false, Ordering::SeqCst);
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (build, ()) = tokio::time::timeout(SOON, async { tokio::join!(submit, look) })
        .await
        .unwrap();
    assert!(farm.built(&build.unwrap()).await.passed());
    assert_eq!(farm.handle.status().await.unwrap().stalled, None);
    farm.stop().await;
}

#[tokio::test]
async fn a_second_coordinator_ends_the_first() {
    let repository = Repository::with_file("a", "");
    let store = Store::memory();
    let steps = Steps(vec![step("ok", "true")]);
    let pool = FakePool::new(1);
    let first = Farm::start(&pool, store.clone(), steps.clone());
    assert!(first.build(&repository).await.passed());
    let second = Farm::start(&pool, store, steps);
    assert!(second.build(&repository).await.passed());
    let item = first
        .checkouts
        .resolve(&repository.origin(), None)
        .await
        .unwrap();
    let late = first.handle.submit(item, &first.builder()).await;
    assert!(late.is_err());
    assert_eq!(first.ended().await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(second.build(&repository).await.passed());
    second.stop().await;
}

#[tokio::test]
async fn a_stop_interrupts_and_the_next_start_runs_again() {
    let repository = Repository::with_file("a", "");
    let marks = tempfile::tempdir().unwrap();
    let mark = marks.path().join("begun").display().to_string();
    let run = format!("if [ -e {mark} ]; then echo again; else touch {mark}; sleep 600; fi");
    let (store, pool) = (Store::memory(), FakePool::new(1));
    let steps = Steps(vec![step("long", &run)]);
    let farm = Farm::start(&pool, store.clone(), steps.clone());
    let build = farm.submit(&repository).await;
    while !marks.path().join("begun").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    farm.stop().await;
    assert!(pool.leases().is_empty(), "a clean stop leaves no machine");
    let farm = Farm::start(&pool, store, steps);
    let built = farm.built(&build).await;
    assert!(built.passed(), "{:#?}", built.events);
    let interrupted = built.events.iter().any(|e| {
        matches!(
            &told(e),
            BuildEvent::Ended {
                attempt: 1,
                end: UnitEnd::Interrupted,
                ..
            }
        )
    });
    assert!(interrupted, "{:#?}", built.events);
    assert_eq!(farm.log(&build, &whole("long")).await, "again\n");
    farm.stop().await;
}

#[tokio::test]
async fn a_build_that_waits_says_why() {
    let repository = Repository::with_file("a", "");
    let farm = Farm::start(
        &FakePool::new(1),
        Store::memory(),
        Steps(vec![step("long", "sleep 600")]),
    );
    let first = farm.submit(&repository).await;
    farm.until(&first, |e| matches!(e, BuildEvent::Started { .. }))
        .await;
    assert!(
        farm.handle.explain(&first).await.unwrap().is_empty(),
        "it does not wait"
    );
    // Of the same commit it would be the same build.
    assert_eq!(farm.submit(&repository).await, first);
    repository.commit("second");
    let second = farm.submit(&repository).await;
    farm.until(&second, |e| matches!(e, BuildEvent::Planned { .. }))
        .await;
    let waiting = farm.handle.explain(&second).await.unwrap();
    assert_eq!(waiting[0].unit, whole("long"));
    assert_eq!(waiting[0].why.ahead, 0);
    farm.handle.cancel(&second, "me").await.unwrap();
    farm.built(&second).await;
    assert!(
        farm.handle.explain(&second).await.is_err(),
        "it is not open any more"
    );
    farm.stop().await;
}
