//! Buttons: build again, end a build, want it no more. Forms, so that they work without scripts.

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Redirect;
use build_core::ErrorKind;
use build_core::ids::WishKey;
use serde::Deserialize;

use super::error::{Failure, Looking};
use super::log;
use crate::web::{Refusal, Site, User};

/// Somebody who may change something; everybody else reads where to sign in.
pub(super) struct SignedIn(User);

impl FromRequestParts<Site> for SignedIn {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Failure> {
        match User::from_request_parts(parts, site).await {
            Ok(user) => Ok(Self(user)),
            Err(refusal) if refusal.status() == StatusCode::UNAUTHORIZED => {
                let hint = "sign in at /sign-in with the token of this farm, then press it again";
                let text = "this button works for people who have signed in";
                let refusal = Refusal::new(ErrorKind::Denied, text, hint);
                Err(refusal.with_status(StatusCode::UNAUTHORIZED).into())
            }
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// Asks for another build of the same commit on the same builder, and shows it.
pub(super) async fn rerun(
    Looking(site): Looking,
    SignedIn(user): SignedIn,
    Path(id): Path<String>,
) -> Result<Redirect, Failure> {
    let row = log::build(&site, &id).await?;
    let item = row.item.asked_again();
    let (handle, by) = (site.handle(), user.name());
    let again = handle.submit_anew(item, &row.builder, by).await?;
    Ok(Redirect::to(&format!("/builds/{again}")))
}

#[derive(Deserialize)]
pub(super) struct Withdrawn {
    wish: WishKey,
}

/// Takes back one of the wishes for a build, and shows the build.
pub(super) async fn withdraw(
    Looking(site): Looking,
    SignedIn(user): SignedIn,
    Path(id): Path<String>,
    form: Result<Form<Withdrawn>, FormRejection>,
) -> Result<Redirect, Failure> {
    let Form(Withdrawn { wish }) = form?;
    let row = log::build(&site, &id).await?;
    let wishes = site.handle().wishes(Some(&row.id)).await?;
    if !wishes.iter().any(|open| open.key() == wish) {
        let hint = "open the page of the build again: it says who wants it";
        return Err(Failure::not_found(
            format!("{} is not wanted by wish {wish}", row.id),
            hint,
        ));
    }
    site.handle().withdraw(wish, user.name()).await?;
    Ok(Redirect::to(&format!("/builds/{}", row.id)))
}

/// Asks for the end of a build.
pub(super) async fn cancel(
    Looking(site): Looking,
    SignedIn(user): SignedIn,
    Path(id): Path<String>,
) -> Result<Redirect, Failure> {
    let row = log::build(&site, &id).await?;
    site.handle().cancel(&row.id, user.name()).await?;
    Ok(Redirect::to(&format!("/builds/{}", row.id)))
}
