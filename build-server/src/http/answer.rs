//! Answers that say no.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use build_core::{Error, ErrorKind};
use serde::Serialize;

/// An answer that says no: a stable word for programs, one sentence, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    #[serde(flatten)]
    told: build_core::report::Refusal,
}

impl Refusal {
    /// A refusal of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            status: status(kind),
            told: build_core::report::Refusal::new(kind, message, hint),
        }
    }

    /// The same under another status than that of its kind.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The status it is sent with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// One sentence.
    pub fn message(&self) -> &str {
        &self.told.message
    }

    /// What to do about it.
    pub fn hint(&self) -> &str {
        &self.told.hint
    }
}

impl From<Error> for Refusal {
    /// The client reads what failed; causes that tell of this machine's insides go to the log.
    fn from(error: Error) -> Self {
        let kind = error.kind();
        let status = status(kind);
        let hint = error
            .hint()
            .map_or_else(|| default_hint(kind).to_owned(), str::to_owned);
        if status.is_server_error() {
            tracing::error!(error = error.chain(), "a request failed");
            return Self::new(kind, error.to_string(), hint);
        }
        Self::new(kind, error.chain(), hint)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::Limit => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn default_hint(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "the description of the API is at /api/v1/openapi.json",
        ErrorKind::NotFound => "list what there is with GET /api/v1/builds",
        ErrorKind::Conflict => "look at the present state and ask again",
        ErrorKind::Denied => "show the token of the data directory's file `token`",
        ErrorKind::Limit => "send less, or free some disk",
        ErrorKind::TimedOut | ErrorKind::Unavailable => "ask again a little later",
        ErrorKind::Unsupported => "the description of the API is at /api/v1/openapi.json",
        _ => "look at the log of the farm",
    }
}
