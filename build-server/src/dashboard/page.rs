//! What all pages have in common.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use build_core::clock::Timestamp;
use build_core::{Error, ErrorKind};

use super::error::Failure;
use super::farm::Farm;
use super::time::When;
use crate::web::{Site, Visitor};
use crate::who::Right;

/// What the frame of each page shows.
pub(super) struct Frame {
    pub(super) title: String,
    /// The entry of the menu that this page is.
    pub(super) here: &'static str,
    /// Of what the page is told when something happens: an address of server-sent events.
    pub(super) live: String,
    pub(super) farm: Farm,
    pub(super) user: Option<String>,
    /// Who is shown the way to users and keys.
    pub(super) is_admin: bool,
    pub(super) now: Timestamp,
}

impl Frame {
    /// The frame of a page that changes with anything that happens.
    pub(super) async fn new(
        site: &Site,
        visitor: Visitor,
        title: impl Into<String>,
        here: &'static str,
    ) -> Result<Self, Failure> {
        // Before anything is read: what happens meanwhile is told.
        let head = site.store().events().head().await?;
        Ok(Self {
            title: title.into(),
            here,
            live: format!("/api/v1/events?after={}", head.0),
            farm: Farm::look(site).await?,
            is_admin: site.directory().is_some() && visitor.may(Right::Administer),
            user: visitor.0.map(|user| user.name().to_owned()),
            now: site.clock().now(),
        })
    }

    /// An instant as this page shows it.
    pub(super) fn when(&self, at: Timestamp) -> When {
        When::new(at, self.now)
    }
}

/// A page as an answer.
pub(super) fn html(page: &impl Template) -> Response {
    with_status(StatusCode::OK, page)
}

/// A page as an answer under a status.
pub(super) fn with_status(status: StatusCode, page: &impl Template) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        // What it shows changes at any time; the back button may show the old page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    match page.render() {
        Ok(text) => (status, headers, text).into_response(),
        Err(error) => {
            let error = Error::caused_by(ErrorKind::Bug, "draw a page", error);
            tracing::error!(error = error.chain(), "a page could not be drawn");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "this page cannot be drawn\n",
            )
                .into_response()
        }
    }
}
