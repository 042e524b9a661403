//! Failed tests are judged by what the builds before them printed.

use build_server::flakes::failed_tests;
use build_server::store::Store;

use crate::farm::{FakePool, Farm, Repository, Steps, step};

#[tokio::test]
async fn a_failure_says_whether_it_is_new_flaky_or_old() {
    let repository = Repository::with_file("lines", "test a ... ok\ntest b ... ok\n");
    let test = step("test", "cat lines; ! grep -q FAILED lines");
    let pool = FakePool::new(1);
    let farm = Farm::start_with(&pool, Store::memory(), Steps(vec![test]), |builder| {
        builder.without_reruns()
    });
    let mut said = Vec::new();
    for (n, lines) in [
        "test a ... ok\ntest b ... ok\n",
        "test a ... FAILED\ntest b ... ok\n",
        "test a ... ok\ntest b ... ok\n",
        "test a ... FAILED\ntest b ... FAILED\n",
        "test a ... ok\ntest b ... FAILED\n",
    ]
    .into_iter()
    .enumerate()
    {
        repository.write("lines", lines);
        repository.write("number", &n.to_string());
        repository.commit("again");
        let built = farm.build(&repository).await;
        let records = farm.handle.records();
        let row = records.build(&built.id).await.unwrap().unwrap();
        let failed = failed_tests(&**records, &row).await.unwrap();
        let failed = failed.iter().map(|f| format!("{} {}", f.test, f.verdict));
        said.push(failed.collect::<Vec<_>>().join(", "));
    }
    let before = &repository.git(&["rev-parse", "HEAD~1"])[..10];
    let old = format!("b broken since {before}");
    assert_eq!(
        said,
        [
            "",
            "a new (passed in 1 before)",
            "",
            "a known flake (1 in 3), b new (passed in 3 before)",
            &old,
        ]
    );
    farm.stop().await;
}
