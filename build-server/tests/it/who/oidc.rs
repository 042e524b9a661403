//! Signed tokens of a provider that is made here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use build_core::clock::{Clock as _, ManualClock, SystemClock};
use build_core::event::Principal;
use build_core::recipe::Identity;
use build_server::who::{Caller, Credential, Directory, Oidc, Options, Refusal, Right, Role};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// A key of the provider.
pub(super) struct SigningKey {
    name: &'static str,
    key: EncodingKey,
}

impl SigningKey {
    pub(super) fn new(name: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self {
            name,
            key: EncodingKey::from_ec_der(pair.serialized_der()),
        }
    }

    fn public(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.name.to_owned());
        jwk
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.name.to_owned());
        encode(&header, claims, &self.key).unwrap()
    }
}

/// A provider on a free port.
pub(super) struct Provider {
    pub(super) address: String,
    keys: Arc<Mutex<JwkSet>>,
    fetches: Arc<AtomicUsize>,
    /// What is answered to those who ask for a token, one after the other: an error, or tokens.
    pub(super) answers: Arc<Mutex<VecDeque<Value>>>,
    /// What they asked.
    pub(super) asked: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let keys = Arc::new(Mutex::new(JwkSet { keys: Vec::new() }));
        let fetches = Arc::new(AtomicUsize::new(0));
        let configuration = json!({
            "issuer": address,
            "jwks_uri": format!("{address}/keys"),
            "device_authorization_endpoint": format!("{address}/device"),
            "token_endpoint": format!("{address}/token"),
        });
        let begun = json!({
            "device_code": "secret", "user_code": "WDJB-MJHT", "interval": 0, "expires_in": 30,
            "verification_uri": format!("{address}/open"),
            "verification_uri_complete": format!("{address}/open?code=WDJB-MJHT"),
        });
        let answers = Arc::new(Mutex::new(VecDeque::<Value>::new()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (given, heard) = (answers.clone(), asked.clone());
        let (published, counted) = (keys.clone(), fetches.clone());
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(move || async move { Json(configuration) }),
            )
            .route(
                "/keys",
                get(move || async move {
                    counted.fetch_add(1, Ordering::Relaxed);
                    Json(published.lock().unwrap().clone())
                }),
            );
        let router = router
            .route("/device", post(move || async move { Json(begun) }))
            .route(
                "/token",
                post(move |form: String| async move {
                    heard.lock().unwrap().push(form);
                    let answer = given.lock().unwrap().pop_front();
                    let answer = answer.unwrap_or_else(|| json!({"error": "expired_token"}));
                    let status = match answer.get("error") {
                        Some(_) => StatusCode::BAD_REQUEST,
                        None => StatusCode::OK,
                    };
                    (status, Json(answer))
                }),
            );
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            keys,
            fetches,
            answers,
            asked,
        }
    }

    pub(super) fn publish(&self, keys: &[&SigningKey]) {
        self.keys.lock().unwrap().keys = keys.iter().map(|key| key.public()).collect();
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }
}

pub(super) struct Farm {
    pub(super) provider: Provider,
    clock: ManualClock,
    directory: Directory,
}

impl Farm {
    pub(super) async fn start() -> Self {
        let provider = Provider::start().await;
        let mut identity = Identity::new(&provider.address, "farm");
        identity.admins = vec!["ops".into()];
        identity.users = vec!["dev".into()];
        let clock = ManualClock::at(SystemClock.now());
        let oidc = Oidc::new(&[identity]).unwrap();
        let options = Options::default().clock(clock.clone()).signed_tokens(oidc);
        Self {
            provider,
            clock,
            directory: Directory::memory_with(options),
        }
    }

    pub(super) fn claims(&self, user: &str, groups: &[&str]) -> Value {
        let now = self.clock.now().as_seconds();
        json!({
            "iss": self.provider.address, "aud": "farm", "exp": now + 600,
            "email": user, "groups": groups, "sub": "1",
        })
    }

    pub(super) async fn ask(&self, token: &str) -> Result<Caller, Refusal> {
        self.directory
            .caller(&Credential::bearer(token), None)
            .await
    }

    /// What is wrong with a token.
    async fn wrong(&self, token: &str) -> String {
        match self.ask(token).await.unwrap_err() {
            Refusal::Signed(why) => why,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_claims_of_a_token_say_who_somebody_is() {
    let (farm, key) = (Farm::start().await, SigningKey::new("k1"));
    farm.provider.publish(&[&key]);
    let admin = farm
        .ask(&key.sign(&farm.claims("ann@example.org", &["dev", "ops"])))
        .await;
    assert_eq!(admin.unwrap().role(), Role::Admin);
    let user = farm
        .ask(&key.sign(&farm.claims("bob@example.org", &["dev"])))
        .await
        .unwrap();
    assert_eq!(
        (user.role(), user.user()),
        (Role::User, Some("bob@example.org"))
    );
    assert!(user.may(Right::Sessions) && !user.may(Right::Administer));
    let nobody = key.sign(&farm.claims("eve@example.org", &["sales"]));
    assert!(
        farm.wrong(&nobody)
            .await
            .contains("is nothing on this farm")
    );
    // Whom the farm knows, it knows better than the provider.
    let owner = Principal::person("owner");
    farm.directory
        .add_user(
            &owner,
            "eve@example.org",
            Role::User,
            &["team-*".parse().unwrap()],
        )
        .unwrap();
    let eve = farm.ask(&nobody).await.unwrap();
    assert!(eve.may(Right::Read("team-a")) && eve.may(Right::Builds));
}

#[tokio::test]
async fn a_token_for_others_or_another_time_is_refused_by_name() {
    let (farm, key) = (Farm::start().await, SigningKey::new("k1"));
    farm.provider.publish(&[&key]);
    let good = farm.claims("ann@example.org", &["dev"]);
    let now = farm.clock.now().as_seconds();
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        key.sign(&claims)
    };
    for (token, why) in [
        (
            with("iss", json!("https://evil.example")),
            "a provider that this farm does not know",
        ),
        (with("aud", json!("other")), "another audience"),
        (with("exp", json!(now - 61)), "has expired"),
        (with("nbf", json!(now + 3600)), "has not come yet"),
        (with("email", json!(7)), "has no email"),
        (with("email_verified", json!(false)), "not verified"),
        (with("email", json!("a b")), "no name of a user"),
        (with("groups", json!("sales")), "is nothing"),
    ] {
        let said = farm.wrong(&token).await;
        assert!(said.contains(why), "{said}");
    }
    let mut unsaid = good.clone();
    unsaid.as_object_mut().unwrap().remove("aud");
    assert!(farm.wrong(&key.sign(&unsaid)).await.contains("has no aud"));
    // A public key is no secret to sign with, and nothing is no signature.
    let public = serde_json::to_vec(&key.public()).unwrap();
    let secret = EncodingKey::from_secret(&public).unwrap();
    let forged = encode(&Header::new(Algorithm::HS256), &good, &secret).unwrap();
    assert!(farm.wrong(&forged).await.contains("are not taken"));
    let unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.";
    assert!(farm.ask(unsigned).await.is_err());
    let stranger = SigningKey::new("k1").sign(&good);
    assert!(farm.wrong(&stranger).await.contains("signature is wrong"));
    farm.ask(&key.sign(&good)).await.unwrap();
    farm.clock.advance(Duration::from_secs(661));
    assert!(farm.wrong(&key.sign(&good)).await.contains("has expired"));
}

#[tokio::test]
async fn keys_are_fetched_once_however_many_ask_and_again_when_the_provider_changes_them() {
    let (farm, first, second) = (
        Farm::start().await,
        SigningKey::new("k1"),
        SigningKey::new("k2"),
    );
    farm.provider.publish(&[&first]);
    let token = first.sign(&farm.claims("ann@example.org", &["dev"]));
    let many = futures::future::join_all((0..50).map(|_| farm.ask(&token))).await;
    assert!(many.into_iter().all(|caller| caller.is_ok()));
    assert_eq!(farm.provider.fetches(), 1);
    farm.provider.publish(&[&second]);
    let renewed = second.sign(&farm.claims("ann@example.org", &["dev"]));
    // Too soon: whoever makes names of keys up does not make us ask the provider each time.
    for _ in 0..20 {
        assert!(farm.ask(&renewed).await.is_err());
    }
    assert_eq!(farm.provider.fetches(), 1);
    farm.clock.advance(Duration::from_secs(11));
    farm.ask(&renewed).await.unwrap();
    assert_eq!(farm.provider.fetches(), 2);
    assert!(
        farm.wrong(&token).await.contains("no key of the provider"),
        "the old key is gone"
    );
}

#[tokio::test]
async fn a_provider_that_is_away_is_said_and_what_it_had_said_counts_on() {
    let (farm, key) = (Farm::start().await, SigningKey::new("k1"));
    farm.provider.publish(&[&key]);
    farm.ask(&key.sign(&farm.claims("ann@example.org", &["dev"])))
        .await
        .unwrap();
    let mut gone = Identity::new("http://127.0.0.1:9", "farm");
    gone.users = vec!["*".into()];
    let options = Options::default().signed_tokens(Oidc::new(&[gone]).unwrap());
    let directory = Directory::memory_with(options);
    let mut claims = farm.claims("ann@example.org", &[]);
    claims["iss"] = json!("http://127.0.0.1:9");
    let token = key.sign(&claims);
    let refusal = directory
        .caller(&Credential::bearer(token), None)
        .await
        .unwrap_err();
    assert!(matches!(refusal, Refusal::Unavailable(_)), "{refusal:?}");
}
