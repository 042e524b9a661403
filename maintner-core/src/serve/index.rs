//! `/logs`: the index, at once or when the log is longer.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderName, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;

use super::answer::{Params, bad_method, empty, text, too_many};
use super::server::{Inner, Shown};
use crate::netlog::Index;

const SUM: HeaderName = HeaderName::from_static("x-sum-segment-size");

pub(super) async fn answer(
    State(inner): State<Arc<Inner>>,
    method: Method,
    Query(params): Query<Params>,
) -> Response {
    if let Some(refusal) = bad_method(&method) {
        return refusal;
    }
    let first = match params.get("startseg").map(|text| text.parse::<i64>()) {
        None | Some(Err(_)) => 0,
        Some(Ok(number)) if number < 0 => return text(StatusCode::BAD_REQUEST, "bad startseg"),
        Some(Ok(number)) => number,
    };
    let shown = match params.get("waitsizenot") {
        None => Arc::clone(&inner.shown.borrow()),
        Some(size) => match size.parse::<i64>() {
            Ok(size) if size >= 0 => match wait(&inner, size.cast_unsigned()).await {
                Ok(shown) => shown,
                Err(response) => return response,
            },
            _ => return text(StatusCode::BAD_REQUEST, "bad waitsizenot"),
        },
    };
    list(&inner, &shown, first)
}

/// What is served once the sum of all sizes is not `size`.
async fn wait(inner: &Inner, size: u64) -> Result<Arc<Shown>, Response> {
    let mut shown = inner.shown.subscribe();
    let now = Arc::clone(&shown.borrow());
    if now.snapshot.sum() != size {
        return Ok(now);
    }
    let Some(_permit) = inner.wait_permit() else {
        return Err(too_many());
    };
    let changed = shown.wait_for(|shown| shown.snapshot.sum() != size);
    tokio::select! {
        changed = changed => match changed {
            Ok(shown) => Ok(Arc::clone(&shown)),
            Err(_) => Err(empty(StatusCode::NOT_MODIFIED)),
        },
        () = tokio::time::sleep(inner.options.heartbeat) => Err(empty(StatusCode::NOT_MODIFIED)),
        () = inner.closed.cancelled() => Err(empty(StatusCode::NOT_MODIFIED)),
    }
}

fn list(inner: &Inner, shown: &Shown, first: i64) -> Response {
    let all = || shown.snapshot.index(|served| inner.options.url(served));
    let count = i64::try_from(shown.snapshot.served().len()).unwrap_or(i64::MAX);
    let (sum, json) = if first == 0 || first >= count {
        let json = shown.index.get_or_init(|| all().to_json().into()).clone();
        (shown.snapshot.sum(), json)
    } else {
        let mut listed = all().into_entries();
        listed.retain(|entry| i64::from(entry.number) >= first);
        let index = Index::new(listed);
        (index.sum(), Bytes::from(index.to_json()))
    };
    let mut response = Response::new(Body::from(json));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SUM, HeaderValue::from(sum));
    response
}
