//! `/sign-in`: somebody shows the token of the farm once; their browser is known from then on.

use std::time::Duration;

use askama::Template;
use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::error::{Failure, Guest, Looking};
use super::page::{self, Frame};
use crate::web::{COOKIE, CameFrom, Refusal, SIGNED_IN, Site, Visitor, sign_in_of};
use crate::who::{self, Credential};

#[derive(Deserialize)]
pub(super) struct Question {
    next: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Credentials {
    token: String,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct Page<'a> {
    frame: &'a Frame,
    next: String,
    is_wrong: bool,
}

pub(super) async fn page(
    Looking(site): Looking,
    Guest(visitor): Guest,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(question) = question?;
    let next = local(question.next);
    form(&site, visitor, StatusCode::OK, next).await
}

async fn form(
    site: &Site,
    visitor: Visitor,
    status: StatusCode,
    next: String,
) -> Result<Response, Failure> {
    let mut frame = Frame::new(site, visitor, "Sign in", "/sign-in").await?;
    // Nothing is exchanged while somebody types.
    frame.live = String::new();
    let page = Page {
        frame: &frame,
        next,
        is_wrong: status != StatusCode::OK,
    };
    Ok(page::with_status(status, &page))
}

pub(super) async fn sign_in(
    Looking(site): Looking,
    CameFrom(from): CameFrom,
    credentials: Result<Form<Credentials>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(Credentials { token, next }) = credentials?;
    let (token, next) = (token.trim(), local(next));
    let user = match site.auth().caller(&Credential::bearer(token), from).await {
        Ok(user) => user,
        Err(refusal @ (who::Refusal::Unavailable(_) | who::Refusal::Throttled(_))) => {
            return Err(Refusal::from(refusal).into());
        }
        Err(_) => return form(&site, Visitor(None), StatusCode::UNAUTHORIZED, next).await,
    };
    // Always a new id: one that somebody planted in the browser is worth nothing.
    let id = site.sign_in(user)?;
    Ok((cookie(&id, SIGNED_IN), Redirect::to(&next)).into_response())
}

pub(super) async fn sign_out(State(site): State<Site>, headers: HeaderMap) -> Response {
    if let Some(id) = sign_in_of(&headers) {
        site.sign_out(id);
    }
    (cookie("", Duration::ZERO), Redirect::to("/")).into_response()
}

/// Other sites can neither read it nor have it sent.
fn cookie(id: &str, kept: Duration) -> [(header::HeaderName, String); 1] {
    let seconds = kept.as_secs();
    let text = format!("{COOKIE}={id}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict");
    [(header::SET_COOKIE, text)]
}

/// A page of this site to go on with; never another site's.
fn local(next: Option<String>) -> String {
    let is_local = |next: &String| {
        let plain = |c: char| c.is_ascii_graphic() && c != '\\';
        next.starts_with('/') && !next.starts_with("//") && next.chars().all(plain)
    };
    next.filter(is_local).unwrap_or_else(|| "/".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        let local = |next: &str| local(Some(next.into()));
        assert_eq!(
            local("/builds/B000000001?run=1"),
            "/builds/B000000001?run=1"
        );
        for bad in [
            "//evil.example",
            "https://evil.example",
            "/\\evil",
            "/a\r\nX: y",
            "",
        ] {
            assert_eq!(local(bad), "/", "{bad:?}");
        }
    }
}
