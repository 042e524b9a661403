//! Machines held by hand, from being asked for to being given back.

use build_core::ErrorKind;
use build_core::buildlet::{Buildlet, Exec};
use build_core::event::{Outcome, Seq, SessionEnd, SessionEvent};
use build_core::ids::SessionId;
use build_server::coordinator::Session;
use build_server::store::Store;
use futures::StreamExt;

use crate::farm::{FakePool, Farm, Repository, SOON, Steps, step};

fn no_steps() -> Steps {
    Steps(vec![step("test", "true")])
}

async fn create(farm: &Farm) -> Session {
    let created = tokio::time::timeout(SOON, farm.handle.create("local"));
    created.await.expect("a machine is free").unwrap()
}

async fn outcome(farm: &Farm, session: &SessionId) -> Outcome {
    {
        let events = farm.handle.events(session, Seq(0));
        let last = events.filter_map(async |e| match e.unwrap().read() {
            Some(SessionEvent::Finished { outcome }) => Some(outcome),
            _ => None,
        });
        let ended: Vec<_> = tokio::time::timeout(SOON, last.collect()).await.unwrap();
        ended.into_iter().next().unwrap()
    }
}

#[tokio::test]
async fn a_session_is_a_buildlet_until_it_is_closed() {
    let pool = FakePool::new(1);
    let farm = Farm::start(&pool, Store::memory(), no_steps());
    let session = create(&farm).await;
    let out = session.exec(Exec::new("echo").arg("hello")).await.unwrap();
    assert_eq!(out.text(), "hello\n");
    let open = farm.handle.records().open_sessions().await.unwrap();
    assert_eq!(open[0].id, *session.id());
    assert_eq!(open[0].machine.as_ref().unwrap().as_str(), "m1");
    session.close().await.unwrap();
    assert!(pool.leases().is_empty());
    let ended = outcome(&farm, session.id()).await;
    assert_eq!(ended, Outcome::Closed(SessionEnd::Returned));
    session.close().await.unwrap();
    assert!(session.status().await.is_err());
    farm.stop().await;
}

#[tokio::test]
async fn a_session_that_is_dropped_is_given_back_and_a_build_goes_on() {
    let pool = FakePool::new(1);
    let farm = Farm::start(&pool, Store::memory(), no_steps());
    let session = create(&farm).await;
    let repository = Repository::with_file("a", "");
    let build = farm.submit(&repository).await;
    let waits = async {
        while farm.handle.explain(&build).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, waits).await.unwrap();
    drop(session);
    assert!(farm.built(&build).await.passed());
    farm.stop().await;
}

#[tokio::test]
async fn who_waits_for_a_session_can_see_why_and_give_up() {
    let pool = FakePool::new(1);
    let farm = Farm::start(&pool, Store::memory(), no_steps());
    let first = create(&farm).await;
    let second = tokio::spawn({
        let handle = farm.handle.clone();
        async move { handle.create_for("local", "her").await.map(drop) }
    });
    let mut events = farm.handle.all_events(Seq(0));
    let second_id = loop {
        let event = events.next().await.unwrap().unwrap();
        if let Some(SessionEvent::Opened { by, .. }) = event.read()
            && by.name() == "her"
        {
            break event.stream.session().unwrap().clone();
        }
    };
    let why = farm.handle.explain(&second_id).await.unwrap();
    assert_eq!(why.len(), 1);
    second.abort();
    let ended = outcome(&farm, &second_id).await;
    assert_eq!(ended, Outcome::Closed(SessionEnd::Returned));
    drop(first);
    farm.stop().await;
}

#[tokio::test]
async fn a_session_survives_the_coordinator_and_is_taken_up_again() {
    let pool = FakePool::new(1);
    let store = Store::memory();
    let farm = Farm::start(&pool, store.clone(), no_steps());
    let session = create(&farm).await;
    let id = session.id().clone();
    session.exec(Exec::shell("echo kept > file")).await.unwrap();
    farm.kill().await;
    drop(session);

    let farm = Farm::start(&pool, store.clone(), no_steps());
    let again = tokio::time::timeout(SOON, farm.handle.session(&id)).await;
    let again = again.expect("it is found again soon").unwrap();
    let out = again.exec(Exec::shell("cat file")).await.unwrap();
    assert_eq!(out.text(), "kept\n");
    assert_eq!(pool.buildlets().len(), 1);
    again.leave();
    farm.kill().await;

    // Its machine dies while nobody watches: it ends, and says why.
    pool.leases()[0].machine().die();
    let farm = Farm::start(&pool, store, no_steps());
    let ended = outcome(&farm, &id).await;
    assert!(matches!(ended, Outcome::Infrastructure { .. }), "{ended:?}");
    let error = farm.handle.session(&id).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("was gone"), "{error}");
    farm.stop().await;
}

#[tokio::test]
async fn a_stop_leaves_sessions_and_the_next_start_takes_them_up() {
    let pool = FakePool::new(1);
    let store = Store::memory();
    let farm = Farm::start(&pool, store.clone(), no_steps());
    let session = create(&farm).await;
    let id = session.id().clone();
    session.exec(Exec::shell("echo kept > file")).await.unwrap();
    // The only machine is taken: whoever waits for it is told that there will be none.
    let handle = farm.handle.clone();
    let waiting = handle.open("local", "me", None).await.unwrap();
    let waits = waiting.id().clone();
    // An answer about it comes after its beginning.
    handle.explain(&waits).await.unwrap();
    farm.stop().await;
    assert_eq!(pool.leases().len(), 1, "it keeps its machine");
    drop((session, waiting));
    let outcome_of = async |id: &SessionId| {
        let row = store.records().session(id).await.unwrap();
        row.unwrap().outcome
    };
    assert_eq!(outcome_of(&id).await, None);
    let stopped = Outcome::Closed(SessionEnd::Stopped);
    assert_eq!(outcome_of(&waits).await, Some(stopped));

    let farm = Farm::start(&pool, store.clone(), no_steps());
    let again = tokio::time::timeout(SOON, farm.handle.session(&id)).await;
    let again = again.expect("it is found again soon").unwrap();
    let out = again.exec(Exec::shell("cat file")).await.unwrap();
    assert_eq!(out.text(), "kept\n");
    again.close().await.unwrap();
    farm.stop().await;
    assert!(pool.leases().is_empty());
}

#[tokio::test]
async fn an_unknown_kind_of_machine_is_refused_with_those_there_are() {
    let farm = Farm::start(&FakePool::new(1), Store::memory(), no_steps());
    let error = farm.handle.create("plan9").await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.hint(), Some("there are: local"));
    let canceled = {
        let session = create(&farm).await;
        farm.handle.cancel(session.id(), "me").await.unwrap();
        outcome(&farm, session.id()).await
    };
    assert_eq!(canceled, Outcome::Canceled { by: "me".into() });
    let nobody = SessionId::from_bits(1);
    let unknown = farm.handle.session(&nobody).await.map(drop);
    assert!(unknown.is_err());
    farm.stop().await;
}
