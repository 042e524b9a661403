//! What visitors reach: the live side, and pages about this server.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use build_core::clock::{Clock, SystemClock};
use futures::StreamExt as _;

use super::config::{Config, Probe};
use super::{Shared, Status};
use crate::http::page::{Frame, files, html, text};
use crate::http::{Guard, Hosts, guarded};

#[derive(Clone)]
struct Front {
    shared: Arc<Shared>,
    probe: Arc<Probe>,
    redirect: Arc<BTreeMap<String, String>>,
}

pub(super) fn router(shared: Arc<Shared>, config: &Config, hosts: Hosts) -> Router {
    let front = Front {
        shared,
        probe: Arc::new(config.probe.clone()),
        redirect: Arc::new(config.redirect.clone()),
    };
    let own = Router::new()
        .route("/_tipstatus", get(status))
        .route("/_tip", get(page))
        .route("/_ah/health", get(health))
        .route("/healthz", get(health));
    // The site has its own headers; only the pages about this server get the guard's.
    let own = guarded(own.merge(files()), Guard::new(hosts));
    own.fallback(site).with_state(front)
}

/// The live side's answer.
async fn site(State(front): State<Front>, request: Request) -> Response {
    if let Some(to) = front.elsewhere(&request) {
        return (StatusCode::FOUND, [(header::LOCATION, to)]).into_response();
    }
    let Some((side, token)) = front.shared.enter() else {
        let known = front.shared.known().error.clone();
        let said = known.unwrap_or_else(|| "starting up".to_owned());
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{said}\n"));
    };
    match side.upstream.forward(request).await {
        Ok(response) => response.map(|body| {
            // The side is not ended before the last byte has left.
            let stream = body.into_data_stream().map(move |piece| {
                let _answering = &token;
                piece
            });
            Body::from_stream(stream)
        }),
        Err(error) => {
            tracing::warn!(error = error.chain(), "the live side does not answer");
            let mut response = text(StatusCode::BAD_GATEWAY, "the site is being started again\n");
            let wait = header::HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, wait);
            response
        }
    }
}

impl Front {
    /// Where a visitor of a host is sent who should have gone elsewhere.
    fn elsewhere(&self, request: &Request) -> Option<String> {
        let host = request.headers().get(header::HOST)?.to_str().ok()?;
        let host = host.split(':').next()?;
        let to = self.redirect.get(&host.to_ascii_lowercase())?;
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
        Some(format!("{}{path}", to.trim_end_matches('/')))
    }
}

async fn status(
    State(front): State<Front>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let status = front.shared.status();
    if query.get("format").is_some_and(|f| f == "json") {
        return axum::Json(status).into_response();
    }
    let error = status
        .error
        .as_deref()
        .unwrap_or("<nil>")
        .replace('\n', " ");
    let lines = format!(
        "side={}\ncurrent={}\nerror={error}\nuptime={}\n",
        status.side, status.current, status.uptime_seconds
    );
    text(StatusCode::OK, lines)
}

async fn health(State(front): State<Front>) -> Response {
    let Some((side, _token)) = front.shared.enter() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "Not ready\n");
    };
    match side.look(&front.probe).await {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "Health check failed\n"),
    }
}

#[derive(Template)]
#[template(path = "tip.html")]
struct Page {
    frame: Frame,
    status: Status,
}

async fn page(State(front): State<Front>) -> Response {
    let frame = Frame::new("tip", "Status", SystemClock.now());
    let frame = frame.with_links(&[("/_tip", "Status"), ("/_tipstatus?format=json", "JSON")]);
    let status = front.shared.status();
    html(&Page { frame, status })
}
