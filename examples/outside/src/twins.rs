//! A test of one's own recipe or rule: a whole farm in this process, from the twins in memory.

use build_core::recipe::Detect;
use build_server::coordinator::Coordinator;
use build_server::testing::{FakeFarm, FakePool, MemoryCheckouts, MemoryRepository};

use crate::Result;
use crate::hotfix::Hotfix;

/// Two commits of which the second one breaks what the first one made.
pub async fn twins() -> Result<()> {
    let repository = MemoryRepository::new("acme/server");
    repository.write("Makefile", "test:\n\tgrep -q good word\n");
    repository.write("word", "good\n");
    let first = repository.commit("first");
    repository.write("word", "bad\n");
    let second = repository.commit("second");

    let checkouts = MemoryCheckouts::default().with(&repository);
    let builder = Coordinator::builder().policy(Hotfix).pool(FakePool::new(2)).recipe(Detect).checkouts(checkouts);
    let farm = FakeFarm::start(builder)?;
    let (good, bad) = tokio::join!(farm.build(first), farm.build(second));
    farm.stop().await;
    println!("built in memory: {}, {}", good.passed(), bad.passed());
    if good.passed() && !bad.passed() { Ok(()) } else { Err("another verdict than expected".into()) }
}
