//! HTTP: notices in, events out.

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Json};
use build_core::clock::{Clock, SystemClock, Timestamp};
use build_core::pubsubtypes::{Event, GitHubEvent, parse_time};
use build_core::webhook::{Algorithm, verify};
use build_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::{PubSub, count};
use crate::front::Peer;
use crate::http::page::{Frame, files, html, text};
use crate::http::{Guard, guarded};

/// How long a request waits for an event.
const WAIT: Duration = Duration::from_secs(30);
/// Bytes of a notice.
const MAX_BODY: usize = 5 << 20;

pub(super) fn router(site: PubSub) -> Router {
    let routes = Router::new()
        .route("/", get(index))
        .route("/waitevent", any(wait_event))
        .route("/recent", get(recent))
        .route("/github-webhook", post(github))
        .route(
            "/status.json",
            get(async |State(site): State<PubSub>| Json(site.counts.to_json())),
        )
        .route("/healthz", get(async || "ok\n"))
        .merge(files());
    let guard = Guard::new(site.options.hosts.clone()).with_max_body(MAX_BODY);
    guarded(routes, guard).with_state(site)
}

type Fields = Query<BTreeMap<String, String>>;

/// The time after which events are wanted; `None` when none is named.
fn after(fields: &BTreeMap<String, String>) -> Result<Option<Timestamp>, Box<Response>> {
    match fields.get("after").filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text_of) => parse_time(text_of).map(Some).map_err(|_| {
            let told = "'after' parameter is not in time.RFC3339Nano format\n";
            Box::new(text(StatusCode::BAD_REQUEST, told))
        }),
    }
}

fn json(body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, body).into_response()
}

async fn wait_event(State(site): State<PubSub>, method: Method, Query(fields): Fields) -> Response {
    if method != Method::GET {
        return text(StatusCode::BAD_REQUEST, "requires GET\n");
    }
    match after(&fields) {
        Ok(after) => {
            let after = after.unwrap_or_else(|| site.hub.now());
            json(site.hub.next_after(after, WAIT).await.to_json())
        }
        Err(refusal) => *refusal,
    }
}

async fn recent(State(site): State<PubSub>, Query(fields): Fields) -> Response {
    match after(&fields) {
        Ok(after) => {
            let events = site.hub.recent(after);
            let events: Vec<_> = events.iter().map(Event::to_json).collect();
            json(format!("[\n{}\n]\n", events.join(",\n")))
        }
        Err(refusal) => *refusal,
    }
}

#[derive(Deserialize)]
struct Notice {
    #[serde(default)]
    action: String,
    repository: Option<Repository>,
    issue: Option<Numbered>,
    pull_request: Option<Numbered>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: String,
}

#[derive(Deserialize)]
struct Numbered {
    number: u64,
}

async fn github(
    State(site): State<PubSub>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let encrypted = peer.is_some_and(|Extension(peer)| peer.encrypted);
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if site.options.require_https && !encrypted && header("x-forwarded-proto") != Some("https") {
        return text(StatusCode::BAD_REQUEST, "HTTPS required\n");
    }
    count(&site.counts.webhooks);
    let signature = header("x-hub-signature-256").or_else(|| header("x-hub-signature"));
    if let Err(error) = check(&site, &body, signature) {
        count(&site.counts.webhook_bad_signature);
        tracing::warn!(error = error.chain(), "a notice of GitHub is not genuine");
        return match site.options.strict {
            true => text(StatusCode::UNAUTHORIZED, format!("{error}\n")),
            false => text(StatusCode::OK, ""),
        };
    }
    match event(&body) {
        Some(event) => {
            tracing::info!(?event, "an event of GitHub");
            site.hub.publish(Event {
                github: Some(event),
                ..Event::default()
            });
        }
        None => count(&site.counts.webhook_ignored),
    }
    text(StatusCode::OK, "")
}

fn check(site: &PubSub, body: &[u8], signature: Option<&str>) -> Result<()> {
    let denied = |text: &str| Error::new(ErrorKind::Denied, text);
    let secret = &site.options.webhook_secret;
    let secret = secret
        .as_ref()
        .ok_or_else(|| denied("there is no secret"))?;
    let signature = signature.ok_or_else(|| denied("missing signature"))?;
    match verify(secret, body, signature)? {
        Algorithm::Sha1 if !site.options.allow_sha1 => Err(denied("it is signed by SHA-1")),
        _ => Ok(()),
    }
}

/// What a notice says; nothing when it is about neither an issue nor a pull request.
fn event(body: &[u8]) -> Option<GitHubEvent> {
    let notice: Notice = serde_json::from_slice(body).ok()?;
    let full_name = notice.repository?.full_name;
    let (owner, repo) = full_name.split_once('/')?;
    if owner.is_empty() || repo.is_empty() || repo.contains('/') {
        return None;
    }
    if notice.issue.is_none() && notice.pull_request.is_none() {
        return None;
    }
    Some(GitHubEvent {
        action: notice.action,
        repo_owner: owner.to_owned(),
        repo: repo.to_owned(),
        issue_number: notice.issue.map_or(0, |issue| issue.number),
        pull_request_number: notice.pull_request.map_or(0, |pull| pull.number),
    })
}

#[derive(Template)]
#[template(path = "pubsub.html")]
struct Page {
    frame: Frame,
    rows: Vec<(String, String, String)>,
    counts: String,
}

async fn index(State(site): State<PubSub>) -> Response {
    let frame = Frame::new("pubsubhelper", "Events", SystemClock.now());
    let frame = frame.with_links(&[
        ("/", "Events"),
        ("/recent", "Recent"),
        ("/status.json", "Counters"),
    ]);
    let row = |event: &Event| {
        let time = event.time.map(|t| t.to_string()).unwrap_or_default();
        let what = match (&event.github, &event.gerrit) {
            (Some(e), _) if e.pull_request_number > 0 => {
                format!("pull request {} {}", e.pull_request_number, e.action)
            }
            (Some(e), _) => format!("issue {} {}", e.issue_number, e.action),
            (None, Some(e)) => format!("change {} at {}", e.change_number, e.commit_hash),
            (None, None) => String::new(),
        };
        (time, event.topic().unwrap_or_default(), what)
    };
    let rows = site.hub.recent(None).iter().take(200).map(row).collect();
    let counts = site.counts.to_json().to_string();
    html(&Page {
        frame,
        rows,
        counts,
    })
}
