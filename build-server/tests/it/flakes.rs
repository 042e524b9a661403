//! Failed tests are judged by the builds of the commits before theirs.

use std::path::Path;

use build_core::work::WorkItem;
use build_server::store::Store;

use crate::farm::{FakePool, Farm, Repository, Steps, git_in, step};

/// A farm whose step prints the file `lines`, and fails as that says.
fn farm(pool: &FakePool) -> Farm {
    let test = step("test", "cat lines; ! grep -q FAILED lines");
    Farm::start_with(pool, Store::memory(), Steps(vec![test]), |builder| {
        builder.without_reruns()
    })
}

/// What is said of the tests that fail in a build of `item`.
async fn said(farm: &Farm, item: WorkItem) -> String {
    let builder = farm.builder();
    let build = farm.handle.submit(item, &builder).await.unwrap();
    farm.events(&build).await;
    let row = farm.handle.records().build(&build).await.unwrap();
    let failed = farm.handle.failed_tests(&row.unwrap()).await.unwrap();
    let failed = failed.iter().map(|f| format!("{} {}", f.test, f.text));
    failed.collect::<Vec<_>>().join(", ")
}

async fn commit(farm: &Farm, repository: &Path, n: usize, lines: &str) -> WorkItem {
    std::fs::write(repository.join("lines"), lines).unwrap();
    std::fs::write(repository.join("number"), n.to_string()).unwrap();
    git_in(repository, &["add", "--all"]);
    git_in(repository, &["commit", "--quiet", "-m", "again"]);
    let origin = repository.to_str().unwrap();
    farm.checkouts.resolve(origin, None).await.unwrap()
}

const BOTH_PASS: &str = "test a ... ok\ntest b ... ok\n";
const A_FAILS: &str = "test a ... FAILED\ntest b ... ok\n";

#[tokio::test]
async fn a_failure_says_whether_it_is_new_or_old() {
    let repository = Repository::with_file("lines", BOTH_PASS);
    let pool = FakePool::new(1);
    let farm = farm(&pool);
    let mut verdicts = Vec::new();
    for (n, lines) in [
        BOTH_PASS,
        A_FAILS,
        BOTH_PASS,
        "test a ... FAILED\ntest b ... FAILED\n",
        "test a ... ok\ntest b ... FAILED\n",
    ]
    .into_iter()
    .enumerate()
    {
        let item = commit(&farm, repository.path(), n, lines).await;
        verdicts.push(said(&farm, item).await);
    }
    let before = &repository.git(&["rev-parse", "HEAD~1"])[..10];
    let old = format!("b broken since {before}");
    assert_eq!(
        verdicts,
        [
            "",
            "a new (no failure in the run before)",
            "",
            // It went away with another commit, which proves no flake.
            "a new (no failure in the run before), b new (no failure in 3 runs before)",
            &old,
        ]
    );
    farm.stop().await;
}

#[tokio::test]
async fn commits_that_are_built_late_are_judged_where_they_stand() {
    let repository = Repository::with_file("lines", BOTH_PASS);
    let pool = FakePool::new(1);
    let farm = farm(&pool);
    let good = commit(&farm, repository.path(), 0, BOTH_PASS).await;
    let first = commit(&farm, repository.path(), 1, A_FAILS).await;
    let second = commit(&farm, repository.path(), 2, A_FAILS).await;
    let third = commit(&farm, repository.path(), 3, A_FAILS).await;
    // A branch on which it passes, built in between.
    repository.git(&["checkout", "-q", "-b", "side", good.commit.as_str()]);
    let side = commit(&farm, repository.path(), 4, BOTH_PASS).await;
    for item in [&third, &good, &side, &first] {
        said(&farm, item.clone()).await;
    }
    let expected = format!("a broken since {}", first.commit.short());
    assert_eq!(said(&farm, second).await, expected);
    assert_eq!(said(&farm, first).await, expected);
    farm.stop().await;
}

#[tokio::test]
async fn repositories_of_one_name_have_a_past_each() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let places = dirs.each_ref().map(|dir| dir.path().join("server"));
    for place in &places {
        std::fs::create_dir(place).unwrap();
        git_in(place, &["init", "--quiet"]);
    }
    let pool = FakePool::new(1);
    let farm = farm(&pool);
    let [one, two] = &places;
    let mut verdicts = Vec::new();
    for n in 0..2 {
        let item = commit(&farm, one, n, A_FAILS).await;
        verdicts.push(said(&farm, item).await);
        let item = commit(&farm, two, n + 7, BOTH_PASS).await;
        verdicts.push(said(&farm, item).await);
    }
    let item = commit(&farm, two, 99, A_FAILS).await;
    assert_eq!(item.repo.as_str(), "server");
    let since = &git_in(one, &["rev-parse", "HEAD~1"])[..10];
    let old = format!("a broken since {since}");
    assert_eq!(verdicts, ["a new (no runs before)", "", &old, ""]);
    let last = said(&farm, item).await;
    assert_eq!(last, "a new (no failure in 2 runs before)");
    farm.stop().await;
}

#[tokio::test]
async fn a_test_that_was_not_there_has_not_passed_before() {
    let repository = Repository::with_file("lines", BOTH_PASS);
    let pool = FakePool::new(1);
    let farm = farm(&pool);
    let mut verdicts = Vec::new();
    let c_fails = format!("{BOTH_PASS}test c ... FAILED\n");
    let skipped = format!("{BOTH_PASS}test d ... ignored\n");
    let d_fails = format!("{BOTH_PASS}test d ... FAILED\n");
    for (n, lines) in [BOTH_PASS, &c_fails, &skipped, &d_fails]
        .into_iter()
        .enumerate()
    {
        let item = commit(&farm, repository.path(), n, lines).await;
        verdicts.push(said(&farm, item).await);
    }
    assert_eq!(
        verdicts,
        [
            "",
            "c new test (not in the run before)",
            "",
            // It was there, and was left out: nobody knows whether it passes.
            "d new (no runs before)",
        ]
    );

    farm.stop().await;
}

#[tokio::test]
async fn a_run_that_ended_before_the_test_is_no_pass_of_it() {
    let repository = Repository::with_file("lines", "test a ... ok\ntest b ... FAILED\n");
    let (pool, marks) = (FakePool::new(1), tempfile::tempdir().unwrap());
    let mark = marks.path().join("whole");
    let whole = format!("test -e {}", mark.display());
    let run = format!("if {whole}; then cat lines; exit 1; fi; head -n 1 lines");
    let farm = Farm::start_with(
        &pool,
        Store::memory(),
        Steps(vec![step("test", &run)]),
        build_server::coordinator::CoordinatorBuilder::without_reruns,
    );
    assert!(farm.build(&repository).await.passed());
    std::fs::write(&mark, "").unwrap();
    let item = farm.checkouts.resolve(&repository.origin(), None).await;
    let builder = farm.builder();
    let anew = farm.handle.submit_anew(item.unwrap(), &builder, "me");
    let built = farm.built(&anew.await.unwrap()).await;
    let row = farm.handle.records().build(&built.id).await.unwrap();
    let failed = farm.handle.failed_tests(&row.unwrap()).await.unwrap();
    // With a pass at the same commit it would be called a flake.
    assert_eq!(failed[0].text, "new test (not in the run before)");
    farm.stop().await;
}
