//! What others may try: each is refused, and nothing has changed.

use axum::http::Method;
use build_core::event::BuildEvent;
use build_core::event::MemoKey;
use build_server::store::BuildFilter;

use super::{Ask, World};
use crate::farm::step;

/// Sends each request; none may be accepted, and the event log ends where it did.
async fn refused(world: &World, attacks: Vec<(&str, Ask<'_>)>, status: &[u16]) {
    let before = world.store.events().head().await.unwrap();
    for (what, attack) in attacks {
        let answer = attack.send().await;
        assert!(
            status.contains(&answer.status.as_u16()),
            "{what}: {}",
            answer.status
        );
        assert_eq!(answer.json()["code"], "denied", "{what}");
        assert!(!answer.body.contains(&world.token), "{what}");
    }
    assert_eq!(world.store.events().head().await.unwrap(), before);
}

async fn world_at_work() -> (World, String) {
    let world = World::new(vec![step("long", "sleep 600")]);
    let build = world.farm.submit(&world.repository).await;
    let begun = |e: &BuildEvent| matches!(e, BuildEvent::Started { .. });
    world.farm.until(&build, begun).await;
    (world, build.to_string())
}

async fn end(world: World, build: &str) {
    let row = world.get(format!("/api/v1/builds/{build}")).send().await;
    assert_eq!(row.json()["state"], "running");
    let all = BuildFilter::default();
    let builds = world.store.records().builds(&all, None, 10).await.unwrap();
    assert_eq!(builds.builds.len(), 1);
    world.farm.kill().await;
}

/// Every request that changes something, as its owner would send it.
fn changes<'w>(world: &'w World, build: &str) -> Vec<Ask<'w>> {
    vec![
        world.post("/api/v1/builds").json(&world.wish()),
        world.post(format!("/api/v1/builds/{build}/cancel")),
        world.post(format!("/api/v1/builds/{build}/rerun")),
        world.post("/api/v1/hooks/push"),
    ]
}

#[tokio::test]
async fn without_the_token_nothing_changes_on_this_machine_either() {
    let (world, build) = world_at_work().await;
    let mut attacks = Vec::new();
    for value in [
        "",
        "Bearer ",
        "Bearer guess",
        "Basic b3duZXI6b3duZXI=",
        &format!("Bearer {}x", world.token),
        &format!("Bearer {}", &world.token[..world.token.len() - 1]),
        &format!("Bearer {}", world.token.to_uppercase()),
        &format!("Bearer {}", "0".repeat(100_000)),
    ] {
        for ask in changes(&world, &build) {
            attacks.push(("wrong token", ask.with("authorization", value)));
        }
    }
    for ask in changes(&world, &build) {
        attacks.push(("no token", ask.without("authorization")));
    }
    for ask in changes(&world, &build) {
        let ask = ask.without("authorization");
        attacks.push(("wrong cookie", ask.with("cookie", "farmer_sign_in=guess")));
    }
    for name in ["farmer_sign_in", "farmer_token"] {
        let cookie = format!("{name}={}", world.token);
        for ask in changes(&world, &build) {
            let ask = ask.without("authorization");
            attacks.push(("the token as a cookie", ask.with("cookie", &cookie)));
        }
    }
    let query = format!("/api/v1/builds/{build}/cancel?token={}", world.token);
    attacks.push(("token in the address", world.ask(Method::POST, query)));
    refused(&world, attacks, &[401]).await;
    end(world, &build).await;
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing_with_the_owners_browser() {
    let (world, build) = world_at_work().await;
    let cookie = world.sign_in().await;
    let mut attacks = Vec::new();
    for (name, value) in [
        ("origin", "https://attacker.example"),
        ("origin", "http://localhost:9999"),
        ("origin", "http://localhost:8119.attacker.example"),
        ("origin", "null"),
        ("origin", ""),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        for ask in changes(&world, &build) {
            attacks.push((value, ask.with("cookie", &cookie).with(name, value)));
        }
    }
    refused(&world, attacks, &[403]).await;
    end(world, &build).await;
}

#[tokio::test]
async fn a_foreign_name_for_this_machine_reads_and_changes_nothing() {
    let (world, build) = world_at_work().await;
    let mut attacks = Vec::new();
    for host in [
        "attacker.example",
        "attacker.example:8119",
        "localhost.attacker.example",
        "",
    ] {
        for ask in changes(&world, &build) {
            let origin = format!("http://{host}");
            attacks.push(("rebound", ask.with("host", host).with("origin", &origin)));
        }
        let path = format!("/api/v1/builds/{build}");
        attacks.push(("rebound read", world.get(path).with("host", host)));
    }
    let absolute = "http://attacker.example/api/v1/builds";
    attacks.push(("rebound target", world.get(absolute)));
    attacks.push(("no name", world.get("/api/v1/builds").without("host")));
    refused(&world, attacks, &[421]).await;
    end(world, &build).await;
}

#[tokio::test]
async fn the_owners_own_pages_and_programs_are_let_in() {
    let (world, build) = world_at_work().await;
    let cookie = world.sign_in().await;
    let own = world
        .ask(Method::POST, "/api/v1/builds")
        .json(&world.wish())
        .with("cookie", &cookie)
        .with("origin", "http://localhost:8119")
        .with("sec-fetch-site", "same-origin");
    assert_eq!(own.send().await.status.as_u16(), 201);
    for host in ["127.0.0.1:8119", "[::1]:8119", "LOCALHOST"] {
        let row = world
            .get(format!("/api/v1/builds/{build}"))
            .with("host", host);
        assert_eq!(row.send().await.status.as_u16(), 200, "{host}");
    }
    world.farm.kill().await;
}

#[tokio::test]
async fn a_cookie_is_no_token_and_dies_with_its_sign_in() {
    let (world, build) = world_at_work().await;
    let planted = "farmer_sign_in=planted-by-a-neighbour";
    let (first, second) = (world.sign_in_with(planted).await, world.sign_in().await);
    assert_ne!(first, second, "each sign-in has an id of its own");
    for cookie in [&first, &second] {
        assert!(
            !cookie.contains(&world.token) && cookie != planted,
            "{cookie}"
        );
    }
    let with = |cookie: &str| {
        let asks = changes(&world, &build).into_iter();
        let asks = asks.map(|ask| ask.without("authorization").with("cookie", cookie));
        asks.map(|ask| ("dead cookie", ask)).collect::<Vec<_>>()
    };
    refused(&world, with(planted), &[401]).await;
    // What a neighbour on another port saw of it is no token for programs either.
    let id = first.strip_prefix("farmer_sign_in=").unwrap();
    let header = format!("Bearer {id}");
    let as_token = changes(&world, &build).into_iter();
    let as_token = as_token.map(|ask| ("sign-in as token", ask.with("authorization", &header)));
    refused(&world, as_token.collect(), &[401]).await;

    let out = world.ask(Method::POST, "/sign-out").with("cookie", &first);
    let out = out.send().await;
    assert!(
        out.headers["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    refused(&world, with(&first), &[401]).await;
    world
        .clock
        .advance(std::time::Duration::from_secs(8 * 24 * 60 * 60));
    refused(&world, with(&second), &[401]).await;
    end(world, &build).await;
}

#[tokio::test]
async fn every_answer_binds_the_browser_and_hides_the_secrets() {
    let (world, build) = world_at_work().await;
    for path in ["/api/v1/builds", "/api/v1/nothing", "/nothing"] {
        let answer = world.get(path).send().await;
        for (name, part) in [
            ("content-security-policy", "default-src 'none'"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            let value = answer.headers[name].to_str().unwrap();
            assert!(value.contains(part), "{path}: {name}: {value}");
        }
        assert!(answer.headers.get("access-control-allow-origin").is_none());
    }
    world
        .post(format!("/api/v1/builds/{build}/cancel"))
        .send()
        .await;
    let events = world.get(format!("/api/v1/builds/{build}/events"));
    let events = events.send().await.body;
    assert!(events.contains(r#""kind":"leased""#), "{events}");
    let log = world.store.events().clone();
    let memos = log.memos(&MemoKey::new("lease/").unwrap()).await.unwrap();
    assert!(!events.contains("nonce"), "{events}");
    for memo in memos {
        let proof = String::from_utf8(memo.value.unwrap().to_vec()).unwrap();
        assert!(!events.contains(&proof), "{events}");
    }
    world.farm.stop().await;
}

#[tokio::test]
async fn a_notice_is_believed_when_it_is_signed_or_shows_the_token() {
    use hmac::{Hmac, KeyInit, Mac};
    let world = World::new(vec![step("s", "true")]);
    let body = r#"{"ref":"refs/heads/main"}"#;
    let sign = |key: &str| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
    };
    let notice = || world.ask(Method::POST, "/api/v1/hooks/push").text(body);
    let signed = notice().with("x-hub-signature-256", &sign(&world.token));
    assert_eq!(signed.send().await.status.as_u16(), 202);
    let shown = notice().with("x-gitlab-token", &world.token);
    assert_eq!(shown.send().await.status.as_u16(), 202);
    let attacks = vec![
        ("nothing", notice()),
        (
            "signed by another",
            notice().with("x-hub-signature-256", &sign("secret")),
        ),
        ("not hex", notice().with("x-hub-signature-256", "sha256=zz")),
        ("old signature", notice().with("x-hub-signature", "sha1=00")),
        (
            "another body",
            notice()
                .with("x-hub-signature-256", &sign(&world.token))
                .text("{}"),
        ),
        ("wrong token", notice().with("x-gitlab-token", "guess")),
    ];
    refused(&world, attacks, &[401]).await;
    world.farm.stop().await;
}
