//! Passes notices of changed wiki pages on.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{any, get};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use build_core::Result;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::github::{Secret, delivery, event};
use super::issues::MAX_BODY;
use super::sink::Sink;
use crate::http::page::text;
use crate::http::{Guard, Hosts, guarded};

/// Passes signed notices of changed pages on as messages, `{"data": BASE64}`.
#[derive(Clone)]
pub struct WikiHook {
    secret: Secret,
    topic: Arc<dyn Sink>,
}

impl WikiHook {
    /// A receiver of notices that `secret` signs; messages go to `topic`.
    pub fn new(secret: Secret, topic: impl Sink + 'static) -> Self {
        let topic = Arc::new(topic);
        Self { secret, topic }
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

async fn take(State(hook): State<WikiHook>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(error) = hook.secret.check(&headers, &body) {
        tracing::warn!(error = error.chain(), "a notice was refused");
        return text(StatusCode::UNAUTHORIZED, "signature mismatch\n");
    }
    match event(&headers) {
        "ping" => return text(StatusCode::OK, "pong"),
        "gollum" => {}
        other => {
            let said = format!("incorrect event type {other:?}\n");
            return text(StatusCode::BAD_REQUEST, said);
        }
    }
    // A notice that is sent again is the same message.
    let id = delivery(&headers)
        .map_or_else(|_| hex::encode(&Sha256::digest(&body)[..16]), str::to_owned);
    let message = json!({"data": BASE64_STANDARD.encode(&body)}).to_string();
    match hook
        .topic
        .put(&format!("{id}.json"), message.as_bytes())
        .await
    {
        Ok(()) => text(StatusCode::OK, format!("Message ID: {id}\n")),
        Err(error) => {
            tracing::error!(error = error.chain(), id, "a notice cannot be passed on");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the notice cannot be passed on\n",
            )
        }
    }
}
