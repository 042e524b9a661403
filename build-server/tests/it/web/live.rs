//! Logs and events, from any place on and while they come.

use axum::http::StatusCode;
use build_core::event::BuildEvent;
use build_core::ids::BuildId;
use serde_json::Value;

use super::World;
use crate::farm::step;

#[tokio::test]
async fn a_log_is_read_from_any_byte_and_by_step() {
    let one = step("one", "printf 'first\\n'");
    let two = step("two", "printf 'second\\n'").needing(&one.name);
    let world = World::new(vec![one, two]);
    let id = world.farm.submit(&world.repository).await;
    world.farm.built(&id).await;
    let all = "first\nsecond\n";
    for offset in 0..=all.len() + 2 {
        let path = format!("/api/v1/builds/{id}/log?offset={offset}");
        let log = world.get(path).send().await;
        assert_eq!(log.body, all.get(offset..).unwrap_or(""), "from {offset}");
        let kind = log.headers["content-type"].to_str().unwrap();
        assert_eq!(kind, "text/plain; charset=utf-8");
    }
    for (query, text) in [
        ("step=two", "second\n"),
        ("step=two&offset=3&follow", "ond\n"),
        ("step=one&part=whole&attempt=1", "first\n"),
        ("step=one&attempt=2", ""),
        ("part=3", ""),
        ("follow=true", all),
    ] {
        let log = world.get(format!("/api/v1/builds/{id}/log?{query}"));
        assert_eq!(log.send().await.body, text, "{query}");
    }
    world.farm.stop().await;
}

#[tokio::test]
async fn a_log_that_is_followed_from_the_start_has_everything() {
    let go = tempfile::tempdir().unwrap();
    let go_on = go.path().join("go").display().to_string();
    let one = step(
        "one",
        &format!("echo begun; until [ -e {go_on} ]; do sleep 0.01; done"),
    );
    let two = step("two", "echo end").needing(&one.name);
    let world = World::new(vec![one, two]);
    let id = world.farm.submit(&world.repository).await;
    let follow = world.get(format!("/api/v1/builds/{id}/log?follow"));
    let begin = async {
        let begun = |e: &BuildEvent| matches!(e, BuildEvent::Started { .. });
        world.farm.until(&id, begun).await;
        std::fs::write(&go_on, "").unwrap();
    };
    let (log, ()) = tokio::join!(follow.send(), begin);
    assert_eq!(log.body, "begun\nend\n");
    world.farm.stop().await;
}

fn events(body: &str) -> Vec<(u64, Value)> {
    let one = |event: &str| {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        let id = field("id: ")?.parse().unwrap();
        Some((id, serde_json::from_str(field("data: ")?).unwrap()))
    };
    body.split("\n\n").filter_map(one).collect()
}

#[tokio::test]
async fn events_go_on_after_the_last_one_that_was_read() {
    let world = World::new(vec![step("s", "echo hello")]);
    let id: BuildId = world.farm.submit(&world.repository).await;
    let path = format!("/api/v1/builds/{id}/events");
    // Asked for while it runs: the answer ends with the build.
    let all = events(&world.get(&path).send().await.body);
    assert_eq!(all[0].1["kind"], "queued");
    assert!(all.iter().any(|(_, e)| e["kind"] == "finished"));
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(all.iter().all(|(id, event)| event["seq"] == *id));
    let middle = all[all.len() / 2].0;
    let rest = world.get(&path).with("last-event-id", &middle.to_string());
    assert_eq!(events(&rest.send().await.body), all[all.len() / 2 + 1..]);
    let rest = world.get(format!("{path}?after={middle}")).send().await;
    assert_eq!(events(&rest.body), all[all.len() / 2 + 1..]);
    // A browser would ask again and again otherwise.
    let last = all.last().unwrap().0.to_string();
    let done = world.get(&path).with("last-event-id", &last).send().await;
    assert_eq!(done.status, StatusCode::NO_CONTENT);
    world.farm.stop().await;
}

#[tokio::test]
async fn a_log_that_is_not_kept_any_more_is_told_as_such() {
    let world = World::new(vec![step("s", "echo hello")]);
    let id = world.farm.submit(&world.repository).await;
    world.farm.built(&id).await;
    world.store.logs().remove(&id).await.unwrap();
    let log = world.get(format!("/api/v1/builds/{id}/log")).send().await;
    assert_eq!(log.status, StatusCode::NOT_FOUND);
    let refusal = log.json();
    let message = refusal["message"].as_str().unwrap();
    assert!(message.ends_with("is not kept any more"), "{message}");
    world.farm.stop().await;
}

#[tokio::test]
async fn figures_are_in_the_format_of_prometheus() {
    let world = World::new(vec![step("s", "echo hello")]);
    let id = world.farm.submit(&world.repository).await;
    world.farm.built(&id).await;
    assert_eq!(world.get("/healthz").send().await.body, "ok\n");
    assert_eq!(world.get("/readyz").send().await.body, "ok\n");
    let text = world.get("/metrics").send().await.body;
    let (mut family, mut is_histogram) = ("", false);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            (family, is_histogram) = (name, kind == "histogram");
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let name = name.split('{').next().unwrap();
            let of = name.strip_prefix(family).expect(line);
            let parts: &[_] = match is_histogram {
                true => &["_bucket", "_sum", "_count"],
                false => &[""],
            };
            assert!(parts.contains(&of), "{line}");
            assert!(value.parse::<f64>().unwrap() >= 0.0, "{line}");
        }
    }
    for line in [
        "farmer_machines{host_type=\"local\",state=\"free\"} 1",
        "farmer_builds_open{state=\"queued\"} 0",
        "farmer_store_stalled 0",
        "farmer_builds_ended_total{outcome=\"passed\"} 1",
        "farmer_builds_ended_total{outcome=\"failed\"} 0",
        "farmer_build_seconds_count 1",
        "farmer_build_seconds_bucket{le=\"+Inf\"} 1",
        "farmer_queue_wait_seconds_count 1",
        "farmer_log_bytes_total 6",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    world.farm.stop().await;
}
