//! The public contracts of the seams, kept by our own parts.

use std::sync::Arc;

use build_client::once;
use build_core::ids::BuildId;
use build_server::readers::{FileMemos, LedgerMemos, ListFeed, LogFeed, MemoryMemos};
use build_server::source::GitSource;
use build_server::store::{
    BlobKey, BlobKind, Blobs, EventLog, FileBlobs, FileLogs, Ledger, MemoryBlobs, MemoryLog,
    MemoryLogs, MemoryRecords, MemoryStore, Quota, Records, SqliteOptions, SqliteStore, Store,
};
use build_server::testing;

use crate::farm::Repository;

async fn sqlite(dir: &tempfile::TempDir) -> Arc<SqliteStore> {
    let path = dir.path().join("farmer.db");
    Arc::new(
        SqliteStore::open(&path, SqliteOptions::default())
            .await
            .unwrap(),
    )
}

#[tokio::test]
async fn rows_are_those_of_the_fold_wherever_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (memory, disk) = (Arc::new(MemoryStore::default()), sqlite(&dir).await);
    testing::records(memory.clone(), memory).await.unwrap();
    testing::records(disk.clone(), disk).await.unwrap();
    let log = Arc::new(MemoryLog::default());
    let beside = MemoryRecords::of(log.clone()).await.unwrap();
    testing::records(log, Arc::new(beside)).await.unwrap();
}

#[tokio::test]
async fn contents_are_kept_and_checked_by_every_store() {
    let dir = tempfile::tempdir().unwrap();
    let files = FileBlobs::open(dir.path(), Quota::default()).unwrap();
    testing::blobs(&files).await.unwrap();
    testing::blobs(&MemoryBlobs::default()).await.unwrap();
    let key = BlobKey::new(BlobKind::Source, "x.tgz").unwrap();
    Blobs::put(&files, &key, once("some text")).await.unwrap();
    let path = dir.path().join("source/x.tgz");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[2] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    testing::damaged_blob(&files, &key).await.unwrap();
}

#[tokio::test]
async fn logs_are_kept_by_every_store() {
    let dir = tempfile::tempdir().unwrap();
    testing::logs(&FileLogs::new(dir.path())).await.unwrap();
    testing::logs(&MemoryLogs::default()).await.unwrap();
}

#[tokio::test]
async fn memos_are_kept_by_every_place() {
    let dir = tempfile::tempdir().unwrap();
    testing::memos(&MemoryMemos::default()).await.unwrap();
    testing::memos(&FileMemos::open(dir.path()).unwrap())
        .await
        .unwrap();
    let store = Store::memory();
    testing::memos(&LedgerMemos::new(&store.ledger()))
        .await
        .unwrap();
    let disk = sqlite(&dir).await;
    let ledger = Ledger::new(disk.clone(), disk);
    testing::memos(&LedgerMemos::new(&ledger)).await.unwrap();
}

#[tokio::test]
async fn feeds_are_read_in_pages_without_a_gap() {
    let list = ListFeed::default();
    (0..7).for_each(|n| list.push(n));
    testing::feed(&list).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let disk = sqlite(&dir).await;
    let memory = Arc::new(MemoryStore::default());
    let logs: [(Arc<dyn EventLog>, Arc<dyn Records>); 2] =
        [(disk.clone(), disk), (memory.clone(), memory)];
    for (events, _records) in logs {
        for n in 0..7 {
            let event = build_core::event::BuildEvent::CancelRequested {
                by: build_core::event::Principal::farm(),
            };
            let event = testing::event(&BuildId::from_bits(n), Default::default(), &event);
            testing::append(&*events, vec![event]).await.unwrap();
        }
        testing::feed(&LogFeed::new(events, build_core::event::KindSet::all()))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_repository_is_a_source() {
    let repo = Repository::with_file("a", "1");
    for text in ["2", "3"] {
        repo.write("a", text);
        repo.commit("next");
    }
    let source = GitSource::watch(repo.origin());
    testing::source(&source).await.unwrap();
}
