//! What a service answers: its log, gRPC, a page, its health, figures, webhooks.

mod metrics;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use askama::Template;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get, post};
use farmer_cli::{Exit, Failure};
use maintner_core::Corpus;
use maintner_core::maintapi::{self, Api};
use maintner_core::serve::{LogServer, Pages};
use maintner_core::sync::github::{Hints, webhook};
use maintner_core::sync::{Control, HostState};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use self::metrics::metrics;
use super::doors::Doors;
use super::report::{line, words};

/// What the answers are made of. It answers before the log is loaded; what needs the log says
/// that it is not there yet.
#[derive(Debug)]
pub(crate) struct Site {
    control: Control,
    corpus: OnceLock<Corpus>,
    logs: OnceLock<LogServer>,
    /// Answers about the corpus: gRPC, and pages for people.
    grpc: OnceLock<Router>,
    pages: OnceLock<Router>,
    webhook_secret: Option<Vec<u8>>,
    hints: Mutex<BTreeMap<String, Hints>>,
    /// Why it does not write, while another one does.
    standby: Mutex<Option<String>>,
}

impl Site {
    pub(crate) fn new(control: Control, webhook_secret: Option<Vec<u8>>) -> Self {
        Self {
            control,
            corpus: OnceLock::new(),
            logs: OnceLock::new(),
            grpc: OnceLock::new(),
            pages: OnceLock::new(),
            webhook_secret,
            hints: Mutex::default(),
            standby: Mutex::default(),
        }
    }

    /// The corpus is there now.
    pub(crate) fn loaded(&self, corpus: &Corpus, api: &Api) {
        // Each of them is set once.
        let _ = self.grpc.set(api.router());
        let _ = self.pages.set(Pages::new(corpus.clone()).router());
        let _ = self.corpus.set(corpus.clone());
    }

    /// The log is served from now on.
    pub(crate) fn logged(&self, logs: LogServer) {
        let _ = self.logs.set(logs);
    }

    /// Another one writes, or does not any more.
    pub(crate) fn stand_by(&self, why: Option<String>) {
        *self.standby.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Where webhooks about this reader's repository name issues.
    pub(crate) fn hints(&self, name: &str, hints: Hints) {
        let mut all = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.to_owned(), hints);
    }
}

/// Answers until stopped; for ever where there is no door.
pub(crate) async fn serve(
    doors: Option<Doors>,
    site: Arc<Site>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let Some(doors) = doors else {
        return std::future::pending().await;
    };
    let served = doors.serve(router(site), stop).await;
    served.map_err(|error| Failure::because(Exit::Infrastructure, &error, None))
}

fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/status.json", get(status))
        .route("/debug/anomalies", get(anomalies))
        .route("/webhook/github", post(github))
        .fallback(any(rest))
        .with_state(site)
}

/// Everything that is the log's or the corpus'.
async fn rest(State(site): State<Arc<Site>>, request: Request) -> Response {
    let kind = request.headers().get(CONTENT_TYPE);
    let grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let path = request.uri().path();
    let router = if grpc {
        if !path.starts_with("/apipb.MaintnerService/") {
            let unknown = tonic::Status::unimplemented(format!("unknown service or method {path}"));
            return maintapi::refusal(unknown);
        }
        site.grpc.get().cloned()
    } else if path == "/logs" || path.starts_with("/logs/") {
        site.logs.get().map(LogServer::router)
    } else {
        site.pages.get().cloned()
    };
    match router {
        Some(router) => router.oneshot(request).await.into_response(),
        None if grpc => maintapi::refusal(tonic::Status::unavailable("the corpus is being loaded")),
        None => {
            let wait = [("retry-after", "5")];
            (StatusCode::SERVICE_UNAVAILABLE, wait, "loading\n").into_response()
        }
    }
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>maintnerd</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884}
.failing{color:#b00020}</style>
<h1>maintnerd</h1>
<p>{{ loaded }} See <a href="logs">/logs</a> for the log, <a href="metrics">/metrics</a> for figures.</p>
<table><tr><th>Host<th>State<th>Doing<th>Left<th>In step<th>Mutations</tr>
{% for row in rows %}<tr><td>{{ row.name }}<td class="{{ row.class }}">{{ row.state }}<td>{{ row.doing }}<td>{{ row.left }}<td>{{ row.in_step }}<td>{{ row.mutations }}</tr>
{% else %}<tr><td colspan="6">No host is watched.</tr>
{% endfor %}</table>
"#
)]
struct Page {
    loaded: String,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    class: &'static str,
    state: String,
    doing: String,
    left: String,
    in_step: String,
    mutations: u64,
}

fn rows(site: &Site) -> Vec<Row> {
    let now = SystemTime::now();
    let ago = |at: SystemTime| {
        let since = now.duration_since(at).unwrap_or_default();
        format!("{} ago", words(since))
    };
    let hosts = site.control.hosts().into_iter();
    hosts
        .map(|(name, status)| {
            let progress = &status.progress;
            let total = progress
                .total
                .map_or_else(String::new, |total| format!(" of {total}"));
            let failing = status.state == HostState::Failing;
            Row {
                class: if failing { "failing" } else { "" },
                state: match &status.error {
                    Some(error) => format!("{}: {error}", status.state.word()),
                    None => status.state.word().to_owned(),
                },
                doing: match status.state {
                    HostState::InStep => String::new(),
                    _ => format!("{} {}{total}", progress.what, progress.done),
                },
                left: status.remaining(now).map_or_else(String::new, words),
                in_step: status.in_step.map_or_else(String::new, ago),
                mutations: status.mutations,
                name,
            }
        })
        .collect()
}

async fn page(State(site): State<Arc<Site>>) -> Response {
    let loaded = match site.corpus.get() {
        None => {
            let standby = site.standby.lock().unwrap_or_else(PoisonError::into_inner);
            let why = standby.as_deref().unwrap_or("The log is being loaded");
            format!("{why}.")
        }
        Some(corpus) => {
            let view = corpus.view();
            format!(
                "{} records, {} bytes.",
                view.records(),
                view.position().bytes()
            )
        }
    };
    let page = Page {
        loaded,
        rows: rows(&site),
    };
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn health(State(site): State<Arc<Site>>) -> Response {
    let standby = site.standby.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(why) = &*standby {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response();
    }
    match site.corpus.get() {
        None => (StatusCode::SERVICE_UNAVAILABLE, "loading\n").into_response(),
        Some(_) => "ok\n".into_response(),
    }
}

async fn status(State(site): State<Arc<Site>>) -> Response {
    let now = SystemTime::now();
    let unix = |at: SystemTime| {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).ok();
        since.map(|since| since.as_secs())
    };
    let hosts: serde_json::Map<String, serde_json::Value> = site
        .control
        .hosts()
        .into_iter()
        .map(|(name, status)| {
            let json = serde_json::json!({
                "state": status.state.word(),
                "doing": status.progress.what,
                "done": status.progress.done,
                "total": status.progress.total,
                "requests": status.progress.requests,
                "seconds_left": status.remaining(now).map(|left| left.as_secs()),
                "in_step": status.in_step.and_then(unix),
                "mutations": status.mutations,
                "error": status.error,
                "line": line(&name, &status, now),
            });
            (name, json)
        })
        .collect();
    let view = site.corpus.get().map(Corpus::view);
    axum::Json(serde_json::json!({
        "loaded": view.is_some(),
        "records": view.as_ref().map(maintner_core::View::records),
        "bytes": view.as_ref().map(|view| view.position().bytes()),
        "hosts": hosts,
    }))
    .into_response()
}

/// What of the log made no sense, by kind.
async fn anomalies(State(site): State<Arc<Site>>) -> Response {
    let Some(corpus) = site.corpus.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "loading\n").into_response();
    };
    let counts: serde_json::Map<String, serde_json::Value> = corpus
        .view()
        .anomalies()
        .iter()
        .map(|(kind, count)| (format!("{kind:?}"), count.into()))
        .collect();
    axum::Json(counts).into_response()
}

/// A delivery of GitHub: a reason to look.
async fn github(State(site): State<Arc<Site>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(secret) = &site.webhook_secret else {
        let text = "no secret for webhooks is configured\n";
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let signature = headers.get("x-hub-signature-256");
    let signature = signature
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match webhook::read(secret, signature, &body) {
        Err(webhook::Refused::Unsigned) => {
            (StatusCode::UNAUTHORIZED, "not signed with the secret\n").into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Ok(Some(trigger)) => {
            let topic = trigger.topic();
            let hints = site.hints.lock().unwrap_or_else(PoisonError::into_inner);
            if let (Some(hints), Some(number)) = (hints.get(&topic), trigger.number) {
                hints.add(number);
            }
            site.control.wake(&topic);
            StatusCode::ACCEPTED.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;

    use axum::body::{Body, HttpBody as _, to_bytes};
    use maintner_core::maintapi::Policy;

    use super::*;

    async fn ask(site: &Arc<Site>, path: &str, kind: &str) -> Response {
        let request = Request::builder()
            .uri(path)
            .header(CONTENT_TYPE, kind)
            .body(Body::empty())
            .unwrap();
        router(Arc::clone(site)).oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_not_loaded_yet_says_so() {
        let site = Arc::new(Site::new(Control::new(), None));
        for path in [
            "/healthz",
            "/logs",
            "/logs/0",
            "/golang/go",
            "/debug/anomalies",
        ] {
            let status = ask(&site, path, "text/plain").await.status();
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        }
        assert_eq!(ask(&site, "/", "").await.status(), StatusCode::OK);
        for (path, status) in [
            ("/apipb.MaintnerService/GetRef", "14"),
            ("/apipb.Other/GetRef", "12"),
        ] {
            let answer = ask(&site, path, "application/grpc").await;
            assert_eq!(answer.status(), StatusCode::OK);
            assert!(
                !answer.headers().contains_key("grpc-status"),
                "it is a trailer"
            );
            let mut body = answer.into_body();
            let trailers = loop {
                let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
                if let Ok(trailers) = frame.unwrap().unwrap().into_trailers() {
                    break trailers;
                }
            };
            assert_eq!(trailers["grpc-status"], status, "{path}");
        }
        site.stand_by(Some("standing by: another".to_owned()));
        let answer = ask(&site, "/healthz", "").await;
        let text = to_bytes(answer.into_body(), 1000).await.unwrap();
        assert_eq!(text, "standing by: another\n");
        site.stand_by(None);
        let corpus = maintner_core::sample::corpus();
        site.loaded(&corpus, &Api::new(corpus.clone(), Policy::default()));
        assert_eq!(ask(&site, "/golang/go", "").await.status(), StatusCode::OK);
        assert_eq!(
            ask(&site, "/nope", "").await.status(),
            StatusCode::NOT_FOUND
        );
        let answer = ask(&site, "/debug/anomalies", "").await;
        let text = to_bytes(answer.into_body(), 10_000).await.unwrap();
        assert!(text.starts_with(b"{") && text.windows(9).any(|part| part == b"BadCommit"));
    }
}
