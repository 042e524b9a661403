//! Repositories, whatever they are called.

use axum::Json;
use axum::extract::{Path, State};
use build_core::ErrorKind;
use build_core::ids::RepoId;
use build_core::report::{Repo, RepoChange, Repos};

use super::input::Body;
use crate::web::{Admin, Looking, Refusal, Site};

pub(super) async fn list(Looking(site): Looking) -> Result<Json<Repos>, Refusal> {
    let known = site.handle().repos().await?;
    let seen = known.iter().filter(|repo| site.sees(repo.name()));
    let repos = seen.map(Repo::from).collect();
    Ok(Json(Repos { repos }))
}

pub(super) async fn change(
    State(site): State<Site>,
    Admin(user): Admin,
    Path(id): Path<String>,
    Body(change): Body<RepoChange>,
) -> Result<Json<Repo>, Refusal> {
    let handle = site.handle();
    let id = RepoId::new(id)?;
    if change.origin.is_none() && change.name.is_none() {
        return Err(Refusal::new(
            ErrorKind::Invalid,
            format!("nothing was said of repository {id}"),
            "give where it lies as `origin`, or what it is called as `name`",
        ));
    }
    // What may be refused comes first.
    if let Some(name) = change.name {
        handle.repo_named(&id, name, user.name()).await?;
    }
    if let Some(origin) = change.origin {
        handle.repo_moved(&id, &origin, user.name()).await?;
    }
    let repos = handle.repos().await?;
    match repos.iter().find(|repo| *repo.id() == id) {
        Some(repo) => Ok(Json(repo.into())),
        None => Err(Refusal::new(
            ErrorKind::NotFound,
            format!("there is no repository {id}"),
            "list them with GET /api/v1/repos",
        )),
    }
}
