//! What a farm finds: new branches, rebased ones, tags, commits that ask to be passed over.

use std::collections::BTreeSet;
use std::time::Duration;

use build_server::source::GitSource;
use build_server::store::{BuildFilter, Store};

use crate::farm::{FakePool, Farm, Repository, SOON, Steps, git_in, step};

fn farm(pool: &FakePool, store: &Store, source: GitSource) -> Farm {
    let steps = Steps(vec![step("ok", "true")]);
    Farm::start_with(pool, store.clone(), steps, |b| b.source(source))
}

/// Commits that were built, each with its tag.
async fn built(farm: &Farm) -> BTreeSet<(String, Option<String>)> {
    let all = BuildFilter::default();
    let page = farm.handle.records().builds(&all, None, 99).await.unwrap();
    let items = page.builds.into_iter().map(|row| row.item);
    items
        .map(|item| (item.commit.to_string(), item.tag.map(|tag| tag.to_string())))
        .collect()
}

fn plain(commits: &[String]) -> BTreeSet<(String, Option<String>)> {
    commits.iter().map(|c| (c.clone(), None)).collect()
}

/// Commits on top of `parent`, made without checking anything out.
fn chain(repository: &Repository, parent: &str, subjects: [&str; 3]) -> Vec<String> {
    let tree = repository.git(&["rev-parse", "HEAD^{tree}"]);
    let mut commits = vec![parent.to_owned()];
    for subject in subjects {
        let last = commits.last().cloned().unwrap_or_default();
        commits.push(repository.git(&["commit-tree", &tree, "-p", &last, "-m", subject]));
    }
    commits.split_off(1)
}

#[tokio::test]
async fn a_new_branch_is_built_from_where_it_leaves_and_a_rebased_one_as_far_as_it_is_new() {
    let repository = Repository::with_file("a", "");
    let old = repository.commit("older than the farm");
    let mut all = vec![repository.commit("tip")];
    let pool = FakePool::new(1);
    let source = GitSource::watch(repository.origin()).branch("feature/*");
    let farm = farm(&pool, &Store::memory(), source);
    farm.until_finished(1).await;
    // It leaves the default branch at a commit that was never built.
    let point = |tip: &str| repository.git(&["update-ref", "refs/heads/feature/x", tip]);
    let branch = chain(&repository, &old, ["one", "two", "three"]);
    point(&branch[2]);
    all.extend(branch);
    farm.until_finished(4).await;
    assert_eq!(built(&farm).await, plain(&all));
    let next = repository.commit("next");
    all.push(next.clone());
    farm.until_finished(5).await;
    let rebased = chain(&repository, &next, ["one", "two", "three"]);
    point(&rebased[2]);
    all.extend(rebased);
    farm.until_finished(8).await;
    assert_eq!(built(&farm).await, plain(&all));
    farm.stop().await;
}

#[tokio::test]
async fn tags_that_come_are_built_as_such_and_old_ones_are_not() {
    let repository = Repository::with_file("a", "");
    repository.git(&["tag", "v1"]);
    let second = repository.commit("second");
    let pool = FakePool::new(1);
    let store = Store::memory();
    let source = || GitSource::watch(repository.origin()).tag("v*");
    let first = farm(&pool, &store, source());
    first.until_finished(1).await;
    repository.git(&["tag", "other"]);
    repository.git(&["tag", "-a", "-m", "two", "v2"]);
    first.until_finished(2).await;
    first.stop().await;
    // What comes while no farm runs is found by the next one, once.
    repository.git(&["tag", "v3", "HEAD~1"]);
    let base = repository.git(&["rev-parse", "HEAD~1"]);
    let next = farm(&pool, &store, source());
    next.until_finished(3).await;
    let tagged = |commit: &str, tag: &str| (commit.to_owned(), Some(tag.to_owned()));
    let expected = [
        (second.clone(), None),
        tagged(&second, "v2"),
        tagged(&base, "v3"),
    ];
    assert_eq!(built(&next).await, BTreeSet::from(expected));
    next.stop().await;
}

#[tokio::test]
async fn a_commit_that_asks_not_to_be_built_is_passed_over() {
    let repository = Repository::with_file("a", "");
    let pool = FakePool::new(1);
    let source = GitSource::watch(repository.origin());
    let farm = farm(&pool, &Store::memory(), source);
    farm.until_finished(1).await;
    let first = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["checkout", "--quiet", "-b", "side"]);
    repository.commit("docs\n\n[skip ci]");
    let wanted = repository.commit("code");
    repository.git(&["checkout", "--quiet", "main"]);
    repository.git(&["merge", "--quiet", "--ff-only", "side"]);
    farm.until_finished(2).await;
    let last = repository.commit("more code");
    farm.until_finished(3).await;
    assert_eq!(built(&farm).await, plain(&[first, wanted, last]));
    farm.stop().await;
}

#[tokio::test]
async fn a_repository_that_goes_away_is_shown_and_asked_again_until_it_is_back() {
    let place = tempfile::tempdir().unwrap();
    let (here, away) = (place.path().join("project"), place.path().join("away"));
    std::fs::create_dir(&here).unwrap();
    git_in(&here, &["init", "--quiet", "--initial-branch=main"]);
    let commit = |subject: &str| git_in(&here, &["commit", "-q", "--allow-empty", "-m", subject]);
    commit("first");
    let pool = FakePool::new(1);
    let source = GitSource::watch(here.to_str().unwrap());
    let farm = farm(&pool, &Store::memory(), source);
    farm.until_finished(1).await;
    std::fs::rename(&here, &away).unwrap();
    let lost = async |count: usize| {
        let seen = async {
            loop {
                farm.handle.look_for_work();
                let lost = farm.handle.status().await.unwrap().lost;
                if lost.len() == count {
                    return lost;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, seen)
            .await
            .expect("it is shown soon")
    };
    let shown = lost(1).await;
    assert!(shown[0].source.ends_with("/project"), "{shown:?}");
    assert!(shown[0].text().contains("project"), "{shown:?}");
    std::fs::rename(&away, &here).unwrap();
    assert!(lost(0).await.is_empty());
    commit("second");
    farm.handle.look_for_work();
    farm.until_finished(2).await;
    farm.stop().await;
}
