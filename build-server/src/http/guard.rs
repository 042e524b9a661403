//! What stands before every handler.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::uri::Authority;
use axum::http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header,
};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use build_core::ErrorKind;
use tower_http::compression::CompressionLayer;

use super::{Hosts, Refusal};

/// Bytes of a request's body: a build's description is a few hundred, a code host's push
/// notice with many commits stays below a megabyte.
const MAX_BODY: usize = 1 << 20;
/// Until the head of an answer; bodies are streamed as long as they take.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Pages may run scripts of their own origin.
const WITH_SCRIPTS: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; manifest-src 'self'; form-action 'self'; \
     frame-ancestors 'none'; base-uri 'none'";
/// Pages need no script, so none runs.
const WITHOUT_SCRIPTS: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Headers of every answer: browsers show the pages in no frame, guess no types, and let other
/// sites read nothing. Forms send their origin, so no `no-referrer`.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// What a server checks before its handlers, and what it says with each answer.
#[derive(Clone, Debug)]
pub struct Guard {
    hosts: Arc<Hosts>,
    policy: &'static str,
    max_body: usize,
    max_wait: Duration,
}

impl Guard {
    /// For a server that answers to `hosts`: no scripts, bodies of 1 MiB, 60 s to answer.
    pub fn new(hosts: impl Into<Arc<Hosts>>) -> Self {
        Self {
            hosts: hosts.into(),
            policy: WITHOUT_SCRIPTS,
            max_body: MAX_BODY,
            max_wait: MAX_WAIT,
        }
    }

    /// Lets pages run scripts that this server sends as files.
    #[must_use]
    pub fn with_scripts(mut self) -> Self {
        self.policy = WITH_SCRIPTS;
        self
    }

    /// Takes bodies of at most `bytes`.
    #[must_use]
    pub fn with_max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Gives handlers `time` until the head of their answer.
    #[must_use]
    pub fn with_max_wait(mut self, time: Duration) -> Self {
        self.max_wait = time;
        self
    }
}

/// `routes` behind `guard`.
pub fn guarded<S: Clone + Send + Sync + 'static>(routes: Router<S>, guard: Guard) -> Router<S> {
    let (max_body, max_wait, policy) = (guard.max_body, guard.max_wait, guard.policy);
    routes
        .layer(DefaultBodyLimit::max(max_body))
        .layer(CompressionLayer::new().gzip(true).compress_when(is_page))
        .layer(from_fn(move |request, next| {
            in_time(max_wait, request, next)
        }))
        .layer(from_fn_with_state(guard.hosts, check))
        .layer(from_fn(move |request, next| {
            with_headers(policy, request, next)
        }))
}

/// Pages, their files, and JSON are sent compressed to whoever takes that. Streams of events,
/// lines of a log that is being written (nobody stores them) and raw logs are not: whoever
/// follows them waits for each line.
fn is_page(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::CACHE_CONTROL) == Some("no-store") {
        return false;
    }
    let kind = text(header::CONTENT_TYPE).unwrap_or("");
    [
        "text/html",
        "text/css",
        "text/javascript",
        "application/json",
    ]
    .iter()
    .any(|known| kind.starts_with(known))
}

async fn with_headers(policy: &'static str, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let policy = HeaderValue::from_static(policy);
    let policy = std::iter::once((header::CONTENT_SECURITY_POLICY, policy));
    for (name, value) in HEADERS.into_iter().chain(policy) {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

async fn check(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let checked = check_host(&hosts, request.uri(), request.headers()).and_then(|host| {
        if changes_nothing(request.method()) {
            return Ok(());
        }
        check_origin(host, request.headers())
    });
    match checked {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn in_time(max_wait: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(max_wait, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(
            ErrorKind::TimedOut,
            format!("no answer within {} s", max_wait.as_secs()),
            "ask again a little later",
        )
        .into_response(),
    }
}

fn changes_nothing(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// The name by which the site was called, when it is one of its own.
fn check_host<'r>(hosts: &Hosts, uri: &'r Uri, headers: &'r HeaderMap) -> Result<&'r str, Refusal> {
    let named = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    // HTTP/2 has the name in the target.
    let host = uri.authority().map(Authority::as_str).or(named);
    match host {
        Some(host) if hosts.accept(host) => Ok(host),
        _ => Err(Refusal::new(
            ErrorKind::Denied,
            format!("this server is not called {:?}", host.unwrap_or("")),
            "open it as http://localhost:PORT, or start it with --host NAME",
        )
        .with_status(StatusCode::MISDIRECTED_REQUEST)),
    }
}

/// A browser says from where a request comes that may change something; programs say nothing.
fn check_origin(host: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    let same = |origin: &str| {
        let authority = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|a| a.eq_ignore_ascii_case(host))
    };
    let foreign = text("origin").filter(|origin| !same(origin));
    let crossed = text("sec-fetch-site").filter(|site| !["same-origin", "none"].contains(site));
    match foreign.or(crossed) {
        None => Ok(()),
        Some(from) => Err(Refusal::new(
            ErrorKind::Denied,
            format!("a request from another site ({from}) changes nothing here"),
            "use the pages of this server, or a program",
        )),
    }
}
