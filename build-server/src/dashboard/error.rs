//! Pages that say no: what was not found or failed, and where to go.

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use build_core::{Error, ErrorKind};

use super::page::with_status;
use crate::web::{self, Admin, Refusal, Site, User, Visitor};

/// A page that says no.
pub(super) struct Failure(Refusal);

impl Failure {
    /// Something that the address names does not exist.
    pub(super) fn not_found(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self(Refusal::new(ErrorKind::NotFound, text, hint))
    }

    /// The address is not understood.
    pub(super) fn invalid(text: impl Into<String>) -> Self {
        let hint = "go back and follow a link, or begin at the dashboard";
        Self(Refusal::new(ErrorKind::Invalid, text, hint))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct Page<'a> {
    heading: &'static str,
    refusal: &'a Refusal,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let heading = match status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "Not allowed",
            StatusCode::BAD_REQUEST => "Not understood",
            StatusCode::SERVICE_UNAVAILABLE => "Not now",
            _ => "That did not work",
        };
        let refusal = &self.0;
        with_status(status, &Page { heading, refusal })
    }
}

/// Whoever asks; a page in place of JSON when that cannot be told.
pub(super) struct Guest(pub(super) Visitor);

impl FromRequestParts<Site> for Guest {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Failure> {
        Ok(Self(Visitor::from_request_parts(parts, site).await?))
    }
}

/// Somebody who may do everything; everybody else reads where to sign in.
pub(super) struct SignedInAdmin(pub(super) User);

impl FromRequestParts<Site> for SignedInAdmin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Failure> {
        match Admin::from_request_parts(parts, site).await {
            Ok(Admin(user)) => Ok(Self(user)),
            Err(refusal) if refusal.status() == StatusCode::UNAUTHORIZED => {
                let hint = "sign in at /sign-in with the token of an admin of this farm";
                let text = "this page is for admins who have signed in";
                let refusal = Refusal::new(ErrorKind::Denied, text, hint);
                Err(refusal.with_status(StatusCode::UNAUTHORIZED).into())
            }
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// The site as the one who asks is shown it; a page in place of JSON when that cannot be told.
pub(super) struct Looking(pub(super) Site);

impl FromRequestParts<Site> for Looking {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Failure> {
        let web::Looking(site) = web::Looking::from_request_parts(parts, site).await?;
        Ok(Self(site))
    }
}

pub(super) async fn no_such_page(uri: Uri) -> Failure {
    Failure::not_found(
        format!("there is no page {}", uri.path()),
        "the dashboard has links to everything there is",
    )
}

macro_rules! not_understood {
    ($($rejection:ty),*) => {$(
        impl From<$rejection> for Failure {
            fn from(rejection: $rejection) -> Self {
                Self::invalid(rejection.body_text())
            }
        }
    )*};
}

not_understood!(
    axum::extract::rejection::QueryRejection,
    axum::extract::rejection::PathRejection,
    axum::extract::rejection::FormRejection
);
