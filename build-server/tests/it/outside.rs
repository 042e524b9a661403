//! Commits that anybody may have written: which those are, and what they get.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::Router;
use axum::extract::{Path as Place, State};
use axum::http::{Method, StatusCode};
use build_core::event::Principal;
use build_core::ids::ChangeRef;
use build_core::plan::Sandbox;
use build_core::ref_rules::{RefRule, RefRules};
use build_core::work::{Class, Trust, WorkItem};
use build_server::source::{GitCheckouts, GitSource};
use build_server::store::{BuildFilter, Store};
use build_server::supervise::Supervisor;
use build_server::who::{Directory, NewKey, Role};
use tokio::net::TcpListener;

use crate::farm::{FakePool, Farm, Repository, Steps, step, whole};
use crate::web::World;

fn rules() -> RefRules {
    let rule = RefRule::of("**").changes("refs/pull/*/head");
    RefRules::new(vec![rule.untrusted("refs/heads/forks/**")]).unwrap()
}

/// A commit on top of another one, on no branch.
fn commit_on(repository: &Repository, parent: &str, subject: &str) -> String {
    let tree = repository.git(&["rev-parse", "HEAD^{tree}"]);
    repository.git(&["commit-tree", &tree, "-p", parent, "-m", subject])
}

/// Tells what was kept of earlier builds, and keeps its own commit.
const REMEMBER: &str = "cat kept/list 2>/dev/null; mkdir -p kept; echo $FARMER_COMMIT >> kept/list";

struct Reviewed {
    repository: Repository,
    store: Store,
    pool: FakePool,
    copies: tempfile::TempDir,
}

impl Reviewed {
    fn new() -> Self {
        Self {
            repository: Repository::with_file("a", ""),
            store: Store::memory(),
            pool: FakePool::new(1),
            copies: tempfile::tempdir().unwrap(),
        }
    }

    fn farm(&self) -> Farm {
        let mut remember = step("remember", REMEMBER);
        remember.cache = vec!["kept".to_owned()];
        let checkouts = GitCheckouts::new(self.copies.path()).with_refs(rules());
        let source = GitSource::watch(self.repository.origin()).through(checkouts);
        let steps = Steps(vec![remember]);
        Farm::start_with(&self.pool, self.store.clone(), steps, |b| b.source(source))
    }

    /// A change is pushed, as hosts show it.
    fn push(&self, number: usize, commit: &str) {
        let name = format!("refs/pull/{number}/head");
        self.repository.git(&["update-ref", &name, commit]);
    }

    fn merge(&self, commit: &str) {
        self.repository.git(&["reset", "--quiet", "--hard", commit]);
    }

    /// What was built: of each commit and trust the change.
    async fn built(&self, farm: &Farm) -> BTreeMap<(String, &'static str), Option<String>> {
        let all = BuildFilter::default();
        let page = farm.handle.records().builds(&all, None, 99).await.unwrap();
        let items = page.builds.into_iter().map(|row| row.item);
        let told = |item: WorkItem| {
            let change = item.change.map(|change| change.to_string());
            ((item.commit.to_string(), item.trust.word()), change)
        };
        items.map(told).collect()
    }

    async fn log_of(&self, farm: &Farm, commit: &str, trust: Trust) -> String {
        let all = BuildFilter::default();
        let page = farm.handle.records().builds(&all, None, 99).await.unwrap();
        let is_it = |item: &WorkItem| item.commit.as_str() == commit && item.trust == trust;
        let row = page.builds.iter().find(|row| is_it(&row.item)).unwrap();
        farm.log(&row.id, &whole("remember")).await
    }
}

#[tokio::test]
async fn changes_that_come_are_built_apart_and_leave_nothing_to_others() {
    let world = Reviewed::new();
    let base = world.repository.git(&["rev-parse", "HEAD"]);
    world.push(
        1,
        &commit_on(&world.repository, &base, "older than the farm"),
    );
    let farm = world.farm();
    farm.until_finished(1).await;
    let first = commit_on(&world.repository, &base, "first version");
    world.push(2, &first);
    farm.until_finished(2).await;
    let again = commit_on(&world.repository, &base, "second version");
    world.push(2, &again);
    farm.until_finished(3).await;
    let all = [Sandbox::Auto, Sandbox::Namespaces, Sandbox::Namespaces];
    assert_eq!(world.pool.sandboxes(), all);
    // They read what builds of branches have kept, and keep nothing.
    let seen = world.log_of(&farm, &again, Trust::Untrusted).await;
    assert_eq!(seen, format!("{base}\n"));
    // On a branch the same commit is another matter, and is built anew.
    world.merge(&again);
    farm.until_finished(4).await;
    let seen = world.log_of(&farm, &again, Trust::Unknown).await;
    assert_eq!(seen, format!("{base}\n"));
    // What is a change of nothing is not built once more.
    world.push(3, &again);
    let tip = world.repository.commit("tip");
    farm.until_finished(5).await;
    farm.stop().await;
    // What comes while no farm runs is found by the next one, once.
    let late = commit_on(&world.repository, &tip, "late");
    world.push(4, &late);
    let next = world.farm();
    next.until_finished(6).await;
    let change = |n: &str| Some(n.to_owned());
    let expected = [
        ((base, "unknown"), None),
        ((first, "untrusted"), change("#2")),
        ((again.clone(), "untrusted"), change("#2")),
        ((again, "unknown"), None),
        ((tip, "unknown"), None),
        ((late, "untrusted"), change("#4")),
    ];
    assert_eq!(world.built(&next).await, BTreeMap::from(expected));
    next.stop().await;
}

#[tokio::test]
async fn whoever_names_a_commit_it_is_from_outside_unless_a_branch_or_a_tag_has_it() {
    let repository = Repository::with_file("a", "");
    let base = repository.git(&["rev-parse", "HEAD"]);
    let point = |name: &str, commit: &str| drop(repository.git(&["update-ref", name, commit]));
    let commit = |subject: &str| commit_on(&repository, &base, subject);
    let (change, fork, tagged, nowhere) =
        (commit("change"), commit("fork"), commit("tag"), commit("x"));
    point("refs/pull/7/head", &change);
    point("refs/heads/forks/ann", &fork);
    point("refs/tags/v1", &tagged);
    let dir = tempfile::tempdir().unwrap();
    let checkouts = GitCheckouts::new(dir.path()).with_refs(rules());
    let here = repository.origin();
    let away = format!("file://{here}");
    let cases = [
        (None, Trust::Unknown, None),
        (Some("HEAD"), Trust::Unknown, None),
        (Some("main"), Trust::Unknown, None),
        (Some(&*base), Trust::Unknown, None),
        (Some("main~0"), Trust::Unknown, None),
        (Some("v1"), Trust::Unknown, None),
        (Some(&*tagged), Trust::Unknown, None),
        (Some("forks/ann"), Trust::Untrusted, None),
        (Some(&*fork), Trust::Untrusted, None),
        (Some("refs/pull/7/head"), Trust::Untrusted, Some("#7")),
        (Some("refs/pull/7/head~0"), Trust::Untrusted, None),
        (Some(&*change), Trust::Untrusted, None),
    ];
    for origin in [&here, &away] {
        for (rev, trust, change) in cases {
            let item = checkouts.resolve(origin, rev).await.unwrap();
            let called = item.change.as_ref().map(ChangeRef::as_str);
            assert_eq!((item.trust, called), (trust, change), "{origin} {rev:?}");
        }
    }
    // A commit that no ref leads to was made by whoever has the checkout; a host gives out those of
    // everybody.
    let item = checkouts.resolve(&here, Some(&nowhere)).await.unwrap();
    assert_eq!(item.trust, Trust::Unknown);
    let item = checkouts.resolve(&away, Some(&nowhere)).await.unwrap();
    assert_eq!(item.trust, Trust::Untrusted);
    assert_eq!(item.class, Class::DefaultTip);
}

/// A repository that lies somewhere else, as plain files over HTTP.
async fn elsewhere(repository: &Repository, serving: &Supervisor) -> String {
    repository.git(&["update-server-info"]);
    let dir = repository.path().join(".git");
    let file = async |State(dir): State<PathBuf>, Place(path): Place<String>| match tokio::fs::read(
        dir.join(path),
    )
    .await
    {
        Ok(bytes) => (StatusCode::OK, bytes),
        Err(_) => (StatusCode::NOT_FOUND, Vec::new()),
    };
    let router = Router::new()
        .route("/acme/app/{*path}", axum::routing::get(file))
        .with_state(dir);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/acme/app", listener.local_addr().unwrap());
    serving.spawn("serve", async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn a_place_that_nobody_vouches_for_is_outside_for_all_but_admins() {
    let mut keys = None;
    let world = World::with(vec![step("s", "echo hello")], |site, data, _| {
        let directory = Directory::open(data).unwrap();
        let owner = Principal::person("owner");
        let user = directory.add_user(&owner, "ann", Role::User, &[]);
        user.unwrap();
        let made = directory.create_key(&owner, NewKey::of_user("ann"));
        keys = Some(made.unwrap().token.reveal().to_owned());
        site.with_directory(directory)
    });
    let serving = Supervisor::new("elsewhere");
    let url = elsewhere(&world.repository, &serving).await;
    let user = format!("Bearer {}", keys.unwrap());
    let owner = format!("Bearer {}", world.token);
    let here = world.repository.origin();
    for (token, repo, trust) in [
        (&owner, &url, "unknown"),
        (&user, &url, "untrusted"),
        (&user, &here, "unknown"),
    ] {
        let wish = serde_json::json!({ "repo": repo });
        let ask = world.ask(Method::POST, "/api/v1/builds");
        let answer = ask.with("authorization", token).json(&wish).send().await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        let build = &answer.json()["builds"][0];
        assert_eq!(build["item"]["trust"], trust, "{repo}");
        let id = build["id"].as_str().unwrap();
        let page = world.get(format!("/builds/{id}")).send().await;
        let says = page.body.contains("comes from outside");
        assert_eq!(says, trust == "untrusted", "{}", page.body);
    }
    serving.token().cancel();
    world.farm.stop().await;
}
