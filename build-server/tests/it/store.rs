//! What every store promises, and what the one on disk promises beyond.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use build_core::ErrorKind;
use build_core::buildlet::ExecOutcome;
use build_core::clock::Timestamp;
use build_core::event::{BuildEvent, NewEvent, Outcome, Recorded, Seq, UnitEnd};
use build_core::ids::{
    BuildId, BuilderName, CommitHash, ExecId, LeaseId, MachineId, Nonce, RepoName, StepName,
};
use build_core::plan::{Part, Unit};
use build_core::test_lines::TestCounts;
use build_core::work::{Class, WorkItem};
use build_server::record::{BuildRow, BuildState, Tested};
use build_server::store::{
    BoardFilter, BoardPage, BuildFilter, EventLog, MemoryStore, Records, SqliteOptions,
    SqliteStore, Store,
};
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

fn new(n: u64, event: BuildEvent) -> NewEvent {
    NewEvent {
        at: at(2),
        build: build(n),
        event,
    }
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
    let BuildEvent::Queued { item, .. } = &mut uncommitted.event else {
        unreachable!()
    };
    item.worktree = true;
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
        .map(|known| format!("{} {}", known.repo, known.branches.join(",")))
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
async fn the_board_of_an_older_version_is_made_when_it_is_opened() {
    let world = World::new().await;
    append_a_board(&*world.stores[1]).await;
    let path = world.dir.path().join("farmer.db");
    let url = format!("sqlite:{}", path.display());
    let mut file = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let older = "DROP TABLE line; DROP TABLE cell; DROP TABLE branch;
        DROP TABLE session; DROP TABLE tested; DROP TABLE pack; DROP TABLE packed;
        DROP INDEX build_open_state; PRAGMA user_version = 1;";
    sqlx::raw_sql(older).execute(&mut file).await.unwrap();
    let newer = SqliteStore::open(&path, SqliteOptions::default())
        .await
        .unwrap();
    check_board(&newer).await;
}

async fn append_all(store: &dyn Both, batches: Vec<Vec<NewEvent>>) -> Seq {
    let mut head = store.head().await.unwrap();
    for batch in batches {
        head = store.append(head, batch).await.unwrap();
    }
    head
}

async fn everything(store: &dyn Both) -> Vec<Recorded> {
    store.read(Seq(0), usize::MAX).await.unwrap()
}

#[tokio::test]
async fn events_come_back_in_order_by_position_and_by_build() {
    let world = World::new().await;
    for store in &world.stores {
        append_all(&**store, vec![story(1), vec![queued(2)]]).await;
        let all = everything(&**store).await;
        let positions: Vec<_> = all.iter().map(|e| e.seq.0).collect();
        assert_eq!(positions, [1, 2, 3, 4, 5]);
        assert_eq!(store.read(Seq(1), 2).await.unwrap(), all[1..3]);
        let of_two = store.read_build(&build(2), Seq(0), 9).await.unwrap();
        assert_eq!(of_two, all[4..]);
        assert_eq!(store.read_open().await.unwrap(), all[4..]);
    }
}

#[tokio::test]
async fn a_writer_with_an_old_picture_is_fenced_off() {
    let world = World::new().await;
    for store in &world.stores {
        let head = append_all(&**store, vec![vec![queued(1)]]).await;
        let late = store.append(Seq(0), vec![queued(2)]).await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(store.head().await.unwrap(), head);
    }
}

#[tokio::test]
async fn a_second_process_is_fenced_by_the_file() {
    let world = World::new().await;
    let path = world.dir.path().join("farmer.db");
    let first = &world.stores[1];
    let second = SqliteStore::open(&path, SqliteOptions::default())
        .await
        .unwrap();
    append_all(&**first, vec![vec![queued(1)]]).await;
    let late = second.append(Seq(0), vec![queued(2)]).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Conflict);
    second.append(Seq(1), vec![queued(2)]).await.unwrap();
    let old = first.append(Seq(1), vec![queued(3)]).await;
    assert_eq!(old.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn appends_that_wait_together_are_committed_in_order() {
    let world = World::new().await;
    for store in &world.stores {
        let appends = (0..200u64).map(|n| store.append(Seq(n), vec![queued(n)]));
        let done = futures::future::join_all(appends).await;
        let heads: Vec<_> = done.into_iter().map(|seq| seq.unwrap().0).collect();
        assert_eq!(heads, (1..=200).collect::<Vec<_>>());
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
        assert_eq!(row.state, BuildState::Passed);
        assert_eq!(row.runs[0].output_bytes, 5);
        assert_eq!(store.build(&build(99)).await.unwrap(), None);
        let open = store.open().await.unwrap();
        assert_eq!(open.iter().map(|r| &r.id).collect::<Vec<_>>(), [&build(10)]);

        let odd = BuildFilter {
            repo: Some(RepoName::new("odd").unwrap()),
            state: Some(BuildState::Passed),
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

#[tokio::test]
async fn kinds_of_a_newer_version_are_kept_as_they_are() {
    let world = World::new().await;
    let newer = serde_json::json!({"kind": "promoted", "to": {"level": 7}});
    for store in &world.stores {
        let event = BuildEvent::Unknown(newer.clone());
        append_all(&**store, vec![vec![queued(1), new(1, event.clone())]]).await;
        assert_eq!(everything(&**store).await[1].event, event);
        assert!(store.build(&build(1)).await.unwrap().unwrap().is_open());
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("farmer.db");
    let small = SqliteOptions::default().max_bytes(200_000);
    let store = SqliteStore::open(&path, small).await.unwrap();
    let mut head = Seq(0);
    let error = loop {
        match store.append(head, story(head.0)).await {
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
    store.append(head, story(head.0)).await.unwrap();
}

#[tokio::test]
async fn appends_go_on_when_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("farmer.db");
    let small = SqliteOptions::default().max_bytes(200_000);
    let store = SqliteStore::open(&path, small).await.unwrap();
    let large: Vec<_> = (0..5_000).map(queued).collect();
    let error = store.append(Seq(0), large).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert_eq!(store.append(Seq(0), story(1)).await.unwrap(), Seq(4));
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
    store.events().append(Seq(0), story(1)).await.unwrap();
    let reader = Store::open_to_read(dir.path()).await.unwrap();
    assert!(reader.build(&build(1)).await.unwrap().is_some());
    assert!(reader.rebuild().await.is_err());
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
        let head = store.append(Seq(0), story(1)).await.unwrap();
        let head = store.append(head, vec![rerun(7, 1)]).await.unwrap();
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
        assert_eq!(told().await.state, BuildState::Queued);
        let outcome = Outcome::Passed;
        let end = new(7, BuildEvent::Finished { outcome });
        store.append(head, vec![end]).await.unwrap();
        let rerun = told().await;
        assert_eq!((rerun.build, rerun.state), (build(7), BuildState::Passed));
        store.rebuild().await.unwrap();
        assert_eq!(told().await.state, BuildState::Passed);
    }
}

#[tokio::test]
async fn what_ended_long_ago_is_packed_and_read_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())
        .await
        .unwrap();
    append_all(&store, (1..=200).map(story).collect()).await;
    let late = NewEvent {
        at: at(1000),
        ..queued(201)
    };
    let open = append_all(&store, vec![vec![queued(202)], vec![late]]).await;
    let before = everything(&store).await;
    let rows = store
        .builds(&BuildFilter::default(), None, 1000)
        .await
        .unwrap();
    let stories: Vec<_> = [build(1), build(100), build(200), build(202)].into();

    let mut packed = 0;
    while let count @ 1.. = store.pack(at(500)).await.unwrap() {
        packed += count;
    }
    assert_eq!(packed, 200, "those that are open or were heard of stay");
    assert_eq!(
        store.head().await.unwrap(),
        open,
        "positions are never used twice"
    );
    let left = everything(&store).await;
    assert_eq!(left.len(), 2, "{left:#?}");
    for id in &stories {
        let whole: Vec<_> = before.iter().filter(|e| e.build == *id).cloned().collect();
        assert_eq!(store.read_build(id, Seq(0), 1000).await.unwrap(), whole);
        let rest = store.read_build(id, whole[0].seq, 2).await.unwrap();
        assert_eq!(rest, whole[1..].iter().take(2).cloned().collect::<Vec<_>>());
        let after = store.read_build(id, open, 1000).await.unwrap();
        assert_eq!(after, []);
    }
    store.rebuild().await.unwrap();
    let again = store
        .builds(&BuildFilter::default(), None, 1000)
        .await
        .unwrap();
    assert_eq!(again, rows);
    drop(store);
    let store = SqliteStore::open_to_read(&path).await.unwrap();
    assert_eq!(
        store
            .read_build(&build(7), Seq(0), 1000)
            .await
            .unwrap()
            .len(),
        story(7).len()
    );
}

#[tokio::test]
async fn the_last_event_of_the_log_is_never_packed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())
        .await
        .unwrap();
    let end = append_all(&store, (1..=2).map(story).collect()).await;
    assert_eq!(store.pack(at(500)).await.unwrap(), 1);
    assert_eq!(store.pack(at(500)).await.unwrap(), 0);
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
                nonce: Nonce::new("n1").unwrap(),
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
            state: Some(BuildState::Queued),
            ..BuildFilter::default()
        };
        let newest = store.builds(&which, None, 1).await.unwrap();
        assert_eq!(ids(newest.builds), [build(4)]);
    }
}
