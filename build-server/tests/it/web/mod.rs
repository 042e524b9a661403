//! The site in this process: a coordinator, fake machines, requests by hand.

mod answers;
mod artifacts;
mod attacks;
mod client;
mod live;
mod reruns;
mod schema;
mod wanted;

use std::path::Path;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use build_core::clock::{Clock, ManualClock, SystemClock};
use build_core::plan::Step;
use build_server::store::Store;
use build_server::web::{Site, TokenFile, service};
use serde_json::Value;
use tower::ServiceExt;

use crate::farm::{FakePool, Farm, Repository, Steps};

/// Larger than any answer here.
const MAX: usize = 16 << 20;

/// A farm with its site, and a repository to build.
pub struct World {
    pub farm: Farm,
    pub store: Store,
    pub repository: Repository,
    pub token: String,
    /// The site's; the coordinator has the machine's.
    pub clock: ManualClock,
    router: Router,
    _data: tempfile::TempDir,
}

/// What was answered.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }
}

/// A request being put together.
pub struct Ask<'w> {
    world: &'w World,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl World {
    pub fn new(steps: Vec<Step>) -> Self {
        Self::with(steps, |site, _, _| site)
    }

    /// A world whose site is changed before it serves; `data` is where its token lies.
    pub fn with(steps: Vec<Step>, change: impl FnOnce(Site, &Path, &Repository) -> Site) -> Self {
        let pool = FakePool::new(1);
        let store = Store::memory();
        let farm = Farm::start(&pool, store.clone(), Steps(steps));
        let data = tempfile::tempdir().unwrap();
        let auth = TokenFile::open(data.path()).unwrap();
        let token = auth.token().to_owned();
        let clock = ManualClock::at(SystemClock.now());
        let site = Site::new(farm.handle.clone(), store.clone(), auth)
            .with_clock(clock.clone())
            .with_checkouts(farm.checkouts.clone());
        let repository = Repository::with_file("a", "");
        let site = change(site, data.path(), &repository);
        Self {
            repository,
            router: service(site),
            farm,
            store,
            token,
            clock,
            _data: data,
        }
    }

    pub fn ask(&self, method: Method, path: impl Into<String>) -> Ask<'_> {
        let ask = Ask {
            world: self,
            method,
            path: path.into(),
            headers: Vec::new(),
            body: String::new(),
        };
        ask.with("host", "localhost:8119")
    }

    /// What answers, for those who read an answer as it comes.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    pub fn get(&self, path: impl Into<String>) -> Ask<'_> {
        self.ask(Method::GET, path)
    }

    /// A request that changes something, by the owner.
    pub fn post(&self, path: impl Into<String>) -> Ask<'_> {
        let token = format!("Bearer {}", self.token);
        self.ask(Method::POST, path).with("authorization", &token)
    }

    /// Signs in with a browser; its cookie.
    pub async fn sign_in(&self) -> String {
        self.sign_in_with("").await
    }

    /// Signs in with a browser that has this cookie already.
    pub async fn sign_in_with(&self, cookie: &str) -> String {
        let form = self.ask(Method::POST, "/sign-in").with("cookie", cookie);
        let form = form.text(&format!("token={}", self.token));
        let form = form.with("content-type", "application/x-www-form-urlencoded");
        let answer = form.send().await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    /// The wish for a build of the newest commit.
    pub fn wish(&self) -> Value {
        serde_json::json!({ "repo": self.repository.origin() })
    }
}

impl Ask<'_> {
    /// Sets a header, in the place of an earlier one of this name.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self
    }

    pub fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string();
        self.with("content-type", "application/json")
    }

    pub fn text(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }

    /// Sends it; what has a description is judged by it.
    pub async fn send(self) -> Answer {
        let mut request = Request::builder().method(&self.method).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(self.body)).unwrap();
        let response = self.world.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(crate::farm::SOON, to_bytes(body, MAX)).await;
        let body = body.expect("the answer ends soon").unwrap();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        };
        let kind = answer.headers.get(header::CONTENT_TYPE);
        let kind = kind.map_or("", |kind| kind.to_str().unwrap());
        let path = self.path.split('?').next().unwrap();
        schema::check(&self.method, path, answer.status, kind, &answer.body);
        answer
    }
}
