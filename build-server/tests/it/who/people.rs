//! Users and keys on the site: who may do what, the page of admins, sign-ins that end with keys.

use std::time::Duration;

use axum::http::{Method, StatusCode, header};
use build_client::farm::FarmClient;
use build_core::ErrorKind;
use build_core::clock::Timestamp;
use build_core::event::Principal;
use build_core::report::{self, KeyRotation, KeyWord, NewUser, UserChange};
use build_server::supervise::Supervisor;
use build_server::who::{Directory, KeyId, NewKey, Role};
use tokio::net::TcpListener;

use crate::farm::step;
use crate::web::World;

struct People {
    world: World,
    directory: Directory,
}

impl People {
    fn new() -> Self {
        let mut directory = None;
        let world = World::with(vec![step("s", "echo hello")], |site, data, _| {
            let opened = Directory::open(data).unwrap();
            directory = Some(opened.clone());
            site.with_directory(opened)
        });
        Self {
            world,
            directory: directory.unwrap(),
        }
    }

    fn key(&self, user: &str, role: Role, scope: &str) -> (KeyId, String) {
        let owner = Principal::person("owner");
        // Another key of the same user is fine.
        let _known = self.directory.add_user(&owner, user, role, &[]);
        let new = NewKey::of_user(user).with_scope(scope.parse().unwrap());
        let made = self.directory.create_key(&owner, new).unwrap();
        (made.key.id, made.token.reveal().to_owned())
    }

    async fn status(&self, method: Method, path: &str, token: &str) -> StatusCode {
        let ask = self
            .world
            .ask(method, path)
            .with("authorization", &format!("Bearer {token}"));
        ask.json(&self.world.wish()).send().await.status
    }

    /// The cookie of a browser in which somebody has signed in.
    async fn browser(&self, token: &str) -> String {
        let form = self
            .world
            .ask(Method::POST, "/sign-in")
            .text(&format!("token={token}"));
        let form = form.with("content-type", "application/x-www-form-urlencoded");
        let answer = form.send().await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn each_role_and_scope_does_what_it_may_and_no_more() {
    let people = People::new();
    let (_, user) = people.key("ann", Role::User, "all");
    let (_, sessions) = people.key("ann", Role::User, "sessions");
    let (_, guest) = people.key("guest", Role::Anyone, "all");
    let (_, admin) = people.key("root", Role::Admin, "all");
    let owner = Principal::person("owner");
    let new = NewKey::of_machine("local", "board-7").unwrap();
    let machine = people.directory.create_key(&owner, new).unwrap();
    let machine = machine.token.reveal();
    let (builds, outbox) = ("/api/v1/builds", "/api/v1/outbox");
    for (token, build, manage) in [
        (user.as_str(), 201_u16, 403_u16),
        (&sessions, 403, 403),
        (&guest, 403, 403),
        (machine, 403, 403),
        (&admin, 201, 200),
        (&people.world.token, 201, 200),
        ("farmer_guess", 401, 401),
    ] {
        assert_eq!(people.status(Method::POST, builds, token).await, build);
        assert_eq!(people.status(Method::GET, outbox, token).await, manage);
        assert_eq!(people.status(Method::GET, "/people", token).await, manage);
        // What is public is read by everybody.
        assert_eq!(people.status(Method::GET, builds, token).await, 200);
    }
    people.world.farm.stop().await;
}

#[tokio::test]
async fn an_admin_revokes_a_key_with_a_form_that_no_other_site_can_send() {
    let people = People::new();
    let (stolen, token) = people.key("ann", Role::User, "all");
    let anns = people.browser(&token).await;
    let admins = people.browser(&people.world.token).await;
    let page = people
        .world
        .get("/people")
        .with("cookie", &admins)
        .send()
        .await;
    assert!(page.body.contains(stolen.as_str()) && page.body.contains("ann"));
    assert!(!page.body.contains(&token), "no page tells a key");
    let proof = page.body.split("name=proof value=\"").nth(1).unwrap();
    let proof = proof.split('"').next().unwrap();
    let press = |cookie: &str, proof: &str| {
        let form = people
            .world
            .ask(Method::POST, "/people/revoke")
            .with("cookie", cookie);
        let form = form.with("content-type", "application/x-www-form-urlencoded");
        form.text(&format!("key={stolen}&proof={proof}"))
    };
    let other = people.browser(&people.world.token).await;
    for (what, form, status) in [
        ("without a proof", press(&admins, ""), 403_u16),
        ("of another browser", press(&other, proof), 403),
        ("by a user", press(&anns, proof), 403),
        ("by nobody", press("x=y", proof), 401),
        (
            "from another site",
            press(&admins, proof).with("origin", "https://evil.example"),
            403,
        ),
    ] {
        assert_eq!(form.send().await.status, status, "{what}");
    }
    let rerun = |cookie: &str| {
        people
            .world
            .ask(Method::POST, "/builds/B000000000/rerun")
            .with("cookie", cookie)
    };
    assert_eq!(
        rerun(&anns).send().await.status,
        StatusCode::NOT_FOUND,
        "signed in"
    );
    let pressed = press(&admins, proof).send().await;
    assert_eq!(pressed.status, StatusCode::SEE_OTHER, "{}", pressed.body);
    // The sign-in of the one whose key it was has ended with it.
    assert_eq!(rerun(&anns).send().await.status, StatusCode::UNAUTHORIZED);
    let page = people
        .world
        .get("/people")
        .with("cookie", &admins)
        .send()
        .await;
    assert!(page.body.contains("revoked key"), "{}", page.body);
    people.world.farm.stop().await;
}

#[tokio::test]
async fn programs_of_admins_manage_users_and_keys() {
    let people = People::new();
    let world = &people.world;
    let owner = format!("Bearer {}", world.token);
    let json = async |method: Method, path: &str, token: &str, body: serde_json::Value| {
        let ask = world.ask(method.clone(), path).with("authorization", token);
        let answer = match method == Method::POST {
            true => ask.json(&body).send().await,
            false => ask.send().await,
        };
        (answer.status, answer.json(), answer.headers)
    };
    let none = serde_json::json!({});
    let new = serde_json::json!({"name": "ann", "reads": ["team-*"]});
    let (status, added, _) = json(Method::POST, "/api/v1/users", &owner, new.clone()).await;
    assert_eq!((status, &added["role"]), (StatusCode::OK, &"user".into()));
    let (status, refusal, _) = json(Method::POST, "/api/v1/users", &owner, new).await;
    assert_eq!(status, StatusCode::CONFLICT, "{refusal}");
    let admin = serde_json::json!({"role": "admin"});
    let (_, changed, _) = json(Method::POST, "/api/v1/users/ann", &owner, admin).await;
    assert_eq!(
        (&changed["role"], &changed["reads"][0]),
        (&"admin".into(), &"team-*".into())
    );
    let wanted = serde_json::json!({"user": "ann", "scope": "builds", "note": "for CI"});
    let (status, made, headers) = json(Method::POST, "/api/v1/keys", &owner, wanted).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    let ann = made["token"].as_str().unwrap();
    let (_, keys, _) = json(Method::GET, "/api/v1/keys", &owner, none.clone()).await;
    assert_eq!(keys["keys"][0]["id"], made["id"]);
    assert!(!keys.to_string().contains(ann), "secrets are told once");
    // The scope of that key does not manage anybody.
    let shown = format!("Bearer {ann}");
    for path in ["/api/v1/users", "/api/v1/keys", "/api/v1/machines/past"] {
        let (status, _, _) = json(Method::GET, path, &shown, none.clone()).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
        let stranger = world.get(path).send().await;
        assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let (status, past, _) = json(Method::GET, "/api/v1/machines/past", &owner, none.clone()).await;
    assert_eq!(
        (status, &past["machines"]),
        (StatusCode::OK, &serde_json::json!([]))
    );
    the_client_reads_the_same(world).await;
    let machine = serde_json::json!({"machine": "box1", "host_type": "linux"});
    let (status, made, _) = json(Method::POST, "/api/v1/keys", &owner, machine).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    let (_, ended, _) = json(Method::DELETE, &path, &owner, none.clone()).await;
    assert_eq!(ended["state"], "revoked");
    let both = serde_json::json!({"user": "ann", "machine": "box1"});
    let (status, _, _) = json(Method::POST, "/api/v1/keys", &owner, both).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (_, removed, _) = json(Method::DELETE, "/api/v1/users/ann", &owner, none.clone()).await;
    assert_eq!(removed["keys_revoked"], 1);
    let (status, _, _) = json(Method::DELETE, "/api/v1/users/ann", &owner, none).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (events, _) = people.directory.audit(1).unwrap();
    assert_eq!(
        events[0].by.text(),
        "owner",
        "the audit log names who did it"
    );
    people.world.farm.stop().await;
}

async fn the_client_reads_the_same(world: &World) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = Supervisor::new("site");
    let router = world.router();
    serving.spawn("serve", async move { axum::serve(listener, router).await });
    let stranger = FarmClient::builder(&address).build().unwrap();
    let denied = stranger.keys().await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied, "{}", denied.chain());
    let farm = FarmClient::builder(&address).token(&world.token);
    let farm = farm.build().unwrap();
    let ben = NewUser {
        name: "ben".into(),
        ..NewUser::default()
    };
    assert_eq!(farm.add_user(&ben).await.unwrap().role, "user");
    let wrong = UserChange {
        role: Some("king".into()),
        ..UserChange::default()
    };
    let wrong = farm.change_user("ben", &wrong).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Invalid, "{}", wrong.chain());
    let reads = UserChange {
        reads: Some(vec!["lib-*".into()]),
        ..UserChange::default()
    };
    assert_eq!(
        farm.change_user("ben", &reads).await.unwrap().reads,
        ["lib-*"]
    );
    let new = report::NewKey {
        user: Some("ben".into()),
        expires: Some(Timestamp::from_seconds(1)),
        ..report::NewKey::default()
    };
    // What has ended before it began may be refused; it is never good.
    if let Ok(past) = farm.make_key(&new).await {
        assert_eq!(past.key.state, KeyWord::Expired);
    }
    let new = report::NewKey {
        expires: Some(Timestamp::from_seconds(32_503_680_000)),
        ..new
    };
    let made = farm.make_key(&new).await.unwrap();
    assert_eq!(
        (made.key.state, made.key.expires),
        (KeyWord::Active, new.expires)
    );
    let long = KeyRotation {
        grace: Some(Duration::from_secs(400 * 24 * 3600)),
    };
    let refused = farm.rotate_key(&made.key.id, &long).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{}", refused.chain());
    let next = farm.rotate_key(&made.key.id, &KeyRotation::default()).await;
    let next = next.unwrap();
    assert_eq!(next.key.replaces.as_deref(), Some(made.key.id.as_str()));
    assert!(next.token != made.token && next.key.state == KeyWord::Active);
    let ended = farm.revoke_key(&made.key.id).await.unwrap();
    assert_eq!(ended.state, KeyWord::Revoked);
    let keys = farm.keys().await.unwrap().keys;
    let again = keys.iter().find(|key| key.id == made.key.id).unwrap();
    assert_eq!(
        (again.state, again.revoked),
        (KeyWord::Revoked, ended.revoked)
    );
    let users = farm.users().await.unwrap().users;
    assert!(users.iter().any(|user| user.name == "ben"));
    assert_eq!(farm.remove_user("ben").await.unwrap().name, "ben");
    assert!(farm.machines_past().await.unwrap().machines.is_empty());
}
