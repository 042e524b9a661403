//! A repository that is private is not there for those who may not read it.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use build_core::event::Principal;
use build_server::web::PrivateRepos;
use build_server::who::{Directory, NewKey, Pattern, Role};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::farm::{Repository, SOON, step};
use crate::web::World;

/// A farm with a private repository, and the tokens of somebody who may read it and of somebody
/// who may not.
fn world() -> (World, String, String) {
    world_with("echo hidden-output")
}

fn world_with(line: &str) -> (World, String, String) {
    let mut tokens = Vec::new();
    let world = World::with(vec![step("s", line)], |site, data, repository| {
        let directory = Directory::open(data).unwrap();
        let owner = Principal::person("owner");
        let name = repository.path().file_name().unwrap().to_str().unwrap();
        let private = Pattern::new(name).unwrap();
        for (user, reads) in [("ann", vec![private.clone()]), ("bob", vec![])] {
            directory
                .add_user(&owner, user, Role::User, &reads)
                .unwrap();
            let made = directory.create_key(&owner, NewKey::of_user(user)).unwrap();
            tokens.push(format!("Bearer {}", made.token.reveal()));
        }
        site.with_private(PrivateRepos::new([private]))
            .with_directory(directory)
    });
    let (bob, ann) = (tokens.remove(1), tokens.remove(0));
    world.repository.write("b", "");
    world.repository.commit("hidden-subject");
    (world, ann, bob)
}

#[tokio::test]
async fn nothing_tells_of_it_to_those_who_may_not_read_it() {
    let (world, ann, bob) = world();
    let private = world.farm.submit(&world.repository).await;
    world.farm.built(&private).await;
    let hash = world.repository.git(&["rev-parse", "HEAD"]);
    let (hash, repo) = (hash.trim(), world.repository.path().file_name().unwrap());
    let repo = repo.to_str().unwrap();
    let of_build = [
        format!("/builds/{private}"),
        format!("/builds/{private}/raw?run=1"),
        format!("/builds/{private}/lines?run=1"),
        format!("/commits/{hash}"),
        format!("/?repo={repo}"),
        format!("/api/v1/builds/{private}"),
        format!("/api/v1/builds/{private}/log"),
        format!("/api/v1/builds/{private}/events"),
        format!("/api/v1/queue/{private}/why"),
        format!("/api/v1/builds/{private}/tests"),
    ];
    let of_all = [
        "/".to_owned(),
        "/queue".to_owned(),
        "/machines".to_owned(),
        "/tests".to_owned(),
        "/api/v1/builds".to_owned(),
        format!("/api/v1/builds?repo={repo}"),
        format!("/api/v1/builds?commit={hash}"),
        "/api/v1/queue".to_owned(),
        "/api/v1/machines".to_owned(),
        "/api/v1/repos".to_owned(),
        "/metrics".to_owned(),
    ];
    let hidden = [
        private.as_str(),
        "hidden-subject",
        "hidden-output",
        repo,
        hash,
    ];
    for visitor in [None, Some(&bob)] {
        let ask = |path: &str| match visitor {
            Some(token) => world.get(path).with("authorization", token),
            None => world.get(path),
        };
        for path in &of_build {
            let answer = ask(path).send().await;
            assert_eq!(
                answer.status,
                StatusCode::NOT_FOUND,
                "{path} for {visitor:?}"
            );
            for word in ["hidden-subject", "hidden-output"] {
                assert!(!answer.body.contains(word), "{path}: {}", answer.body);
            }
        }
        for path in &of_all {
            let answer = ask(path).send().await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            for word in hidden {
                assert!(
                    !answer.body.contains(word),
                    "{word} in {path}: {}",
                    answer.body
                );
            }
        }
    }
    // What is asked for by somebody who may not read it is not built, nor told to be there.
    for path in [
        "/api/v1/builds".to_owned(),
        format!("/api/v1/builds/{private}/rerun"),
    ] {
        let wish = world
            .post(path.as_str())
            .with("authorization", &bob)
            .json(&world.wish());
        assert_eq!(wish.send().await.status, StatusCode::NOT_FOUND, "{path}");
    }
    // The same questions are answered to those who may.
    for path in of_build.iter().chain(&of_all[..1]) {
        let answer = world.get(path).with("authorization", &ann).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{path} for ann");
    }
    let board = world.get("/").with("authorization", &ann).send().await;
    assert!(board.body.contains("hidden-subject"));
    let owner = format!("Bearer {}", world.token);
    let board = world.get("/").with("authorization", &owner).send().await;
    assert!(board.body.contains("hidden-subject"));
    world.farm.stop().await;
}

#[tokio::test]
async fn a_stream_of_events_passes_over_what_is_private() {
    let (world, _, bob) = world();
    let public = Repository::with_file("c", "");
    let hidden = world.farm.submit(&world.repository).await;
    world.farm.built(&hidden).await;
    let shown = world.farm.submit(&public).await;
    world.farm.built(&shown).await;
    let request = Request::get("/api/v1/events?after=0")
        .header("host", "localhost:8119")
        .header("authorization", bob)
        .body(Body::empty());
    let answer = world.router().oneshot(request.unwrap()).await.unwrap();
    let (mut body, mut told) = (answer.into_body(), String::new());
    let reading = async {
        while !told.contains("\"finished\"") {
            let frame = body.frame().await.unwrap().unwrap();
            told += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
        }
    };
    tokio::time::timeout(SOON, reading).await.unwrap();
    assert!(
        told.contains(shown.as_str()) && !told.contains(hidden.as_str()),
        "{told}"
    );
    assert!(!told.contains("hidden-subject"), "{told}");
    world.farm.stop().await;
}

#[tokio::test]
async fn why_something_waits_names_nobody_whom_it_may_not_name() {
    let (world, _, bob) = world_with("sleep 600");
    let first = world.farm.submit(&world.repository).await;
    let author = ["--author", "Hidden <hidden-author@example.com>"];
    let commit = ["commit", "--quiet", "--allow-empty", "-m", "second"];
    world.repository.git(&[&commit[..], &author[..]].concat());
    let wanted = async |repository: &Repository| {
        let wish = serde_json::json!({"repo": repository.origin().to_string()});
        let asked = world.post("/api/v1/builds").json(&wish).send().await;
        let build = asked.json()["builds"][0]["id"].as_str().map(str::to_owned);
        build.unwrap_or_else(|| panic!("{}", asked.body))
    };
    let second = wanted(&world.repository).await;
    let public = Repository::with_file("p", "");
    let third = wanted(&public).await;
    let owner = format!("Bearer {}", world.token);
    let why = format!("/api/v1/queue/{third}/why");
    let ask = async |path: &str, token: &str| {
        let answer = world.get(path).with("authorization", token).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer.body
    };
    let begin = tokio::time::Instant::now();
    while !ask(&why, &owner).await.contains("hidden-author") {
        assert!(begin.elapsed() < SOON, "{}", ask(&why, &owner).await);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for path in [why.as_str(), "/api/v1/queue", "/queue"] {
        let told = ask(path, &bob).await;
        assert!(told.contains(third.as_str()), "{path}: {told}");
        for hidden in ["hidden-author", first.as_str(), second.as_str()] {
            assert!(!told.contains(hidden), "{hidden} in {path}: {told}");
        }
    }
    assert!(
        ask(&why, &bob).await.contains("1 ahead: 1 "),
        "how many is told"
    );
    for build in [third, second, first.to_string()] {
        let cancel = world.post(format!("/api/v1/builds/{build}/cancel"));
        assert_eq!(cancel.send().await.status, StatusCode::ACCEPTED);
    }
    world.farm.stop().await;
}

#[tokio::test]
async fn classic_documents_hide_it_too_and_debug_is_for_admins() {
    use build_server::classic::Classic;
    use build_server::http::{Guard, Hosts, guarded};

    let mut classic = None;
    let mut tokens = Vec::new();
    let world = World::with(
        vec![step("s", "echo hidden-output")],
        |site, data, repository| {
            let directory = Directory::open(data).unwrap();
            let owner = Principal::person("owner");
            let name = repository.path().file_name().unwrap().to_str().unwrap();
            let private = Pattern::new(name).unwrap();
            for (user, reads) in [("ann", vec![private.clone()]), ("bob", vec![])] {
                directory
                    .add_user(&owner, user, Role::User, &reads)
                    .unwrap();
                let made = directory.create_key(&owner, NewKey::of_user(user)).unwrap();
                tokens.push(format!("Bearer {}", made.token.reveal()));
            }
            let site = site
                .with_private(PrivateRepos::new([private]))
                .with_directory(directory);
            let farm = build_core::builders::Farm::go2020();
            let documents = Classic::new(site.handle().clone(), farm, "https://localhost:8119/");
            let documents = documents.with_people(site.clone());
            let pages = documents.router().merge(documents.front_page());
            classic = Some(guarded(pages, Guard::new(Hosts::default())));
            site
        },
    );
    let classic = classic.unwrap();
    let (bob, ann) = (tokens.remove(1), tokens.remove(0));
    let build = world.farm.submit(&world.repository).await;
    world.farm.built(&build).await;
    let records = world.farm.handle.records();
    let row = records.build(&build).await.unwrap().unwrap();
    let ask = async |path: &str, token: Option<&str>| {
        let request = Request::get(path).header("host", "localhost:8119");
        let request = match token {
            Some(token) => request.header("authorization", token),
            None => request,
        };
        let request = request.body(Body::empty()).unwrap();
        let answer = classic.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let log = format!(
        "/temporarylogs?name={}&rev={}&st={build}",
        world.farm.builder(),
        row.item.commit
    );
    let repo = row.item.repo.as_str();
    for token in [None, Some(bob.as_str())] {
        assert_eq!(ask(&log, token).await.0, StatusCode::NOT_FOUND);
        for path in ["/", "/queues", "/status/post-submit-active.json"] {
            let (status, body) = ask(path, token).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            let hidden = [repo, build.as_str(), row.item.commit.short()];
            let found = hidden.iter().find(|word| body.contains(**word));
            assert!(found.is_none(), "{path}: {found:?}");
        }
    }
    let (status, body) = ask(&log, Some(&ann)).await;
    assert!(
        status == StatusCode::OK && body.contains("hidden-output"),
        "{body}"
    );
    assert!(ask("/", Some(&ann)).await.1.contains(repo));
    let owner = format!("Bearer {}", world.token);
    for (token, wanted) in [
        (None, StatusCode::UNAUTHORIZED),
        (Some(bob.as_str()), StatusCode::FORBIDDEN),
        (Some(owner.as_str()), StatusCode::OK),
    ] {
        let (status, body) = ask("/debug/tasks", token).await;
        assert_eq!(status, wanted);
        assert_eq!(body.contains("threads: "), wanted == StatusCode::OK);
    }
    world.farm.stop().await;
}
