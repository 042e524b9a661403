//! What is missing in a repository is no machine's fault: one attempt, one sentence that names it.

use build_core::event::{BuildEvent, Outcome};
use build_server::store::Store;

use crate::farm::{Built, FakePool, Farm, Repository, Steps, git_in, step, told};

/// How a build ended, in words, and how many machines it took.
fn ended(built: &Built) -> (String, usize) {
    let events: Vec<_> = built.events.iter().map(told).collect();
    let outcome = events.iter().find_map(|event| match event {
        BuildEvent::Finished { outcome } => Some(outcome.clone()),
        _ => None,
    });
    let leases = events.iter();
    let leases = leases.filter(|event| matches!(event, BuildEvent::Leased { .. }));
    let Some(Outcome::Misconfigured { text, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    (text, leases.count())
}

async fn build(repository: &Repository) -> (String, usize) {
    let pool = FakePool::new(2);
    let farm = Farm::start(&pool, Store::memory(), Steps(vec![step("x", "true")]));
    let built = farm.build(repository).await;
    farm.stop().await;
    ended(&built)
}

#[tokio::test]
async fn a_submodule_that_is_away_ends_the_build_at_once() {
    let sub = Repository::with_file("a", "a");
    let away = sub.origin();
    let repository = Repository::with_file("b", "b");
    repository.git(&["submodule", "--quiet", "add", &away, "vendor/sub"]);
    repository.commit("with submodule");
    drop(sub);
    repository.git(&["submodule", "--quiet", "deinit", "--all", "--force"]);
    std::fs::remove_dir_all(repository.path().join(".git/modules")).unwrap();
    let (text, machines) = build(&repository).await;
    assert_eq!(machines, 1, "{text}");
    assert!(
        text.contains("vendor/sub") && text.contains(&away),
        "{text}"
    );
}

#[tokio::test]
async fn an_object_that_is_missing_ends_the_build_at_once() {
    for name in ["first", "second"] {
        let repository = Repository::with_file("first", "1");
        repository.write("second", "2");
        repository.commit("next");
        let object = repository.git(&["rev-parse", &format!("HEAD:{name}")]);
        let file = format!(".git/objects/{}/{}", &object[..2], &object[2..]);
        std::fs::remove_file(repository.path().join(file)).unwrap();
        let (text, machines) = build(&repository).await;
        assert_eq!(machines, 1, "{text}");
        assert!(text.contains(&repository.origin()), "{text}");
    }
}

#[tokio::test]
async fn a_commit_that_is_gone_is_told_before_any_machine_is_taken() {
    let repository = Repository::with_file("a", "a");
    let pool = FakePool::new(1);
    let farm = Farm::start(&pool, Store::memory(), Steps(vec![step("x", "true")]));
    let origin = repository.origin();
    let item = farm.checkouts.resolve(&origin, None).await.unwrap();
    // The repository is another one by now.
    std::fs::remove_dir_all(repository.path().join(".git")).unwrap();
    git_in(repository.path(), &["init", "--quiet"]);
    let build = farm.handle.submit(item, &farm.builder()).await.unwrap();
    let (text, machines) = ended(&farm.built(&build).await);
    assert_eq!(machines, 0, "{text}");
    assert!(text.contains(&origin), "{text}");
    farm.stop().await;
}
