//! What stands before every handler.

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

use super::{Refusal, Site};

/// Bytes of a request's body: a build's description is a few hundred, a code host's push
/// notice with many commits stays below a megabyte.
const MAX_BODY: usize = 1 << 20;
/// Until the head of an answer; bodies are streamed as long as they take.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Headers of every answer: browsers run no inline script, show the pages in no frame, guess
/// no types, and let other sites read nothing. Forms send their origin, so no `no-referrer`.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self'; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; \
             base-uri 'none'",
        ),
    ),
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

/// `routes` behind the guard.
pub(super) fn guarded(routes: Router<Site>, site: &Site) -> Router<Site> {
    routes
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CompressionLayer::new().gzip(true).compress_when(is_page))
        .layer(from_fn(in_time))
        .layer(from_fn_with_state(site.clone(), check))
        .layer(from_fn(with_headers))
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

async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

async fn check(State(site): State<Site>, request: Request, next: Next) -> Response {
    let checked = check_host(&site, request.uri(), request.headers()).and_then(|host| {
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

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(MAX_WAIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::new(
            ErrorKind::TimedOut,
            format!("no answer within {} s", MAX_WAIT.as_secs()),
            "ask again a little later",
        )
        .into_response(),
    }
}

fn changes_nothing(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// The name by which the site was called, when it is one of its own.
fn check_host<'r>(site: &Site, uri: &'r Uri, headers: &'r HeaderMap) -> Result<&'r str, Refusal> {
    let named = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    // HTTP/2 has the name in the target.
    let host = uri.authority().map(Authority::as_str).or(named);
    match host {
        Some(host) if site.hosts().accept(host) => Ok(host),
        _ => Err(Refusal::new(
            ErrorKind::Denied,
            format!("this farm is not called {:?}", host.unwrap_or("")),
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
            "use this farm's own pages, or a program",
        )),
    }
}
