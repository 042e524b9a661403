//! Every path of the API in use, and every way it says no.

use std::num::NonZeroU32;

use axum::http::{Method, StatusCode};
use build_core::event::BuildEvent;
use build_core::ids::BuildId;
use build_core::schedule::{Allotment, Quotas};
use serde_json::json;

use super::World;
use crate::farm::step;

/// Waits for its machine's end.
const LONG: &str = "echo begun; sleep 600";

#[tokio::test]
async fn a_build_is_asked_for_watched_and_built_again() {
    let mut build = step("build", "echo built > out; echo hello");
    build.artifacts = vec!["out".into()];
    let bad = step("bad", "echo no; exit 3").needing(&build.name);
    let world = World::new(vec![build, bad]);
    let created = world
        .post("/api/v1/builds")
        .json(&world.wish())
        .send()
        .await;
    assert_eq!(created.status, StatusCode::CREATED);
    let build = created.json()["builds"][0].clone();
    assert_eq!(build["item"]["class"], "interactive");
    let id = BuildId::new(build["id"].as_str().unwrap()).unwrap();
    let built = world.farm.built(&id).await;
    assert!(!built.passed());

    let row = world
        .get(format!("/api/v1/builds/{id}"))
        .send()
        .await
        .json();
    assert_eq!(row["state"], "failed");
    assert_eq!(row["outcome"]["step"], "bad");
    assert_eq!(row["kept"][0]["artifacts"][0]["path"], "out");
    let why = world.get(format!("/api/v1/queue/{id}/why")).send().await;
    assert_eq!(why.json()["why"], "it does not wait: failed");

    let again = world
        .post(format!("/api/v1/builds/{id}/rerun"))
        .send()
        .await;
    assert_eq!(again.status, StatusCode::CREATED);
    let again = BuildId::new(again.json()["id"].as_str().unwrap()).unwrap();
    let place = world.get(format!("/api/v1/builds/{again}")).send().await;
    assert_eq!(place.json()["item"]["commit"], row["item"]["commit"]);
    world.farm.built(&again).await;

    let page = world.get("/api/v1/builds?limit=1").send().await.json();
    assert_eq!(page["builds"][0]["id"], again.as_str());
    let next = page["next"].as_u64().unwrap();
    let older = world.get(format!("/api/v1/builds?before={next}"));
    let older = older.send().await.json();
    assert_eq!(older["builds"][0]["id"], id.as_str());
    assert_eq!(older["next"], json!(null));
    for (filter, count) in [
        ("state=failed", 2),
        ("state=passed", 0),
        ("branch=main", 2),
        ("repo=nobody/nothing", 0),
        ("builder=local&commit=0000", 0),
    ] {
        let found = world.get(format!("/api/v1/builds?{filter}")).send().await;
        let found = found.json()["builds"].as_array().unwrap().len();
        assert_eq!(found, count, "{filter}");
    }
    world.farm.stop().await;
}

#[tokio::test]
async fn what_waits_says_why_and_what_runs_can_be_canceled() {
    let world = World::new(vec![step("long", LONG)]);
    let first = world.farm.submit(&world.repository).await;
    let begun = |e: &BuildEvent| matches!(e, BuildEvent::Started { .. });
    world.farm.until(&first, begun).await;
    world.repository.commit("second");
    let second = world.farm.submit(&world.repository).await;
    let planned = |e: &BuildEvent| matches!(e, BuildEvent::Planned { .. });
    world.farm.until(&second, planned).await;

    let queue = world.get("/api/v1/queue").send().await.json();
    assert_eq!(queue["open"], 2);
    assert_eq!(queue["waiting"][0]["build"]["id"], second.as_str());
    let unit = &queue["waiting"][0]["units"][0];
    assert_eq!(unit["why"]["hold"], "busy");
    let text = unit["text"].as_str().unwrap();
    assert!(
        text.starts_with("the one machine of kind local that fits is in use; "),
        "{text}"
    );
    let why = world
        .get(format!("/api/v1/queue/{second}/why"))
        .send()
        .await;
    assert!(
        why.json()["why"]
            .as_str()
            .unwrap()
            .contains("long waits: the one machine")
    );
    let running = world.get(format!("/api/v1/queue/{first}/why")).send().await;
    assert_eq!(running.json()["why"], "it runs and waits for no machine");
    let pools = world.get("/api/v1/pools").send().await.json();
    assert_eq!(
        (&pools["pools"][0]["machines"], &pools["pools"][0]["held"]),
        (&json!(1), &json!(1))
    );
    let machines = world.get("/api/v1/machines").send().await.json();
    assert_eq!(machines["machines"][0]["build"], first.as_str());

    // Its author may hold one machine: that is what it waits for, whatever is free.
    let quotas = Quotas {
        author: NonZeroU32::new(1),
        ..Quotas::default()
    };
    let allotment = Allotment {
        quotas,
        ..Allotment::default()
    };
    world.farm.handle.allot(allotment).await.unwrap();
    let path = format!("/api/v1/queue/{second}/why");
    let why = world.get(path).send().await.json();
    assert_eq!(why["units"][0]["why"]["hold"], "quota");
    let full = &why["units"][0]["why"]["quota"];
    let author = full["author"].as_str().unwrap();
    assert!(author.contains("a@example.org"), "{full}");
    assert_eq!((&full["held"], &full["limit"]), (&json!(1), &json!(1)));
    assert_eq!(full["holders"], json!([first.as_str()]));
    let text = why["why"].as_str().unwrap();
    let sentence = format!("it goes on with the end of one of {first}, or a larger quota");
    for part in [": quota: ", " holds 1 of 1 machine; ", sentence.as_str()] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }

    // The same commit is not built twice at a time.
    let created = world
        .post("/api/v1/builds")
        .json(&world.wish())
        .send()
        .await;
    assert_eq!(created.json()["builds"][0]["id"], second.as_str());

    for build in [&second, &first] {
        let path = format!("/api/v1/builds/{build}/cancel");
        let canceled = world.post(&path).send().await;
        assert_eq!(canceled.status, StatusCode::ACCEPTED);
        world.farm.built(build).await;
        let again = world.post(&path).send().await;
        assert_eq!(again.status, StatusCode::CONFLICT);
        assert_eq!(again.json()["code"], "conflict");
    }
    let row = world
        .get(format!("/api/v1/builds/{first}"))
        .send()
        .await
        .json();
    assert_eq!(
        row["outcome"],
        json!({"result": "canceled", "by": "person:owner"})
    );
    world.farm.stop().await;
}

#[tokio::test]
async fn every_mistake_is_answered_with_code_message_and_hint() {
    let world = World::new(vec![step("s", "true")]);
    let id = world.farm.submit(&world.repository).await;
    world.farm.built(&id).await;
    let wish = |body: serde_json::Value| world.post("/api/v1/builds").json(&body);
    let origin = world.repository.origin();
    let large = "x".repeat(2 << 20);
    let answers = [
        (world.get("/api/v1/nothing"), 404, "not_found"),
        (world.get("/api/v1/builds/B000000000"), 404, "not_found"),
        (world.get("/api/v1/builds/nonsense"), 400, "invalid"),
        (world.get("/api/v1/builds/%FF"), 400, "invalid"),
        (world.get("/api/v1/builds?state=sleepy"), 400, "invalid"),
        (world.get("/api/v1/builds?color=red"), 400, "invalid"),
        (world.get("/api/v1/builds?limit=-1"), 400, "invalid"),
        (
            world.get(format!("/api/v1/builds/{id}/log?step=none")),
            404,
            "not_found",
        ),
        (
            world.get(format!("/api/v1/builds/{id}/log?part=half")),
            400,
            "invalid",
        ),
        (
            world.get("/api/v1/events").with("last-event-id", "x"),
            400,
            "invalid",
        ),
        (world.get("/api/v1/queue/B000000000/why"), 404, "not_found"),
        (
            world.ask(Method::DELETE, "/api/v1/builds"),
            405,
            "unsupported",
        ),
        (world.get("/api/v1/hooks/push"), 405, "unsupported"),
        (world.post("/api/v1/builds"), 415, "invalid"),
        (
            world
                .post("/api/v1/builds")
                .text("{")
                .with("content-type", "application/json"),
            400,
            "invalid",
        ),
        (wish(json!({ "repo": "" })), 400, "invalid"),
        (wish(json!({ "repo": "/no/such" })), 404, "not_found"),
        (
            wish(json!({ "repo": origin, "rev": "nope" })),
            404,
            "not_found",
        ),
        (
            wish(json!({ "repo": origin, "builders": ["mars"] })),
            404,
            "not_found",
        ),
        (wish(json!({ "repo": origin, "colour": 1 })), 422, "invalid"),
        (wish(json!({ "repo": large })), 413, "limit"),
        (
            world.post("/api/v1/builds/B000000000/rerun"),
            404,
            "not_found",
        ),
        (
            world.post("/api/v1/builds/B000000000/cancel"),
            404,
            "not_found",
        ),
    ];
    for (ask, status, code) in answers {
        let what = format!("{} {}", ask.method, ask.path);
        let answer = ask.send().await;
        assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.body);
        assert_eq!(answer.json()["code"], code, "{what}: {}", answer.body);
    }
    let providers = world.get("/api/v1/identity").send().await.json();
    assert_eq!(providers, json!({ "providers": [] }));
    let description = world.get("/api/v1/openapi.json").send().await.json();
    assert_eq!(description["openapi"], "3.1.0");
    world.farm.stop().await;
}

#[tokio::test]
async fn a_farm_that_has_stopped_says_so() {
    let world = World::new(vec![step("s", "true")]);
    let (router, token) = (world.router.clone(), world.token.clone());
    world.farm.stop().await;
    let world = World {
        router,
        token,
        ..World::new(vec![])
    };
    let answer = world.get("/api/v1/machines").send().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["code"], "unavailable");
}

#[tokio::test]
async fn each_test_has_its_result_however_many_there_are_and_whatever_bytes_name_it() {
    let script = r"i=0; while [ $i -lt 3000 ]; do echo test t$i ... FAILED; i=$((i+1)); done
        printf 'test caf\351 ... ok\n--- SKIP: TestLater (0.25s)\n'; exit 1";
    let world = World::new(vec![step("test", script)]);
    let build = world.farm.build(&world.repository).await;
    let answer = world.get(format!("/api/v1/builds/{}/tests", build.id));
    let answer = answer.send().await;
    assert_eq!(answer.status, StatusCode::OK);
    let lines: Vec<serde_json::Value> = answer
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3002);
    let first = json!({"unit": "test", "attempt": 1, "name": "t0", "end": "failed"});
    assert_eq!(lines[0], first);
    assert_eq!(lines[2999]["name"], "t2999");
    assert_eq!(lines[3000]["name"], json!({"b64": "Y2Fm6Q=="}));
    assert_eq!(
        (&lines[3001]["end"], &lines[3001]["took_ms"]),
        (&json!("skipped"), &json!(250))
    );
    let row = world.get(format!("/api/v1/builds/{}", build.id));
    let row = row.send().await.json();
    assert_eq!(row["runs"][0]["tested"]["failed"], 3000);
    assert_eq!(
        row["runs"][0]["tested"]["failures"]
            .as_array()
            .unwrap()
            .len(),
        1000
    );
    world.farm.stop().await;
}

#[tokio::test]
async fn a_repository_has_an_id_that_stays_when_it_moves() {
    let world = World::new(vec![step("test", "true")]);
    let build = world.farm.build(&world.repository).await;
    let known = world.get("/api/v1/repos").send().await.json();
    let repo = &known["repos"][0];
    let id = repo["id"].as_str().unwrap();
    let row = world.get(format!("/api/v1/builds/{}", build.id));
    assert_eq!(row.send().await.json()["item"]["repo_id"], id);
    let path = format!("/api/v1/repos/{id}");
    let moved = world.post(&path).json(&json!({"origin": "/elsewhere"}));
    let moved = moved.send().await;
    assert_eq!(moved.status, StatusCode::OK);
    assert_eq!(moved.json()["origin"], "/elsewhere");
    assert_eq!(moved.json()["origins"].as_array().unwrap().len(), 2);
    for (path, body, status) in [
        (path.as_str(), json!({}), StatusCode::BAD_REQUEST),
        (
            "/api/v1/repos/x",
            json!({"name": "a"}),
            StatusCode::BAD_REQUEST,
        ),
        (
            "/api/v1/repos/R00000000000000000000000000000001",
            json!({"name": "a"}),
            StatusCode::NOT_FOUND,
        ),
    ] {
        let refused = world.post(path).json(&body).send().await;
        assert_eq!(refused.status, status, "{path} {body}");
    }
    world.farm.stop().await;
}
