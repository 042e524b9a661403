//! A farm changes over to the next version and back, under load, and loses no build.

use std::path::Path;
use std::time::Duration;

use build_core::ErrorKind;
use build_server::record::ROWS_VERSION;
use build_server::store::Store;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::farm::{FakePool, Farm, Repository, Steps, step};

/// Builds that are wanted; two of them have machines.
const BUILDS: usize = 5;

/// Leaves the data directory as another version does: one whose format is `user_version`, with rows
/// folded in another way, and `more`.
async fn as_if_by(dir: &Path, user_version: i64, rows: u32, more: &str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("farmer.db"));
    let mut db = sqlx::SqliteConnection::connect_with(&options)
        .await
        .unwrap();
    let text = format!(
        "{more} UPDATE farm SET rows = {rows}; UPDATE build SET body = '{{}}';
         PRAGMA user_version = {user_version}"
    );
    db.execute(AssertSqlSafe(text)).await.unwrap();
    db.close().await.unwrap();
}

/// What a version after this one has: a table and a column that this one does not know.
const ADDED: &str = "CREATE TABLE later (x INTEGER); ALTER TABLE build ADD COLUMN later TEXT;";
const REMOVED: &str = "DROP TABLE later; ALTER TABLE build DROP COLUMN later;";
/// Version 7, to which programs of version 6 may write, and one to which they may not.
const NEXT: i64 = 6 << 16 | 7;
const NEXT_FOR_ITSELF: i64 = 7 << 16 | 7;

/// The next life of the farm, once the one before has let go of the directory.
async fn next_life(dir: &Path, pool: &FakePool, steps: &Steps) -> Farm {
    for _ in 0..500 {
        match Store::open(dir).await {
            Ok(store) => return Farm::start(pool, store, steps.clone()),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("{} is still in use", dir.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_farm_goes_to_the_next_version_and_back_under_load_and_loses_no_build() {
    let data = tempfile::tempdir().unwrap();
    let (dir, go) = (data.path().join("data"), data.path().join("go"));
    let go_on = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    let steps = Steps(vec![step("waits", &go_on)]);
    let (pool, repository) = (FakePool::new(2), Repository::new());
    let farm = next_life(&dir, &pool, &steps).await;
    let mut builds = Vec::new();
    for n in 0..BUILDS {
        repository.commit(&format!("commit {n}"));
        builds.push(farm.submit(&repository).await);
    }
    let before = farm.handle.records().open().await.unwrap();
    assert_eq!(before.len(), BUILDS);

    // The upgrade: the version before has folded rows otherwise.
    farm.stop().await;
    as_if_by(&dir, 6, ROWS_VERSION - 1, "").await;
    let farm = next_life(&dir, &pool, &steps).await;
    let after = farm.handle.records().open().await.unwrap();
    let ids = |rows: &[build_server::record::BuildRow]| -> Vec<_> {
        rows.iter().map(|row| row.id.clone()).collect()
    };
    assert_eq!(ids(&after), ids(&before));
    // The downgrade: the next version was here, and its program was killed.
    farm.kill().await;
    as_if_by(&dir, NEXT, ROWS_VERSION + 1, ADDED).await;
    let farm = next_life(&dir, &pool, &steps).await;
    repository.commit("while it goes back");
    builds.push(farm.submit(&repository).await);
    farm.stop().await;
    // And forth again, where everything ends.
    as_if_by(&dir, 6, ROWS_VERSION + 1, REMOVED).await;
    let farm = next_life(&dir, &pool, &steps).await;
    std::fs::write(&go, "").unwrap();
    for build in &builds {
        let built = farm.built(build).await;
        assert!(built.passed(), "{:#?}", built.events);
    }
    assert_eq!(farm.handle.records().open().await.unwrap().len(), 0);
    farm.stop().await;
}

#[tokio::test]
async fn a_version_that_lets_no_other_write_is_refused_by_name_and_nothing_changes() {
    let data = tempfile::tempdir().unwrap();
    drop(Store::open(data.path()).await.unwrap());
    as_if_by(data.path(), NEXT_FOR_ITSELF, ROWS_VERSION, ADDED).await;
    let bytes = || std::fs::read(data.path().join("farmer.db")).unwrap();
    let before = bytes();
    for _ in 0..500 {
        let error = Store::open(data.path()).await.err().unwrap();
        if error.kind() != ErrorKind::Conflict {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
            assert!(error.to_string().contains("a newer version"), "{error}");
            assert_eq!(bytes(), before);
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is still in use");
}
