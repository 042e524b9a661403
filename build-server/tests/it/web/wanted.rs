//! What is wanted and what repositories are called: listed, and changed with the buttons of pages.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::World;
use crate::farm::step;

/// Presses a button of a browser that has signed in.
async fn press(world: &World, cookie: &str, path: &str, form: &str) -> super::Answer {
    let pressed = world.ask(axum::http::Method::POST, path);
    let pressed = pressed
        .with("cookie", cookie)
        .with("origin", "http://localhost:8119");
    let kind = "application/x-www-form-urlencoded";
    pressed.with("content-type", kind).text(form).send().await
}

fn hidden<'p>(page: &'p str, name: &str) -> &'p str {
    let field = format!("name={name} value=");
    let (_, rest) = page
        .split_once(&field)
        .unwrap_or_else(|| panic!("no {name} in {page}"));
    let rest = rest.trim_start_matches('"');
    &rest[..rest.find(['"', '>']).unwrap()]
}

#[tokio::test]
async fn what_is_wanted_is_said_and_taken_back_by_a_button() {
    let world = World::new(vec![step("test", "sleep 600")]);
    let asked = world
        .post("/api/v1/builds")
        .json(&world.wish())
        .send()
        .await;
    let key = asked.json()["wish"].clone();
    let id = asked.json()["builds"][0]["id"].as_str().unwrap().to_owned();
    let id: build_core::ids::BuildId = id.parse().unwrap();
    // Somebody else wants the same.
    let shared = world.farm.submit(&world.repository).await;
    assert_eq!(shared, id);
    let path = format!("/api/v1/wishes?build={id}");
    let wanted = world.get(&path).send().await.json();
    assert_eq!(wanted["open"], 2);
    let own = wanted["wishes"].as_array().unwrap().iter();
    let own: Vec<&Value> = own.filter(|wish| wish["key"] == key).collect();
    assert_eq!(own[0]["by"], "person:owner");
    assert_eq!(world.get("/api/v1/wishes").send().await.json(), wanted);

    let page = format!("/builds/{id}");
    let strangers = world.get(&page).send().await.body;
    assert!(strangers.contains("<dt>Wanted by</dt>") && !strangers.contains("name=wish"));
    let cookie = world.sign_in().await;
    let form = format!("wish={}", key.as_str().unwrap());
    let button = format!("{page}/withdraw");
    let refused = press(&world, "", &button, &form).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let pressed = press(&world, &cookie, &button, &form).await;
    assert_eq!(pressed.status, StatusCode::SEE_OTHER, "{}", pressed.body);
    // It goes on for the other one, who is the last.
    let again = press(&world, &cookie, &button, &form).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND, "{}", again.body);
    let wanted = world.get(&path).send().await.json();
    assert_eq!(wanted["open"], 1);
    let open = world.get(&page).with("cookie", &cookie).send().await.body;
    let form = format!("wish={}", hidden(&open, "wish"));
    press(&world, &cookie, &button, &form).await;
    world.farm.built(&id).await;
    let row = world
        .get(format!("/api/v1/builds/{id}"))
        .send()
        .await
        .json();
    assert_eq!(row["outcome"]["result"], "canceled");
    world.farm.stop().await;
}

#[tokio::test]
async fn a_repository_is_renamed_and_moved_by_forms_of_admins() {
    let world = World::new(vec![step("test", "true")]);
    world.farm.build(&world.repository).await;
    let known = world.get("/api/v1/repos").send().await.json();
    let id = known["repos"][0]["id"].as_str().unwrap().to_owned();
    let strangers = world.get("/repos").send().await.body;
    assert!(strangers.contains(&id) && !strangers.contains("<form method=post action=/repos"));
    let cookie = world.sign_in().await;
    let page = world
        .get("/repos")
        .with("cookie", &cookie)
        .send()
        .await
        .body;
    let (proof, place) = (hidden(&page, "proof"), format!("/repos/{id}"));
    for (cookie, form, status) in [
        (
            "",
            format!("name=x&proof={proof}"),
            StatusCode::UNAUTHORIZED,
        ),
        (&cookie, "name=x&proof=00".into(), StatusCode::FORBIDDEN),
        (
            &cookie,
            format!("name=&proof={proof}"),
            StatusCode::BAD_REQUEST,
        ),
        (
            &cookie,
            format!("name=a%00b&proof={proof}"),
            StatusCode::BAD_REQUEST,
        ),
        (
            &cookie,
            format!("name=api&proof={proof}"),
            StatusCode::SEE_OTHER,
        ),
        (
            &cookie,
            format!("origin=https://new/api&proof={proof}"),
            StatusCode::SEE_OTHER,
        ),
    ] {
        let pressed = press(&world, cookie, &place, &form).await;
        assert_eq!(pressed.status, status, "{form}: {}", pressed.body);
    }
    let changed = world.get("/api/v1/repos").send().await.json();
    let changed = &changed["repos"][0];
    assert_eq!(
        (&changed["name"], &changed["origin"]),
        (&json!("api"), &json!("https://new/api"))
    );
    world.farm.stop().await;
}
