//! `/logs/N`: the bytes of a segment.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue,
    IF_NONE_MATCH, LOCATION, RANGE,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;

use super::answer::{bad_method, empty, text, unreadable};
use super::server::Inner;
use crate::netlog::{Ranges, Served, parse_range};
use crate::{Error, Result};

/// Read from the disk and sent at a time.
const CHUNK: u64 = 256 << 10;
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const BOUNDARY: &str = "3f1d5c0a7c6e4b6f8a";

pub(super) async fn answer(
    State(inner): State<Arc<Inner>>,
    method: Method,
    headers: HeaderMap,
    Path(number): Path<String>,
) -> Response {
    if let Some(refusal) = bad_method(&method) {
        return refusal;
    }
    let Ok(number) = number.parse::<u32>() else {
        return text(StatusCode::BAD_REQUEST, "bad path");
    };
    let snapshot = Arc::clone(&inner.shown.borrow().snapshot);
    let Some(served) = snapshot.find(number) else {
        return text(StatusCode::BAD_REQUEST, "bad segment number");
    };
    if let Some(url) = inner.options.elsewhere(served) {
        return match HeaderValue::try_from(url) {
            Ok(url) => {
                let mut response = empty(StatusCode::FOUND);
                response.headers_mut().insert(LOCATION, url);
                response
            }
            Err(_) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "bad address of a segment",
            ),
        };
    }
    let tag = served
        .is_frozen()
        .then(|| format!("\"{}\"", served.sha224()));
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let mut response = match (&tag, known) {
        (Some(tag), Some(known)) if known.split(',').any(|one| one.trim() == tag) => {
            empty(StatusCode::NOT_MODIFIED)
        }
        _ => bytes(&inner, served, &headers).await,
    };
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    match tag.and_then(|tag| HeaderValue::try_from(tag).ok()) {
        Some(tag) => {
            headers.insert(ETAG, tag);
            // It may be rolled back only by an operator, and then has another hash.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        None => {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
    response
}

async fn bytes(inner: &Arc<Inner>, served: &Served, headers: &HeaderMap) -> Response {
    let len = served.len();
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    match parse_range(range, len) {
        Ranges::All => body(inner, served, StatusCode::OK, 0..len),
        Ranges::Unsatisfiable => {
            let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, "invalid range");
            put_range(&mut response, &format!("bytes */{len}"));
            response
        }
        Ranges::Parts(parts) if parts.len() == 1 => {
            let part = parts[0].clone();
            let shown = format!("bytes {}-{}/{len}", part.start, part.end - 1);
            let mut response = body(inner, served, StatusCode::PARTIAL_CONTENT, part);
            put_range(&mut response, &shown);
            response
        }
        Ranges::Parts(parts) => match multipart(inner, served, &parts).await {
            Ok(response) => response,
            Err(error) => unreadable(&error),
        },
    }
}

fn put_range(response: &mut Response, range: &str) {
    if let Ok(range) = HeaderValue::try_from(range) {
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
}

/// A part of a segment, read as it is sent.
fn body(inner: &Arc<Inner>, served: &Served, status: StatusCode, part: Range<u64>) -> Response {
    let len = part.end - part.start;
    let start = (Arc::clone(inner), served.clone(), part);
    let chunks = futures::stream::try_unfold(start, async |(inner, served, mut part)| {
        if part.is_empty() {
            return Ok::<_, Error>(None);
        }
        let end = part.end.min(part.start + CHUNK);
        let bytes = read(&inner, &served, part.start..end).await?;
        part.start = end;
        Ok(Some((bytes, (inner, served, part))))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, BYTES);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    response
}

/// Bytes of a segment. Its file may have been renamed since it was listed, because it is
/// complete now: then it is looked for again.
async fn read(inner: &Arc<Inner>, served: &Served, part: Range<u64>) -> Result<Bytes> {
    let (inner, served) = (Arc::clone(inner), served.clone());
    let work = move || match served.read(part.start, part.end) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            inner.refresh()?;
            let snapshot = Arc::clone(&inner.shown.borrow().snapshot);
            match snapshot.find(served.number()) {
                Some(now) if now.base() == served.base() => now.read(part.start, part.end),
                _ => Err(Error::Split {
                    common: served.base(),
                }),
            }
        }
        read => read,
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            let failed = std::io::Error::other(error.to_string());
            Err(Error::io("read", std::path::Path::new("the log"))(failed))
        })
}

async fn multipart(inner: &Arc<Inner>, served: &Served, parts: &[Range<u64>]) -> Result<Response> {
    let mut all = Vec::new();
    for part in parts {
        let head = format!(
            "\r\n--{BOUNDARY}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {}-{}/{}\r\n\r\n",
            part.start,
            part.end - 1,
            served.len()
        );
        all.extend_from_slice(head.as_bytes());
        all.extend_from_slice(&read(inner, served, part.clone()).await?);
    }
    all.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    let mut response = Response::new(Body::from(all));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let kind = format!("multipart/byteranges; boundary={BOUNDARY}");
    if let Ok(kind) = HeaderValue::try_from(kind) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    Ok(response)
}
