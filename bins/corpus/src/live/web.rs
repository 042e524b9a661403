//! What a service answers: a page, its health, figures, webhooks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use askama::Template;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use farmer_cli::{Exit, Failure};
use maintner_core::Corpus;
use maintner_core::sync::github::{Hints, webhook};
use maintner_core::sync::{Control, HostState};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::report::{line, words};

/// What the answers are made of.
#[derive(Debug)]
pub(crate) struct Site {
    control: Control,
    corpus: OnceLock<Corpus>,
    webhook_secret: Option<Vec<u8>>,
    hints: Mutex<BTreeMap<String, Hints>>,
}

impl Site {
    pub(crate) fn new(control: Control, webhook_secret: Option<Vec<u8>>) -> Self {
        Self {
            control,
            corpus: OnceLock::new(),
            webhook_secret,
            hints: Mutex::default(),
        }
    }

    /// The corpus is there now.
    pub(crate) fn loaded(&self, corpus: Corpus) {
        // It is loaded once.
        let _ = self.corpus.set(corpus);
    }

    /// Where webhooks about this reader's repository name issues.
    pub(crate) fn hints(&self, name: &str, hints: Hints) {
        let mut all = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.to_owned(), hints);
    }
}

/// Answers until stopped; for ever where there is no address.
pub(crate) async fn serve(
    listener: Option<TcpListener>,
    site: Arc<Site>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    if let Ok(address) = listener.local_addr() {
        // Programs that start this one read the port from here.
        eprintln!("listening on http://{address}");
    }
    axum::serve(listener, router(site))
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .map_err(|error| Failure::because(Exit::Infrastructure, &error, None))
}

pub(crate) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/status.json", get(status))
        .route("/webhook/github", post(github))
        .with_state(site)
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
        None => "The log is being loaded.".to_owned(),
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

async fn metrics(State(site): State<Arc<Site>>) -> Response {
    let mut text = String::new();
    let mut figure = |name: &str, kind: &str, help: &str, values: &[(String, f64)]| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let none = String::new;
    if let Some(corpus) = site.corpus.get() {
        let view = corpus.view();
        let of = |value: u64| [(none(), value as f64)];
        figure(
            "maintner_log_records",
            "gauge",
            "Records of the log.",
            &of(view.records()),
        );
        let bytes = view.position().bytes();
        figure(
            "maintner_log_bytes",
            "gauge",
            "Bytes of the log.",
            &of(bytes),
        );
        let anomalies = view.anomalies().total();
        figure(
            "maintner_anomalies",
            "gauge",
            "Parts of the log that make no sense.",
            &of(anomalies),
        );
    }
    let hosts = site.control.hosts();
    let each = |value: &dyn Fn(&maintner_core::sync::HostStatus) -> Option<f64>| {
        let of = hosts.iter().filter_map(|(name, status)| {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            Some((format!("{{host=\"{name}\"}}"), value(status)?))
        });
        of.collect::<Vec<_>>()
    };
    let now = SystemTime::now();
    let lag = each(&|status| {
        let since = now.duration_since(status.in_step?).ok()?;
        Some(since.as_secs_f64())
    });
    figure(
        "maintner_sync_lag_seconds",
        "gauge",
        "Time since a host was last in step.",
        &lag,
    );
    let failing = each(&|status| Some(f64::from(status.state == HostState::Failing)));
    figure(
        "maintner_sync_failing",
        "gauge",
        "Whether the last try failed.",
        &failing,
    );
    let requests = each(&|status| Some(status.progress.requests as f64));
    figure(
        "maintner_sync_requests_total",
        "counter",
        "Questions asked of a host.",
        &requests,
    );
    let mutations = each(&|status| Some(status.mutations as f64));
    figure(
        "maintner_sync_mutations_total",
        "counter",
        "Mutations written.",
        &mutations,
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
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
