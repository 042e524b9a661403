//! What all answers have in common.

use std::collections::HashMap;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};

/// The parameters of a request.
pub(super) type Params = HashMap<String, String>;

/// A text and a status, as Go's server sends errors.
pub(super) fn text(status: StatusCode, text: &str) -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    (status, [(CONTENT_TYPE, kind)], format!("{text}\n")).into_response()
}

/// The refusal of methods other than GET and HEAD.
pub(super) fn bad_method(method: &Method) -> Option<Response> {
    let good = matches!(*method, Method::GET | Method::HEAD);
    (!good).then(|| text(StatusCode::BAD_REQUEST, "bad method"))
}

/// Too many wait already.
pub(super) fn too_many() -> Response {
    let mut response = text(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many clients wait for news of this log",
    );
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// The log cannot be read. The error names a file of the server, which is none of the client's
/// business; the operator learns it from [`LogServer::trouble`](super::LogServer::trouble).
pub(super) fn unreadable(_error: &crate::Error) -> Response {
    text(StatusCode::INTERNAL_SERVER_ERROR, "the log cannot be read")
}

/// An answer that has no body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
