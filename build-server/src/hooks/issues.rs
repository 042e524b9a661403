//! Stores every notice of a repository's issues.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{any, get};
use build_core::Result;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::github::{Secret, delivery, event};
use super::sink::Sink;
use crate::http::page::text;
use crate::http::{Guard, Hosts, guarded};

/// GitHub sends at most 25 MB.
pub(super) const MAX_BODY: usize = 25 << 20;

/// Stores signed notices, each as `DELIVERY.json`.
#[derive(Clone)]
pub struct IssuesHook {
    secret: Secret,
    sink: Arc<dyn Sink>,
}

impl IssuesHook {
    /// A receiver of notices that `secret` signs.
    pub fn new(secret: Secret, sink: impl Sink + 'static) -> Self {
        let sink = Arc::new(sink);
        Self { secret, sink }
    }

    /// Its routes; `/` takes notices.
    pub fn router(self, hosts: Hosts) -> Router {
        let routes = Router::new()
            .route("/", any(take))
            .route("/healthz", get(async || "ok\n"));
        guarded(routes, Guard::new(hosts).with_max_body(MAX_BODY)).with_state(self)
    }

    /// Serves until `token` is canceled.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn run(self, hosts: Hosts, on: TcpListener, token: CancellationToken) -> Result<()> {
        crate::http::serve(on, self.router(hosts), token).await
    }
}

async fn take(State(hook): State<IssuesHook>, headers: HeaderMap, body: Bytes) -> Response {
    let payload = match hook.secret.payload(&headers, &body) {
        Ok(payload) => payload,
        Err(error) => {
            tracing::warn!(error = error.chain(), "a notice was refused");
            return text(StatusCode::UNAUTHORIZED, format!("{error}\n"));
        }
    };
    if event(&headers) == "ping" {
        return text(StatusCode::OK, "pong");
    }
    let id = match delivery(&headers) {
        Ok(id) => id,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    match hook.sink.put(&format!("{id}.json"), &payload).await {
        Ok(()) => text(StatusCode::OK, format!("Message ID: {id}\n")),
        Err(error) => {
            tracing::error!(error = error.chain(), id, "a notice cannot be stored");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the notice cannot be stored\n",
            )
        }
    }
}
