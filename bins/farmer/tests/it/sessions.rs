//! A session on a real machine: the program as a buildlet of its own.

use std::path::Path;
use std::time::Duration;

use build_core::ErrorKind;
use build_core::buildlet::{Buildlet, Exec};
use build_core::event::{Outcome, SessionEnd};
use build_core::recipe::Detect;
use build_server::coordinator::{Coordinator, Handle};
use build_server::pool::LocalPool;
use build_server::store::Store;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a loaded machine.
const SOON: Duration = Duration::from_secs(60);

struct Farm {
    handle: Handle,
    stop: CancellationToken,
    running: JoinHandle<build_core::Result<()>>,
}

async fn start(data: &Path) -> Farm {
    let pool = LocalPool::builder(env!("CARGO_BIN_EXE_farmer"), 1)
        .data_dir(data)
        .build()
        .unwrap();
    let coordinator = Coordinator::builder()
        .pool(pool)
        .recipe(Detect)
        .store(open(data).await)
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    Farm {
        handle: coordinator.handle(),
        running: spawn(coordinator.run(stop.clone())),
        stop,
    }
}

/// Opens the store once nothing of an earlier farm holds it any more.
async fn open(data: &Path) -> Store {
    let opened = async {
        loop {
            match Store::open(data).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                opened => return opened.unwrap(),
            }
        }
    };
    tokio::time::timeout(SOON, opened)
        .await
        .expect("it is free soon")
}

#[expect(clippy::disallowed_methods, reason = "a test is its own supervisor")]
fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work)
}

#[tokio::test]
async fn a_session_outlives_the_coordinator_and_ends_with_its_holder() {
    let data = tempfile::tempdir().unwrap();
    let farm = start(data.path()).await;
    let session = tokio::time::timeout(SOON, farm.handle.create("local")).await;
    let session = session.expect("a machine is free").unwrap();
    let id = session.id().clone();
    let first = session
        .exec(Exec::shell("echo mine > file; pwd"))
        .await
        .unwrap();
    assert!(first.outcome().is_ok(), "{}", first.text());
    // As far as a part of this process can be killed.
    farm.running.abort();
    // An aborted task says that it was.
    let _ = farm.running.await;
    drop((session, farm.handle));

    let farm = start(data.path()).await;
    let session = tokio::time::timeout(SOON, farm.handle.session(&id)).await;
    let session = session.expect("it is found again soon").unwrap();
    let again = session.exec(Exec::shell("cat file; pwd")).await.unwrap();
    assert_eq!(again.text(), format!("mine\n{}", first.text()));
    session.close().await.unwrap();
    let row = farm.handle.records().session(&id).await.unwrap().unwrap();
    assert_eq!(row.outcome, Some(Outcome::Closed(SessionEnd::Returned)));
    assert!(!row.is_open());

    farm.stop.cancel();
    farm.running.await.unwrap().unwrap();
}
