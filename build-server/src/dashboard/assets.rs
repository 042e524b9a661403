//! Files that never change while the program runs.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::error::Failure;

const FILES: [(&str, &str, &str); 3] = [
    (
        "style.css",
        "text/css; charset=utf-8",
        include_str!("static/style.css"),
    ),
    (
        "live.js",
        "text/javascript; charset=utf-8",
        include_str!("static/live.js"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("static/icon.svg")),
];

pub(super) async fn asset(
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let file = FILES.iter().find(|(known, _, _)| *known == name);
    let Some((_, kind, text)) = file else {
        let text = format!("there is no file {name}");
        return Err(Failure::not_found(text, "begin at the dashboard"));
    };
    let tag = tag(text);
    // A new version of the program has new files under the same names, so browsers ask each
    // time; the answer is almost always that nothing has changed.
    let about = [
        (header::CONTENT_TYPE, *kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, &tag),
    ];
    if has(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    Ok((about, *text).into_response())
}

/// A weak one: the same text may be sent compressed.
fn tag(text: &str) -> String {
    let hash = Sha256::digest(text);
    format!("W/\"{}\"", hex::encode(&hash[..8]))
}

/// Whether the browser has the file already.
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    let known = known.filter_map(|value| value.to_str().ok());
    known
        .flat_map(|value| value.split(','))
        .any(|one| one.trim() == tag || one.trim() == "*")
}
