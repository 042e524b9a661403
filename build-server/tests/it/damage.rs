//! Bad days of a data directory: no room, damaged rows, damaged contents, open modes.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use build_client::once;
use build_core::ErrorKind;
use build_core::clock::Timestamp;
use build_core::event::{BuildEvent, NewEvent, Outcome, Seq};
use build_core::ids::{BuildId, BuilderName, CommitHash, ExecId, RepoName};
use build_core::report::BuildStatus;
use build_core::work::{Class, WorkItem};
use build_server::doctor::examine;
use build_server::source::{Checkouts, GitCheckouts};
use build_server::store::{
    BlobKey, BlobKind, BuildFilter, BuildRecords, EventLog, Records, SqliteOptions, SqliteStore,
    Store,
};
use build_server::testing::{append, event};
use sqlx::Connection as _;

use crate::farm::Repository;

/// A directory as a farm makes it.
fn own_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(dir.path(), private).unwrap();
    dir
}

fn build(n: u64) -> BuildId {
    BuildId::from_bits(n)
}

fn new(n: u64, told: BuildEvent) -> NewEvent {
    event(&build(n), Timestamp::from_seconds(2), &told)
}

fn queued(n: u64) -> NewEvent {
    let item = WorkItem {
        repo: RepoName::new("r").unwrap(),
        origin: "/r".into(),
        commit: CommitHash::new(format!("{n:040x}")).unwrap(),
        commit_time: Timestamp::from_seconds(1),
        subject: "a change".into(),
        branch: Some("main".into()),
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
    };
    let builder = BuilderName::new("local").unwrap();
    new(n, BuildEvent::Queued { item, builder })
}

fn passed(n: u64) -> NewEvent {
    let outcome = Outcome::Passed;
    new(n, BuildEvent::Finished { outcome })
}

/// A file system of a few megabytes, gone at the end.
struct Small(PathBuf);

impl Small {
    /// `None`, loudly, when this user may not mount.
    fn mount(dir: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        let mount = mount
            .args(["-t", "tmpfs", "-o", "size=4m", "none"])
            .arg(dir);
        if mount.output().is_ok_and(|done| done.status.success()) {
            return Some(Self(dir.to_owned()));
        }
        eprintln!("SKIPPED: a small file system needs mount and its rights");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // What is still open goes with the process.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[tokio::test]
async fn a_full_file_system_is_waited_for_and_then_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_small) = Small::mount(dir.path()) else {
        return;
    };
    let path = dir.path().join("farmer.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())
        .await
        .unwrap();
    append(&store, vec![queued(0)]).await.unwrap();
    let ballast = dir.path().join("ballast");
    // As much as fits.
    std::fs::write(&ballast, vec![1; 16 << 20]).unwrap_err();
    let mut n = 1;
    let error = loop {
        let many = (n..n + 50).map(queued).collect();
        match append(&store, many).await {
            Ok(_) => n += 50,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Limit, "{error:?}");
    let head = store.head().await.unwrap();
    for _ in 0..3 {
        let again = append(&store, vec![queued(n)]).await;
        assert!(again.is_err(), "there is still no room");
    }
    std::fs::remove_file(&ballast).unwrap();
    append(&store, (n..n + 50).map(queued).collect())
        .await
        .unwrap();
    assert_eq!(
        store.head().await.unwrap(),
        Seq(head.0 + 50),
        "nothing is lost or doubled"
    );
    assert_eq!(store.count_queued().await.unwrap() as u64, n + 50);
}

async fn damage(path: &Path, what: &str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut db = sqlx::SqliteConnection::connect_with(&options)
        .await
        .unwrap();
    let changed = sqlx::raw_sql(sqlx::AssertSqlSafe(what))
        .execute(&mut db)
        .await;
    assert!(changed.unwrap().rows_affected() > 0, "{what}");
    db.close().await.unwrap();
}

#[tokio::test]
async fn one_damaged_row_is_named_and_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("farmer.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())
        .await
        .unwrap();
    append(&store, (1..=4).map(queued).collect()).await.unwrap();
    append(&store, vec![passed(4)]).await.unwrap();
    // Not even text any more.
    let bytes = "CAST(x'7bff00fe' AS TEXT)";
    damage(
        &path,
        &format!("UPDATE build SET body = {bytes} WHERE number IN (2, 4)"),
    )
    .await;
    damage(
        &path,
        &format!("UPDATE cell SET body = {bytes} WHERE number = 2"),
    )
    .await;
    damage(
        &path,
        &format!("UPDATE line SET body = {bytes} WHERE number = 3"),
    )
    .await;
    let mut found = Vec::new();
    let (every, mut before) = (BuildFilter::default(), None);
    loop {
        let page = store.builds(&every, before, 1).await.unwrap();
        found.extend(page.builds.into_iter().map(|row| row.id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found, [build(3), build(1)]);
    let open: Vec<_> = store
        .open()
        .await
        .unwrap()
        .into_iter()
        .map(|r| r.id)
        .collect();
    assert_eq!(open, [build(1), build(3)]);
    let error = store.build(&build(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let told = format!("{error} {}", error.hint().unwrap());
    assert!(
        told.contains("B000000002") && told.contains("farmer doctor"),
        "{told}"
    );
    let board = build_server::store::BoardFilter {
        repo: RepoName::new("r").unwrap(),
        branch: None,
    };
    let board = build_server::store::BoardRecords::board(&store, &board, None, 9)
        .await
        .unwrap();
    assert_eq!(board.lines.len(), 3, "a damaged line is left out");
    // What happens to it next is recorded, and mends it.
    append(&store, vec![passed(2)]).await.unwrap();
    let row = store.build(&build(2)).await.unwrap().unwrap();
    assert_eq!((row.state, row.number), (BuildStatus::Passed, Seq(2)));
    store.rebuild().await.unwrap();
    let row = store.build(&build(4)).await.unwrap().unwrap();
    assert_eq!(row.state, BuildStatus::Passed);
}

/// Every file and directory below `dir`, itself included.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    if dir.is_dir() {
        let entries = dir.read_dir().unwrap().map(|entry| entry.unwrap().path());
        all.extend(entries.flat_map(|path| below(&path)));
    }
    all
}

#[tokio::test]
async fn a_data_directory_is_its_owners_alone() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("farm/data");
    let store = Store::open(&dir).await.unwrap();
    append(&**store.events(), vec![queued(1)]).await.unwrap();
    let key = BlobKey::new(BlobKind::Cache, "k").unwrap();
    store.blobs().put(&key, once("x")).await.unwrap();
    let exec = ExecId::new("e").unwrap();
    let mut writer = store.logs().writer(&build(1), &exec).await.unwrap();
    writer.append(b"secret\n").unwrap();
    let sum = build_server::store::LogHash::default().finish();
    store
        .logs()
        .seal(&build(1), &exec, &writer.log(), &sum)
        .await
        .unwrap();
    let all = below(&home.path().join("farm"));
    assert!(all.len() > 12, "{all:?}");
    for path in all {
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{}", path.display());
    }
}

#[tokio::test]
async fn a_packed_source_is_known_by_everything_that_goes_into_it() {
    let dir = tempfile::tempdir().unwrap();
    let checkouts = Arc::new(GitCheckouts::new(dir.path().join("git")));
    let repo = Repository::with_file("a", "1");
    let item = checkouts.resolve(&repo.origin(), None).await.unwrap();
    let now = async || checkouts.fingerprint(&item, 50).await.unwrap();
    let mut seen = vec![now().await];
    assert_eq!(now().await, seen[0], "nothing has changed");
    assert_ne!(checkouts.fingerprint(&item, 1).await.unwrap(), seen[0]);
    std::fs::create_dir_all(repo.path().join(".git/info")).unwrap();
    let changes: [&dyn Fn(); 4] = [
        &|| drop(repo.git(&["tag", "-a", "-m", "one", "v1"])),
        &|| drop(repo.git(&["tag", "light"])),
        &|| drop(repo.git(&["remote", "add", "origin", "https://example.org/r"])),
        &|| std::fs::write(repo.path().join(".git/info/attributes"), "a eol=crlf\n").unwrap(),
    ];
    for change in changes {
        change();
        seen.push(now().await);
    }
    repo.git(&["config", "user.nickname", "somebody"]);
    assert_eq!(&now().await, &seen[4], "what does not go in does not count");
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), 5, "{seen:#?}");
}

#[tokio::test]
async fn the_file_alone_is_whole_after_a_clean_stop_and_a_lost_wal_is_noticed() {
    let dir = own_dir();
    let path = dir.path().join("farmer.db");
    let store = Store::open(dir.path()).await.unwrap();
    append(&**store.events(), (0..20).map(queued).collect())
        .await
        .unwrap();
    store.close().await.unwrap();
    drop(store);
    let copy = dir.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    let alone = SqliteStore::open(&copy, SqliteOptions::default())
        .await
        .unwrap();
    assert_eq!(alone.head().await.unwrap(), Seq(20));
    assert_eq!(alone.count_queued().await.unwrap(), 20);

    // As after a kill: what was written last is in the write-ahead log alone.
    let store = Store::open(dir.path()).await.unwrap();
    append(&**store.events(), (20..30).map(queued).collect())
        .await
        .unwrap();
    let killed = own_dir();
    for file in ["farmer.db", "farmer.db-head", "farmer.db-wal"] {
        std::fs::copy(dir.path().join(file), killed.path().join(file)).unwrap();
    }
    let wal = killed.path().join("farmer.db-wal");
    let mut bytes = std::fs::read(&wal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&wal, bytes).unwrap();
    let open = async || Store::open(killed.path()).await.map(drop);
    let error = open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let told = format!("{error} {}", error.hint().unwrap());
    assert!(
        told.contains("farmer.db-wal") && told.contains("farmer doctor"),
        "{told}"
    );
    let seen = examine(killed.path(), false, |_| ()).await.unwrap();
    assert_eq!(seen.findings.len(), 1, "{seen:?}");
    let mended = examine(killed.path(), true, |_| ()).await.unwrap();
    assert!(mended.findings.iter().all(|f| f.mended), "{mended:?}");
    open().await.unwrap();
}

#[tokio::test]
async fn the_doctor_names_what_is_wrong_and_mends_what_can_be() {
    let dir = own_dir();
    let store = Store::open(dir.path()).await.unwrap();
    append(&**store.events(), (1..=3).map(queued).collect())
        .await
        .unwrap();
    let exec = ExecId::new("e").unwrap();
    let mut writer = store.logs().writer(&build(1), &exec).await.unwrap();
    writer.append(b"text").unwrap();
    let mut sum = build_server::store::LogHash::default();
    sum.feed(b"text");
    store
        .logs()
        .seal(&build(1), &exec, &writer.log(), &sum.finish())
        .await
        .unwrap();
    drop(writer);
    let cache = BlobKey::new(BlobKind::Cache, "k").unwrap();
    store.blobs().put(&cache, once("some cache")).await.unwrap();
    let (file, _) = store
        .blobs()
        .put_by_hash(BlobKind::Artifact, once("a file"))
        .await
        .unwrap();
    let in_use = examine(dir.path(), true, |_| ()).await.unwrap_err();
    assert_eq!(in_use.kind(), ErrorKind::Conflict, "a farm is at work");
    let well = examine(dir.path(), false, |_| ()).await.unwrap();
    assert_eq!((well.events, well.blobs, well.logs), (3, 2, 1));
    assert_eq!(well.findings, [], "all is well");
    store.close().await.unwrap();
    drop(store);

    damage(
        &dir.path().join("farmer.db"),
        "UPDATE build SET body = '{}' WHERE number = 2",
    )
    .await;
    let log = dir.path().join("logs/B000000001/e.log");
    let blobs = dir.path().join("blobs");
    for path in [
        log,
        blobs.join("cache/k"),
        blobs.join("artifact").join(file.name()),
    ] {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[1] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    let trash = dir.path().join("machines/local/.trash-1");
    std::fs::create_dir_all(trash.join("x")).unwrap();
    let seen = examine(dir.path(), false, |_| ()).await.unwrap();
    let told: Vec<_> = seen.findings.iter().map(|f| f.what.as_str()).collect();
    let parts = [
        "B000000002",
        "cache/k",
        "artifact/",
        "the log e of B000000001",
        ".trash-1",
    ];
    for part in parts {
        assert!(
            told.iter().any(|what| what.contains(part)),
            "{part}: {told:?}"
        );
    }
    assert!(
        seen.findings
            .iter()
            .all(|f| !f.mended && !f.remedy.is_empty())
    );
    assert_eq!(told.len(), parts.len(), "{told:?}");
    assert!(trash.exists(), "who only looks changes nothing");
    examine(dir.path(), true, |_| ()).await.unwrap();
    let left = examine(dir.path(), false, |_| ()).await.unwrap();
    let told: Vec<_> = left.findings.iter().map(|f| f.what.as_str()).collect();
    assert_eq!(told.len(), 2, "originals are lost, and said: {told:?}");
    assert!(!trash.exists());
}
