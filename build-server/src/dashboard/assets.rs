//! Files that never change while the program runs.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

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

pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, Failure> {
    let file = FILES.iter().find(|(known, _, _)| *known == name);
    let Some((_, kind, text)) = file else {
        let text = format!("there is no file {name}");
        return Err(Failure::not_found(text, "begin at the dashboard"));
    };
    // A new version of the program has new files under the same names.
    let headers = [
        (header::CONTENT_TYPE, *kind),
        (header::CACHE_CONTROL, "max-age=300"),
    ];
    Ok((headers, *text).into_response())
}
