//! A stop gives every machine back, in whatever state it finds it.

use std::time::Duration;

use build_server::coordinator::CoordinatorBuilder;
use build_server::store::Store;

use crate::farm::{FakePool, Farm, Repository, Steps, step};

fn farm(pool: &FakePool) -> Farm {
    Farm::start(pool, Store::memory(), Steps(vec![step("all", "true")]))
}

/// One that waits for nothing at a stop.
fn hasty(pool: &FakePool) -> Farm {
    let steps = Steps(vec![step("all", "true")]);
    let hasty = |builder: CoordinatorBuilder| builder.wind_down(Duration::ZERO);
    Farm::start_with(pool, Store::memory(), steps, hasty)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_on_its_way_is_given_back_once_it_is_here() {
    let pool = FakePool::new(1).held_back();
    let farm = farm(&pool);
    let repository = Repository::with_file("a", "");
    farm.submit(&repository).await;
    pool.until_asked(1).await;
    farm.begin_stop();
    pool.let_through();
    farm.stop().await;
    assert!(pool.leases().is_empty(), "a machine is held by nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_never_comes_does_not_keep_the_farm_from_ending() {
    let pool = FakePool::new(1).held_back();
    let farm = hasty(&pool);
    let repository = Repository::with_file("a", "");
    let build = farm.submit(&repository).await;
    pool.until_asked(1).await;
    let open = farm.handle.clone();
    farm.stop().await;
    // It goes on at the next start.
    let row = open.records().build(&build).await.unwrap().unwrap();
    assert_eq!(row.outcome, None);
}
