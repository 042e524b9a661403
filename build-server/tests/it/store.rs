//! What every store promises, and what the one on disk promises beyond.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use build_client::once;
use build_core::ErrorKind;
use build_core::buildlet::ExecOutcome;
use build_core::clock::Timestamp;
use build_core::event::{
    Batch, BuildEvent, EventKind, KindSet, Memo, MemoKey, NewEvent, Outcome, Recorded, Seq,
    StreamKind, UnitEnd, Version,
};
use build_core::ids::{
    BuildId, BuilderName, CommitHash, ExecId, LeaseId, MachineId, RepoName, StepName,
};
use build_core::plan::{Part, Unit};
use build_core::report::BuildStatus;
use build_core::test_lines::TestCounts;
use build_core::work::{Class, WorkItem};
use build_server::record::{BuildRow, Tested};
use build_server::store::{
    BlobKey, BlobKind, BoardFilter, BoardPage, BuildFilter, BuildRecords, EventLog, Ledger,
    MemoryLog, MemoryStore, Records, SqliteOptions, SqliteStore, Store,
};
use build_server::testing::{append, event};
use serde_json::value::RawValue;
use sqlx::Connection as _;

trait Both: EventLog + Records {}
impl<T: EventLog + Records> Both for T {}

struct World {
    dir: tempfile::TempDir,
    stores: Vec<Arc<dyn Both>>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("farmer.db");
        let disk = SqliteStore::open(&path, SqliteOptions::default())
            .await
            .unwrap();
        let stores: Vec<Arc<dyn Both>> = vec![Arc::new(MemoryStore::default()), Arc::new(disk)];
        Self { dir, stores }
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(second)
}

fn build(n: u64) -> BuildId {
    BuildId::from_bits(n)
}

fn item(n: u64) -> WorkItem {
    WorkItem {
        repo: RepoName::new(if n.is_multiple_of(2) { "even" } else { "odd" }).unwrap(),
        origin: "/somewhere".into(),
        commit: CommitHash::new(format!("{n:040x}")).unwrap(),
        commit_time: at(1),
        subject: "a change".into(),
        branch: Some("main".into()),
        tag: None,
        order: None,
        change: None,
        author: None,
        class: Class::DefaultTip,
        labels: BTreeSet::new(),
        worktree: false,
        rerun_of: None,
        repo_id: None,
        host: None,
        patch_set: None,
        trust: Default::default(),
        rest: Default::default(),
    }
}

fn new(n: u64, told: BuildEvent) -> NewEvent {
    event(&build(n), at(2), &told)
}

fn queued(n: u64) -> NewEvent {
    let event = BuildEvent::Queued {
        item: item(n),
        builder: BuilderName::new("local").unwrap(),
    };
    new(n, event)
}

fn unit() -> Unit {
    Unit {
        step: StepName::new("test").unwrap(),
        part: Part::Whole,
    }
}

/// A build that ran one step.
fn story(n: u64) -> Vec<NewEvent> {
    vec![
        queued(n),
        new(
            n,
            BuildEvent::Started {
                unit: unit(),
                attempt: 1,
                lease: LeaseId::from_bits(n),
                exec: ExecId::new("e1").unwrap(),
                tests: vec![],
            },
        ),
        new(
            n,
            BuildEvent::Ended {
                unit: unit(),
                attempt: 1,
                end: UnitEnd::Exited(ExecOutcome::Ok),
                output_bytes: 5,
                took: Duration::from_millis(n),
                guessed: false,
            },
        ),
        new(
            n,
            BuildEvent::Finished {
                outcome: Outcome::Passed,
            },
        ),
    ]
}

/// A commit made at second `time` is asked for on a builder.
fn asked(n: u64, time: i64, branch: &str, builder: &str) -> NewEvent {
    let mut item = item(time.unsigned_abs());
    item.repo = RepoName::new("board").unwrap();
    item.commit_time = at(time);
    item.branch = Some(branch.into());
    let builder = BuilderName::new(builder).unwrap();
    new(n, BuildEvent::Queued { item, builder })
}

async fn append_a_board(store: &dyn Both) {
    let passed = |n| {
        let outcome = Outcome::Passed;
        new(n, BuildEvent::Finished { outcome })
    };
    let mut uncommitted = asked(7, 9, "main", "linux");
    let Some(BuildEvent::Queued { mut item, builder }) = uncommitted.read() else {
        unreachable!()
    };
    item.worktree = true;
    uncommitted = new(7, BuildEvent::Queued { item, builder });
    let batches = vec![
        vec![asked(1, 20, "main", "linux"), asked(2, 20, "main", "mac")],
        vec![passed(1), asked(3, 30, "main", "linux")],
        vec![asked(4, 10, "side", "linux"), uncommitted],
        // Built again: the later build is the one that is shown, whichever ends last.
        vec![asked(5, 20, "main", "mac"), passed(5), passed(2)],
        vec![queued(6)],
    ];
    append_all(store, batches).await;
}

/// One word for each line: second, then builder and build of each cell.
fn drawn(page: &BoardPage) -> Vec<String> {
    let line = |line: &build_server::store::BoardLine| {
        let cells = line.cells.values();
        let cells = cells.map(|c| format!(" {}:{}:{}", c.builder, c.build, c.state.as_str()));
        format!(
            "{}{}",
            line.commit.time.as_seconds(),
            cells.collect::<String>()
        )
    };
    page.lines.iter().map(line).collect()
}

async fn check_board(store: &dyn Both) {
    let mut which = BoardFilter {
        repo: RepoName::new("board").unwrap(),
        branch: None,
    };
    let all = store.board(&which, None, 9).await.unwrap();
    let expected = [
        "30 linux:B000000003:queued",
        "20 linux:B000000001:passed mac:B000000005:passed",
        "10 linux:B000000004:queued",
    ];
    assert_eq!(drawn(&all), expected);
    assert_eq!(all.next, None);
    let first = store.board(&which, None, 2).await.unwrap();
    assert_eq!(drawn(&first), expected[..2]);
    let place = first.next.unwrap().to_string().parse().unwrap();
    let second = store.board(&which, Some(place), 2).await.unwrap();
    assert_eq!(drawn(&second), expected[2..]);
    which.branch = Some("side".into());
    let side = store.board(&which, None, 0).await.unwrap();
    assert_eq!(drawn(&side), expected[2..]);
    let repos = store.repos().await.unwrap();
    let repos: Vec<_> = repos
        .iter()
        .map(|known| {
            let branches: Vec<String> = known.branches.iter().map(ToString::to_string).collect();
            format!("{} {}", known.repo, branches.join(","))
        })
        .collect();
    assert_eq!(repos, ["board main,side", "even main"]);
}

#[tokio::test]
async fn a_board_has_a_line_for_each_commit_and_a_cell_for_its_latest_build() {
    let world = World::new().await;
    for store in &world.stores {
        append_a_board(&**store).await;
        check_board(&**store).await;
        store.rebuild().await.unwrap();
        check_board(&**store).await;
    }
}

#[tokio::test]
async fn a_file_from_before_the_format_was_settled_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("farmer.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let options = options.create_if_missing(true);
    for version in 1..=5 {
        let mut old = sqlx::SqliteConnection::connect_with(&options)
            .await
            .unwrap();
        let count = format!("PRAGMA user_version = {version}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(count))
            .execute(&mut old)
            .await
            .unwrap();
        old.close().await.unwrap();
        let write = SqliteStore::open(&path, SqliteOptions::default()).await;
        let read = SqliteStore::open_to_read(&path).await;
        for error in [write.err().unwrap(), read.err().unwrap()] {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
            assert!(
                error.hint().unwrap().contains("data directory"),
                "{error:?}"
            );
        }
    }
}

async fn append_all(store: &dyn Both, batches: Vec<Vec<NewEvent>>) -> Seq {
    let mut head = store.head().await.unwrap();
    for batch in batches {
        head = append(store, batch).await.unwrap();
    }
    head
}

async fn everything(store: &dyn Both) -> Vec<Recorded> {
    let (mut all, mut after) = (Vec::new(), Seq(0));
    loop {
        let page = store.read(&KindSet::all(), after, 1000).await.unwrap();
        if page.upto == after {
            return all;
        }
        after = page.upto;
        all.extend(page.items);
    }
}

#[tokio::test]
async fn every_log_keeps_its_promises() {
    let world = World::new().await;
    build_server::testing::event_log(&MemoryLog::default())
        .await
        .unwrap();
    for store in &world.stores {
        build_server::testing::event_log(&**store).await.unwrap();
    }
}

/// The first event of a build as a batch.
fn first(n: u64) -> Batch {
    Batch {
        expects: vec![(build(n).into(), Version(0))],
        events: vec![queued(n)],
        ..Batch::default()
    }
}

#[tokio::test]
async fn events_come_back_in_order_by_position_and_by_stream() {
    let world = World::new().await;
    for store in &world.stores {
        append_all(&**store, vec![story(1), vec![queued(2)]]).await;
        let all = everything(&**store).await;
        let positions: Vec<_> = all.iter().map(|e| (e.seq.0, e.version.0)).collect();
        assert_eq!(positions, [(1, 1), (2, 2), (3, 3), (4, 4), (5, 1)]);
        let page = store.read(&KindSet::all(), Seq(1), 2).await.unwrap();
        assert_eq!((&page.items[..], page.upto), (&all[1..3], Seq(3)));
        let none = KindSet::of([StreamKind::WISH]);
        let page = store.read(&none, Seq(0), 9).await.unwrap();
        assert_eq!(
            (page.items.len(), page.upto),
            (0, Seq(5)),
            "it says how far it looked"
        );
        let of_one = store.read_stream(&build(1).into(), Version(1), 2).await;
        assert_eq!(of_one.unwrap(), all[1..3]);
        let of_two = store.read_stream(&build(2).into(), Version(0), 9).await;
        assert_eq!(of_two.unwrap(), all[4..]);
        let open = store.read_open(&[StreamKind::BUILD]).await.unwrap();
        assert_eq!(open, all[4..]);
        assert_eq!(store.read_open(&[StreamKind::SESSION]).await.unwrap(), []);
        let ids = [build(1).into(), build(2).into(), build(3).into()];
        let heads = store.heads(&ids).await.unwrap();
        let heads: Vec<_> = heads.iter().map(|h| (h.version.0, h.is_open)).collect();
        assert_eq!(heads, [(4, false), (1, true), (0, false)]);
        assert_eq!(store.longer(Seq(4)).await.unwrap(), Seq(5));
    }
}

#[tokio::test]
async fn a_batch_with_an_old_picture_of_a_stream_is_left_out_alone() {
    let world = World::new().await;
    for store in &world.stores {
        let term = store.begin_term().await.unwrap();
        let group = vec![first(1), first(2), first(1), first(3)];
        let answers = store.append(term, group).await;
        let heads: Vec<_> = answers.iter().flatten().map(|seq| seq.0).collect();
        assert_eq!(heads, [1, 2, 3]);
        let error = answers[2].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("build/B000000001"), "{error}");
        assert_eq!(everything(&**store).await.len(), 3);
    }
}

#[tokio::test]
async fn a_term_that_has_ended_writes_nothing() {
    let world = World::new().await;
    for store in &world.stores {
        let old = store.begin_term().await.unwrap();
        let new = store.begin_term().await.unwrap();
        let late = store.append(old, vec![first(1)]).await;
        assert_eq!(late[0].as_ref().unwrap_err().kind(), ErrorKind::Conflict);
        store.append(new, vec![first(1)]).await.remove(0).unwrap();
        assert_eq!(everything(&**store).await.len(), 1);
    }
}

#[tokio::test]
async fn a_second_process_is_fenced_by_the_file() {
    let world = World::new().await;
    let path = world.dir.path().join("farmer.db");
    let old = &world.stores[1];
    let second = SqliteStore::open(&path, SqliteOptions::default())
        .await
        .unwrap();
    let term = old.begin_term().await.unwrap();
    old.append(term, vec![first(1)]).await.remove(0).unwrap();
    append(&second, vec![queued(2)]).await.unwrap();
    let late = old.append(term, vec![first(3)]).await.remove(0);
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Conflict);
    let stream = build(1).into();
    let term = second.begin_term().await.unwrap();
    let next = Batch {
        expects: vec![(stream, Version(1))],
        events: vec![story(1).remove(1)],
        ..Batch::default()
    };
    let both = second.append(term, vec![next.clone(), next]).await;
    assert!(both[0].is_ok() && both[1].is_err(), "{both:?}");
}

#[tokio::test]
async fn many_clients_write_at_once_and_each_in_its_order() {
    let world = World::new().await;
    for store in &world.stores {
        let events: Arc<dyn EventLog> = store.clone();
        let records: Arc<dyn Records> = store.clone();
        let ledger = Ledger::new(events, records);
        let clients = (0..20u64).map(|n| {
            let client = ledger.client();
            async move {
                for (version, event) in (0..).zip(story(n)) {
                    let stream = event.stream.clone();
                    let batch = Batch {
                        expects: vec![(stream.clone(), Version(version))],
                        closes: (version == 3).then_some(stream).into_iter().collect(),
                        events: vec![event],
                        ..Batch::default()
                    };
                    client.append(batch).await.unwrap();
                    // Rows say what is recorded once it is.
                    assert!(client.events().head().await.unwrap() > Seq(0));
                }
            }
        });
        futures::future::join_all(clients).await;
        let all = everything(&**store).await;
        let positions: Vec<_> = all.iter().map(|e| e.seq.0).collect();
        assert_eq!(positions, (1..=80).collect::<Vec<_>>());
        assert_eq!(*ledger.written().borrow(), Seq(80));
        assert_eq!(store.read_open(&[StreamKind::BUILD]).await.unwrap(), []);
        let row = store.build(&build(7)).await.unwrap().unwrap();
        assert_eq!(row.state, BuildStatus::Passed);
    }
}

#[tokio::test]
async fn memos_are_written_with_the_facts_and_the_last_one_counts() {
    let world = World::new().await;
    for store in &world.stores {
        let key = |text: &str| MemoKey::new(text).unwrap();
        let term = store.begin_term().await.unwrap();
        let memos = vec![
            Memo::set(key("cursor/a"), "1"),
            Memo::set(key("cursor/b"), "2"),
            Memo::set(key("lease/x"), "3"),
            Memo::set(key("cursor/a"), "4"),
        ];
        let late = Batch {
            memos: vec![Memo::removed(key("cursor/a"))],
            ..first(1)
        };
        let batches = vec![Batch { memos, ..first(1) }, late];
        let answers = store.append(term, batches).await;
        assert!(answers[0].is_ok() && answers[1].is_err(), "{answers:?}");
        let cursors = store.memos(&key("cursor/")).await.unwrap();
        let said = |memos: &[Memo]| -> Vec<String> {
            let said = memos.iter().map(|memo| {
                let value = memo.value.as_deref().unwrap_or_default();
                format!("{}={}", memo.key, String::from_utf8_lossy(value))
            });
            said.collect()
        };
        assert_eq!(said(&cursors), ["cursor/a=4", "cursor/b=2"]);
        let alone = Batch {
            memos: vec![Memo::removed(key("cursor/a"))],
            ..Batch::default()
        };
        let head = store.append(term, vec![alone]).await.remove(0).unwrap();
        assert_eq!(head, Seq(1), "a memo is no event");
        let cursors = store.memos(&key("cursor/")).await.unwrap();
        assert_eq!(said(&cursors), ["cursor/b=2"]);
    }
}

#[tokio::test]
async fn rows_say_what_happened_and_can_be_listed() {
    let world = World::new().await;
    let mut answers = Vec::new();
    for store in &world.stores {
        append_all(&**store, (1..=9).map(story).collect()).await;
        append_all(&**store, vec![vec![queued(10)]]).await;
        let row = store.build(&build(3)).await.unwrap().unwrap();
        assert_eq!(row.state, BuildStatus::Passed);
        assert_eq!(row.runs[0].output_bytes, 5);
        assert_eq!(store.build(&build(99)).await.unwrap(), None);
        let open = store.open().await.unwrap();
        assert_eq!(open.iter().map(|r| &r.id).collect::<Vec<_>>(), [&build(10)]);

        let odd = BuildFilter {
            repo: Some(RepoName::new("odd").unwrap()),
            state: Some(BuildStatus::Passed),
            ..BuildFilter::default()
        };
        let first = store.builds(&odd, None, 3).await.unwrap();
        let second = store.builds(&odd, first.next, 3).await.unwrap();
        let listed = first.builds.iter().chain(&second.builds);
        let ids: Vec<_> = listed.map(|row| row.id.clone()).collect();
        assert_eq!(ids, [9, 7, 5, 3, 1].map(build));
        assert_eq!(second.next, None);

        let by_commit = BuildFilter {
            commit: Some(format!("{:040x}", 7)[..39].to_owned()),
            ..BuildFilter::default()
        };
        assert_eq!(
            store
                .builds(&by_commit, None, 99)
                .await
                .unwrap()
                .builds
                .len(),
            10
        );

        let repo = RepoName::new("even").unwrap();
        let local = BuilderName::new("local").unwrap();
        let took = store.timings(&repo, &local, &unit().step, 2).await.unwrap();
        let took: Vec<_> = took.iter().map(|t| t.took.as_millis()).collect();
        assert_eq!(took, [8, 6]);
        answers.push((first, second, open));
    }
    assert_eq!(answers[0], answers[1], "both stores answer the same");
}

#[tokio::test]
async fn rows_rebuilt_from_the_log_are_the_same_rows() {
    let world = World::new().await;
    for store in &world.stores {
        append_all(&**store, (1..=5).map(story).collect()).await;
        append_all(&**store, vec![vec![queued(6)]]).await;
        let all = BuildFilter::default();
        let before = store.builds(&all, None, 99).await.unwrap();
        let step = unit().step;
        let local = BuilderName::new("local").unwrap();
        let repo = RepoName::new("odd").unwrap();
        let timings = store.timings(&repo, &local, &step, 99).await.unwrap();
        store.rebuild().await.unwrap();
        assert_eq!(store.builds(&all, None, 99).await.unwrap(), before);
        assert_eq!(
            store.timings(&repo, &local, &step, 99).await.unwrap(),
            timings
        );
        assert_eq!(timings.len(), 3);
    }
}

#[tokio::test]
async fn the_past_of_tests_is_told_newest_first() {
    let world = World::new().await;
    let mut answers = Vec::new();
    for store in &world.stores {
        for n in 1..=6 {
            let tests = TestCounts {
                passed: n,
                ..TestCounts::default()
            };
            let tested = BuildEvent::Tested {
                unit: unit(),
                attempt: 1,
                tests,
                results: None,
            };
            append_all(&**store, vec![vec![queued(n), new(n, tested)]]).await;
        }
        let repo = RepoName::new("even").unwrap();
        let local = BuilderName::new("local").unwrap();
        let last = store.build(&build(6)).await.unwrap().unwrap();
        assert_eq!(last.runs.len(), 0);
        let step = unit().step;
        let past = |limit| store.tested(&repo, &local, &step, last.number, limit);
        let numbers = |past: &[Tested]| past.iter().map(|t| t.tests.passed).collect::<Vec<_>>();
        assert_eq!(numbers(&past(9).await.unwrap()), [4, 2]);
        assert_eq!(numbers(&past(1).await.unwrap()), [4]);
        let before = past(9).await.unwrap();
        store.rebuild().await.unwrap();
        assert_eq!(past(9).await.unwrap(), before);
        answers.push(before);
    }
    assert_eq!(answers[0], answers[1], "both stores answer the same");
}

/// An event of somebody else's, or of a newer version.
fn foreign(stream: &str, kind: &str, v: u16, must: bool, body: &str) -> NewEvent {
    NewEvent {
        stream: stream.parse().unwrap(),
        at: at(2),
        by: "vendor:somebody".parse().unwrap(),
        kind: EventKind::new(kind).unwrap(),
        v,
        must,
        body: RawValue::from_string(body.to_owned()).unwrap(),
    }
}

#[tokio::test]
async fn what_is_not_known_is_kept_as_it_was_written() {
    let world = World::new().await;
    for store in &world.stores {
        let of_build = format!("build/{}", build(1));
        let newer = vec![
            queued(1),
            foreign(&of_build, "promoted", 1, false, r#"{"to":{"level":7.0}}"#),
            foreign(&of_build, "finished", 2, true, "{ \"outcome\" : 7 }"),
            foreign("tide/harbour", "rose", 9, false, "[1, 2]"),
        ];
        append_all(&**store, vec![newer.clone()]).await;
        let all = everything(&**store).await;
        for (written, new) in all.iter().zip(&newer) {
            assert_eq!(written.body.get(), new.body.get());
            assert_eq!((&written.kind, written.v), (&new.kind, new.v));
            assert_eq!(written.by, new.by);
        }
        assert!(store.build(&build(1)).await.unwrap().unwrap().is_open());
        let tides = KindSet::of([StreamKind::new("tide").unwrap()]);
        let page = store.read(&tides, Seq(0), 9).await.unwrap();
        assert_eq!((&page.items[..], page.upto), (&all[3..], Seq(4)));
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("farmer.db");
    let small = SqliteOptions::default().max_bytes(300_000);
    let store = SqliteStore::open(&path, small).await.unwrap();
    let mut head = Seq(0);
    let error = loop {
        match append(&store, story(head.0)).await {
            Ok(seq) => head = seq,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.hint().unwrap().contains("disk space"), "{error:?}");
    assert!(head > Seq(0));
    assert_eq!(store.head().await.unwrap(), head);
    drop(store);
    let store = SqliteStore::open(&path, SqliteOptions::default())
        .await
        .unwrap();
    assert_eq!(everything(&store).await.len() as u64, head.0);
    append(&store, story(head.0)).await.unwrap();
}

#[tokio::test]
async fn appends_go_on_when_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("farmer.db");
    let small = SqliteOptions::default().max_bytes(300_000);
    let store = SqliteStore::open(&path, small).await.unwrap();
    let large: Vec<_> = (0..5_000).map(queued).collect();
    let error = append(&store, large).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert_eq!(append(&store, story(1)).await.unwrap(), Seq(4));
}

#[tokio::test]
async fn a_damaged_file_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("farmer.db");
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let error = SqliteStore::open(&path, SqliteOptions::default())
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(error.chain().contains("farmer.db"), "{}", error.chain());
    let size = std::fs::metadata(&path).unwrap().len();
    assert_eq!(size, 8192, "it is left as it was found");
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("farmer.db");
    let store = SqliteStore::open(&path, SqliteOptions::default()).await;
    drop(store.unwrap());
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut newer = sqlx::SqliteConnection::connect_with(&options)
        .await
        .unwrap();
    sqlx::query("PRAGMA user_version = 99")
        .execute(&mut newer)
        .await
        .unwrap();
    newer.close().await.unwrap();
    let error = SqliteStore::open(&path, SqliteOptions::default())
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
}

#[tokio::test]
async fn a_data_directory_has_one_owner_and_any_number_of_readers() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Store::open_to_read(dir.path()).await.err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing:?}");
    let store = Store::open(dir.path()).await.unwrap();
    let second = Store::open(dir.path()).await.err().unwrap();
    assert_eq!(second.kind(), ErrorKind::Conflict);
    append(&**store.events(), story(1)).await.unwrap();
    let reader = Store::open_to_read(dir.path()).await.unwrap();
    assert!(reader.records().build(&build(1)).await.unwrap().is_some());
    assert!(reader.records().rebuild().await.is_err());
    let key = BlobKey::new(BlobKind::Cache, "k").unwrap();
    assert_eq!(reader.blobs().keys(BlobKind::Cache).await.unwrap(), []);
    assert!(reader.blobs().put(&key, once("x")).await.is_err());
}

/// A build of the commit of `n` that runs build `n` again.
fn rerun(n: u64, of: u64) -> NewEvent {
    let event = BuildEvent::Queued {
        item: item(of).rerun(&build(of)),
        builder: BuilderName::new("local").unwrap(),
    };
    new(n, event)
}

#[tokio::test]
async fn a_rerun_is_told_of_in_the_row_and_the_cell_of_the_first_build() {
    let world = World::new().await;
    for store in &world.stores {
        let mut failed = story(1);
        let last = failed.len() - 1;
        let outcome = Outcome::Failed {
            step: unit().step,
            text: "exit status 1".into(),
        };
        failed[last] = new(1, BuildEvent::Finished { outcome });
        append_all(&**store, vec![failed, vec![rerun(7, 1)]]).await;
        let told = async || {
            let row = store.build(&build(1)).await.unwrap().unwrap();
            let which = BoardFilter {
                repo: item(1).repo,
                branch: None,
            };
            let board = store.board(&which, None, 10).await.unwrap();
            assert_eq!(board.lines.len(), 1);
            let cell = board.lines[0].cells.values().next().unwrap().clone();
            assert_eq!(cell.build, build(1));
            assert_eq!(cell.rerun, row.rerun);
            row.rerun.unwrap()
        };
        assert_eq!(told().await.state, BuildStatus::Queued);
        let outcome = Outcome::Passed;
        let end = new(7, BuildEvent::Finished { outcome });
        append_all(&**store, vec![vec![end]]).await;
        let rerun = told().await;
        assert_eq!((rerun.build, rerun.state), (build(7), BuildStatus::Passed));
        store.rebuild().await.unwrap();
        assert_eq!(told().await.state, BuildStatus::Passed);
    }
}

#[tokio::test]
async fn what_is_old_is_packed_and_read_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())
        .await
        .unwrap();
    let odd = r#"{ "item": 7, "unknown": [1.0, "\u00e4"] }"#;
    let of_build = format!("build/{}", build(1));
    let odd = foreign(&of_build, "noted", 3, false, odd);
    append_all(&store, (1..=2000).map(story).collect()).await;
    append_all(&store, vec![vec![odd], vec![queued(2001)]]).await;
    let late = |n| {
        let mut event = queued(n);
        event.at = at(1000);
        event
    };
    let end = append_all(&store, vec![vec![late(2002)], vec![late(2003)]]).await;
    let before = everything(&store).await;
    let all = BuildFilter::default();
    let rows = store.builds(&all, None, 5000).await.unwrap();
    let open = store.read_open(&[StreamKind::BUILD]).await.unwrap();

    assert_eq!(store.pack(at(0), Seq(u64::MAX)).await.unwrap(), 0);
    assert_eq!(
        store.pack(at(500), Seq(100)).await.unwrap(),
        100,
        "not behind the floor"
    );
    let mut packed = 100;
    while let count @ 1.. = store.pack(at(500), Seq(u64::MAX)).await.unwrap() {
        packed += count;
    }
    assert_eq!(packed, 2000 * story(1).len() + 2, "what is new stays");
    assert_eq!(store.head().await.unwrap(), end);
    assert_eq!(
        everything(&store).await,
        before,
        "in order, as it was written"
    );
    for n in [1, 100, 2000, 2001, 2002] {
        let stream = build(n).into();
        let whole: Vec<_> = before
            .iter()
            .filter(|e| e.stream == stream)
            .cloned()
            .collect();
        let read = async |after, limit| store.read_stream(&stream, after, limit).await.unwrap();
        assert_eq!(read(Version(0), 1000).await, whole);
        let rest: Vec<_> = whole.iter().skip(1).take(2).cloned().collect();
        assert_eq!(read(Version(1), 2).await, rest);
        assert_eq!(read(Version(100), 1000).await, []);
    }
    assert_eq!(store.read_open(&[StreamKind::BUILD]).await.unwrap(), open);
    let heads = store
        .heads(&[build(1).into(), build(2001).into()])
        .await
        .unwrap();
    assert_eq!((heads[0].version, heads[0].is_open), (Version(5), false));
    assert_eq!((heads[1].version, heads[1].is_open), (Version(1), true));
    // A stream of which all is packed goes on.
    let end = BuildEvent::CancelRequested { by: "me".into() };
    append_all(&store, vec![vec![new(2001, end)]]).await;
    let stream = build(2001).into();
    let versions = store.read_stream(&stream, Version(0), 9).await.unwrap();
    let versions: Vec<_> = versions.iter().map(|e| e.version.0).collect();
    assert_eq!(versions, [1, 2]);
    store.rebuild().await.unwrap();
    assert_eq!(store.builds(&all, None, 5000).await.unwrap(), rows);
    drop(store);
    let store = SqliteStore::open_to_read(&path).await.unwrap();
    let seven = store.read_stream(&build(7).into(), Version(0), 1000).await;
    assert_eq!(seven.unwrap().len(), story(7).len());
}

/// Somebody reads in order, a few events at a time, while all of it is packed.
#[tokio::test]
async fn packing_hides_no_event_from_somebody_who_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())
        .await
        .unwrap();
    append_all(&store, (1..=500).map(story).collect()).await;
    let (mut after, mut seen) = (Seq(0), 0);
    loop {
        let page = store.read(&KindSet::all(), after, 7).await.unwrap();
        if page.upto == after {
            break;
        }
        assert_eq!(page.items.first().unwrap().seq, Seq(after.0 + 1));
        after = page.upto;
        seen += page.items.len();
        if seen % 5 == 0 {
            store.pack(at(500), Seq(after.0 + 50)).await.unwrap();
        }
    }
    assert_eq!(seen, 500 * story(1).len());
}

#[tokio::test]
async fn the_last_event_of_the_log_is_never_packed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())
        .await
        .unwrap();
    let end = append_all(&store, (1..=2).map(story).collect()).await;
    assert_eq!(store.pack(at(500), Seq(u64::MAX)).await.unwrap(), 7);
    assert_eq!(store.pack(at(500), Seq(u64::MAX)).await.unwrap(), 0);
    assert_eq!(store.head().await.unwrap(), end);
    let next = append_all(&store, vec![story(3)]).await;
    assert_eq!(next.0, end.0 + story(3).len() as u64);
}

#[tokio::test]
async fn what_waits_and_what_runs_are_told_apart_without_reading_all_that_waits() {
    let world = World::new().await;
    for store in &world.stores {
        let granted = |n| {
            let leased = BuildEvent::Leased {
                lease: LeaseId::from_bits(n),
                machine: MachineId::new("m1").unwrap(),
                unit: unit(),
            };
            new(n, leased)
        };
        let outcome = Outcome::Passed;
        let ended = new(2, BuildEvent::Finished { outcome });
        let batch = vec![
            queued(1),
            queued(2),
            queued(3),
            queued(4),
            granted(2),
            granted(3),
        ];
        append_all(&**store, vec![batch, story(5), vec![ended]]).await;
        let ids = |rows: Vec<BuildRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
        let active = ids(store.active().await.unwrap());
        assert_eq!(
            active,
            [build(2), build(3)],
            "one has its result and its machine still"
        );
        assert_eq!(store.count_queued().await.unwrap(), 2);
        assert_eq!(ids(store.queued(1).await.unwrap()), [build(1)]);
        assert_eq!(ids(store.queued(9).await.unwrap()), [build(1), build(4)]);
        let which = BuildFilter {
            state: Some(BuildStatus::Queued),
            ..BuildFilter::default()
        };
        let newest = store.builds(&which, None, 1).await.unwrap();
        assert_eq!(ids(newest.builds), [build(4)]);
    }
}
