//! Pages of servers that have no menu of their own: one frame, one style sheet, no script.

use askama::Template;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use build_core::clock::Timestamp;
use build_core::{Error, ErrorKind};

/// Where the style sheet is.
pub const STYLE_PATH: &str = "/static/style.css";
const STYLE: &str = concat!(
    include_str!("../dashboard/static/style.css"),
    include_str!("plain.css")
);
const ICON: &str = include_str!("../dashboard/static/icon.svg");

/// What the frame of each page shows.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What the page is about.
    pub title: String,
    /// The program whose page it is.
    pub program: &'static str,
    /// The other pages: address and word.
    pub links: &'static [(&'static str, &'static str)],
    /// When it was drawn.
    pub now: Timestamp,
}

impl Frame {
    /// The frame of a page of `program`.
    pub fn new(program: &'static str, title: impl Into<String>, now: Timestamp) -> Self {
        Self {
            title: title.into(),
            program,
            links: &[],
            now,
        }
    }

    /// With these pages in the menu.
    #[must_use]
    pub fn with_links(mut self, links: &'static [(&'static str, &'static str)]) -> Self {
        self.links = links;
        self
    }
}

/// A page as an answer.
pub fn html(page: &impl Template) -> Response {
    html_with(StatusCode::OK, page)
}

/// A page as an answer under a status.
pub fn html_with(status: StatusCode, page: &impl Template) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    match page.render() {
        Ok(text) => (status, headers, text).into_response(),
        Err(error) => {
            let error = Error::caused_by(ErrorKind::Bug, "draw a page", error);
            tracing::error!(error = error.chain(), "a page could not be drawn");
            let said = "this page cannot be drawn\n";
            (StatusCode::INTERNAL_SERVER_ERROR, said).into_response()
        }
    }
}

/// An answer of plain text.
pub fn text(status: StatusCode, text: impl Into<String>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, kind, text.into()).into_response()
}

/// The style sheet of the pages.
#[cfg(feature = "classic")]
pub(crate) fn style() -> &'static str {
    STYLE
}

/// The files that the pages need.
pub fn files<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let file = |kind: &'static str, text: &'static str| {
        let headers = [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "max-age=300"),
        ];
        (headers, text)
    };
    Router::new()
        .route(
            STYLE_PATH,
            get(async move || file("text/css; charset=utf-8", STYLE)),
        )
        .route(
            "/static/icon.svg",
            get(async move || file("image/svg+xml", ICON)),
        )
}

/// A time span for people: `12s`, `3m20s`, `5h2m`, `4d3h`.
pub fn span(time: std::time::Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{}s", s / 60, s % 60),
        3600..86400 => format!("{}h{}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{}h", s / 86400, s % 86400 / 3600),
    }
}
