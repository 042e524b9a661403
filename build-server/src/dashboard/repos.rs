//! `/repos`: what the repositories are called and where they lie; admins say when that changes.

use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::response::{Redirect, Response};
use build_core::ids::{RepoId, RepoName};
use build_core::report::Repo;
use serde::Deserialize;

use super::error::{Failure, Guest, Looking, SignedInAdmin};
use super::page::{self, Frame};
use crate::web::sign_in_of;
use crate::who::Right;

#[derive(Template)]
#[template(path = "repos.html")]
struct Page<'a> {
    frame: &'a Frame,
    repos: Vec<Line>,
    is_admin: bool,
    /// For the buttons of a browser that has signed in; others see no buttons.
    proof: Option<String>,
}

struct Line {
    id: RepoId,
    name: RepoName,
    origin: String,
    origins: Vec<String>,
}

impl Line {
    /// Where else it was found.
    fn earlier(&self) -> impl Iterator<Item = &String> {
        self.origins.iter().filter(|other| **other != self.origin)
    }
}

#[derive(Deserialize)]
pub(super) struct Change {
    name: Option<String>,
    origin: Option<String>,
    proof: String,
}

pub(super) async fn page(
    Looking(site): Looking,
    Guest(visitor): Guest,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let is_admin = visitor.may(Right::Administer);
    let mut frame = Frame::new(&site, visitor, "Repositories", "/repos").await?;
    // Nothing is exchanged while somebody writes into a form.
    frame.live = String::new();
    let proof = sign_in_of(&headers).filter(|_| is_admin);
    let proof = proof.map(|id| site.forms().proof(id)).transpose()?;
    let known = site.handle().repos().await?;
    let seen = known.iter().filter(|repo| site.sees(repo.name()));
    let repos = seen.map(Repo::from).map(|repo| Line {
        id: repo.id,
        name: repo.name,
        origin: repo.origin,
        origins: repo.origins,
    });
    Ok(page::html(&Page {
        repos: repos.collect(),
        is_admin,
        proof,
        frame: &frame,
    }))
}

pub(super) async fn change(
    Looking(site): Looking,
    SignedInAdmin(user): SignedInAdmin,
    Path(id): Path<String>,
    headers: HeaderMap,
    form: Result<Form<Change>, FormRejection>,
) -> Result<Redirect, Failure> {
    let Form(change) = form?;
    // A program shows its token, which no browser sends by itself.
    if let Some(sign_in) = sign_in_of(&headers) {
        site.forms().check(sign_in, &change.proof)?;
    }
    let (handle, id) = (site.handle(), RepoId::new(id)?);
    let said = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let (name, origin) = (said(change.name), said(change.origin));
    if name.is_none() && origin.is_none() {
        return Err(Failure::invalid(
            "the form says neither a name nor where the repository lies",
        ));
    }
    if let Some(name) = name {
        let name = RepoName::new(name.trim())?;
        handle.repo_named(&id, name, user.name()).await?;
    }
    if let Some(origin) = origin {
        handle.repo_moved(&id, origin.trim(), user.name()).await?;
    }
    Ok(Redirect::to("/repos"))
}
