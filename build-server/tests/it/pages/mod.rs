//! The pages: what they say, without a browser and in one.

mod browser;
mod orchard;
mod reading;
mod snapshots;
mod webdriver;

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use build_core::ids::BuilderName;
use build_core::plan::Step;
use build_core::work::Builder;
use build_server::store::Store;
use build_server::web::{Site, TokenFile, service};
use tower::ServiceExt;

use crate::farm::{FakePool, Farm, Repository, Steps, local};

/// A farm with a past and two machines, its site, and a repository to build.
pub struct World {
    pub farm: Farm,
    pub store: Store,
    pub repository: Repository,
    pub token: String,
    pub router: Router,
    _data: tempfile::TempDir,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

fn builder(name: &str) -> Builder {
    Builder {
        name: BuilderName::new(name).unwrap(),
        host_type: local(),
        labels: BTreeSet::new(),
        env: BTreeMap::new(),
    }
}

impl World {
    pub async fn new(steps: Vec<Step>) -> Self {
        let store = Store::memory();
        orchard::plant(&store).await;
        let more = |farm: build_server::coordinator::CoordinatorBuilder| {
            let farm = farm.build_on(builder("linux-amd64"));
            farm.build_on(builder("linux-arm64"))
        };
        let farm = Farm::start_with(&FakePool::new(2), store.clone(), Steps(steps), more);
        let data = tempfile::tempdir().unwrap();
        let auth = TokenFile::open(data.path()).unwrap();
        let token = auth.token().to_owned();
        let site = Site::new(farm.handle.clone(), store.clone(), auth);
        Self {
            repository: Repository::with_file("a", ""),
            router: service(site),
            farm,
            store,
            token,
            _data: data,
        }
    }

    /// The head and the bytes of an answer to somebody who takes an encoding.
    pub async fn raw(&self, path: &str, encoding: &str) -> (HeaderMap, Vec<u8>) {
        let request = Request::get(path).header("host", "localhost:8119");
        let request = request.header("accept-encoding", encoding);
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 16 << 20).await.unwrap();
        (parts.headers, body.to_vec())
    }

    pub async fn send(&self, request: axum::http::request::Builder, body: &str) -> Answer {
        let request = request.header("host", "localhost:8119");
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(crate::farm::SOON, to_bytes(body, 16 << 20)).await;
        let body = body.expect("the answer ends soon").unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path), "").await
    }

    /// A form as a browser with these cookies sends it.
    pub async fn post(&self, path: &str, form: &str, cookie: Option<&str>) -> Answer {
        let mut request =
            Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        self.send(request, form).await
    }
}
