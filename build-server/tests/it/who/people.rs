//! Users and keys on the site: who may do what, the page of admins, sign-ins that end with keys.

use axum::http::{Method, StatusCode, header};
use build_core::event::Principal;
use build_server::who::{Directory, KeyId, NewKey, Role};

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
