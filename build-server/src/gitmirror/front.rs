//! What others ask: how the repositories do, and archives.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use build_core::clock::{Clock, SystemClock};
use serde_json::json;
use tokio_util::io::ReaderStream;

use super::archive::{LIMIT, open};
use super::{Dest, Site};
use crate::child::Rev;
use crate::http::page::{Frame, files, html, span, text};
use crate::http::{Guard, Hosts, guarded};

pub(super) fn router(site: Site, hosts: Hosts) -> Router {
    let routes = Router::new()
        .route("/", get(index))
        .route("/debug/watcher/", get(index))
        .route("/debug/watcher/{name}", get(watcher))
        .route("/debug/env", get(about))
        .route("/status", get(status))
        .route("/status.json", get(status_json))
        .route("/healthz", get(health))
        .route("/notify/{name}", post(notify))
        .fallback(archive)
        .merge(files());
    let guard = Guard::new(hosts).with_max_wait(LIMIT + Duration::from_secs(5));
    guarded(routes, guard).with_state(site)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn of_html(page: String) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

/// One line a repository; programs read it line by line.
async fn index(State(site): State<Site>) -> Response {
    let now = SystemClock.now();
    let mut page = String::from("<html><body><pre>");
    for (name, repo) in site.repos.iter() {
        let line = escaped(&repo.state().health.line(now));
        let _infallible = writeln!(page, "<a href='/debug/watcher/{name}'>{name}</a> - {line}");
    }
    page.push_str("</pre></body></html>\n");
    of_html(page)
}

async fn watcher(State(site): State<Site>, Path(name): Path<String>) -> Response {
    let Some(repo) = site.repos.get(&name) else {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    };
    let now = SystemClock.now();
    let mut page = format!("<html><body><pre>watcher status for repo: \"{name}\"\n");
    let state = repo.state();
    for entry in state.health.entries().take(49) {
        let ago = span(now.since(entry.at));
        let _infallible = writeln!(page, "{} {ago:20} {}", entry.at, escaped(&entry.text));
    }
    page.push_str("</pre></body></html>\n");
    of_html(page)
}

/// What this program is; its environment is nobody's business.
async fn about() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    text(
        StatusCode::OK,
        format!("gitmirror of build-server {version}\n"),
    )
}

async fn health(
    State(site): State<Site>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let most = match query.get("max-lag").map(|text| text.parse::<u64>()) {
        None => None,
        Some(Ok(seconds)) => Some(Duration::from_secs(seconds)),
        Some(Err(_)) => {
            return text(StatusCode::BAD_REQUEST, "max-lag is a number of seconds\n");
        }
    };
    let now = SystemClock.now();
    for (name, repo) in site.repos.iter() {
        if let Some(error) = repo.state().health.error() {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("{name}: {error}\n"),
            );
        }
        let lag = repo.lag(now);
        if most.is_some_and(|most| lag > most) {
            let told = format!("{name}: {} behind\n", span(lag));
            return text(StatusCode::INTERNAL_SERVER_ERROR, told);
        }
    }
    text(StatusCode::OK, "")
}

/// Has a repository looked at now. It does no more than the next minute would.
async fn notify(State(site): State<Site>, Path(name): Path<String>) -> Response {
    match site.repos.get(&name) {
        Some(repo) => {
            repo.tickled.notify_one();
            text(StatusCode::ACCEPTED, "it is looked at\n")
        }
        None => text(
            StatusCode::NOT_FOUND,
            format!("no repository is called {name}\n"),
        ),
    }
}

/// `/NAME.tar.gz?rev=REV`
async fn archive(State(site): State<Site>, request: Request) -> Response {
    let path = request.uri().path();
    let name = path
        .strip_prefix('/')
        .and_then(|p| p.strip_suffix(".tar.gz"));
    let Some(repo) = name.and_then(|name| site.repos.get(name)) else {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    };
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return text(StatusCode::BAD_REQUEST, "");
    }
    let query = request.uri().query().unwrap_or("");
    let mut fields = form_urlencoded::parse(query.as_bytes());
    let rev = fields
        .find(|(key, _)| key == "rev")
        .map(|(_, value)| value.into_owned());
    let Some(rev) = rev.filter(|rev| !rev.is_empty()) else {
        return text(StatusCode::BAD_REQUEST, "");
    };
    let rev = match Rev::new(&rev) {
        Ok(rev) => rev,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let made = site.archives.of(&repo.copy, &repo.spec.source, &rev).await;
    let opened = made.and_then(|(hash, path)| Ok((hash, open(&path)?)));
    let (hash, (file, length)) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::info!(error = error.chain(), rev = rev.as_str(), "no archive");
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("{}\n", error.chain()),
            );
        }
    };
    let tag = format!("\"{hash}\"");
    let known = request.headers().get(header::IF_NONE_MATCH);
    let headers = [
        (header::CONTENT_TYPE, "application/x-compressed".to_owned()),
        (header::ETAG, tag.clone()),
    ];
    if known
        .and_then(|v| v.to_str().ok())
        .is_some_and(|known| known.contains(&tag))
    {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let length = [(header::CONTENT_LENGTH, length.to_string())];
    let body = match *request.method() {
        Method::HEAD => Body::empty(),
        _ => Body::from_stream(ReaderStream::new(tokio::fs::File::from_std(file))),
    };
    (headers, length, body).into_response()
}

#[derive(Template)]
#[template(path = "gitmirror.html")]
struct Page {
    frame: Frame,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    line: String,
    good: bool,
    error: String,
    lag: String,
    dests: Vec<(String, Dest)>,
}

fn rows(site: &Site) -> Vec<Row> {
    let now = SystemClock.now();
    let row = |(name, repo): (&String, &std::sync::Arc<super::Repo>)| {
        let lag = repo.lag(now);
        let state = repo.state();
        let line = state.health.line(now);
        Row {
            name: name.clone(),
            good: line.starts_with("ok"),
            line,
            error: state.health.error().unwrap_or("").to_owned(),
            lag: if lag.is_zero() {
                String::new()
            } else {
                span(lag)
            },
            dests: state
                .dests
                .iter()
                .map(|(n, d)| (n.clone(), d.clone()))
                .collect(),
        }
    };
    site.repos.iter().map(row).collect()
}

async fn status(State(site): State<Site>) -> Response {
    let frame = Frame::new("gitmirror", "Repositories", SystemClock.now());
    let frame = frame.with_links(&[("/status", "Repositories"), ("/status.json", "JSON")]);
    let rows = rows(&site);
    html(&Page { frame, rows })
}

async fn status_json(State(site): State<Site>) -> Response {
    let now = SystemClock.now();
    let all: Vec<_> = site
        .repos
        .iter()
        .map(|(name, repo)| {
            let lag = repo.lag(now).as_secs();
            let state = repo.state();
            json!({
                "name": name,
                "status": state.health.line(now),
                "error": state.health.error(),
                "lag_seconds": lag,
                "destinations": state.dests,
            })
        })
        .collect();
    Json(all).into_response()
}
