//! Builds: listed, shown, asked for, run again, ended.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use build_core::ErrorKind;
use build_core::event::Seq;
use build_core::ids::BuildId;
use build_core::name::Name;
use build_core::report::{Build, BuildPage, BuildQuery, Created, NewBuild};
use build_core::work::{COLD_LABEL, Class, Trust, WorkItem};

use super::input::{Body, Id, Params};
use super::public;
use crate::source::{is_here, without_passwords};
use crate::store::BuildFilter;
use crate::web::{Looking, Refusal, Role, Site, User};

/// Builds in one answer, when nothing is said and at most.
const PAGE: usize = 50;
const MAX_PAGE: usize = 1000;

pub(super) async fn list(
    Looking(site): Looking,
    Params(which): Params<BuildQuery>,
) -> Result<Json<BuildPage>, Refusal> {
    let filter = BuildFilter {
        repo: which.repo,
        branch: which.branch.map(|branch| Name::unescape(&branch)),
        builder: which.builder,
        commit: which.commit,
        state: which.state,
    };
    let limit = which.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let before = which.before.map(Seq);
    let page = site.records().builds(&filter, before, limit).await?;
    Ok(Json(BuildPage {
        builds: page.builds.into_iter().map(Build::from).collect(),
        next: page.next,
    }))
}

pub(super) async fn one(Looking(site): Looking, Id(id): Id) -> Result<Json<Build>, Refusal> {
    let row = public::find(&site, &id).await?;
    let failed = site.handle().failed_tests(&row).await?;
    let review = site.review(&row.item);
    let mut build = Build::from(row);
    build.failed_tests = Some(failed);
    build.review = review;
    Ok(Json(build))
}

pub(super) async fn create(
    Looking(site): Looking,
    user: User,
    Body(wish): Body<NewBuild>,
) -> Result<Response, Refusal> {
    let Some(checkouts) = site.checkouts() else {
        return Err(Refusal::new(
            ErrorKind::Unsupported,
            "this farm takes no commits by name",
            "ask for a build again with POST /api/v1/builds/ID/rerun",
        ));
    };
    if wish.repo.is_empty() {
        return Err(Refusal::new(
            ErrorKind::Invalid,
            "no repository was named",
            "give the path or the URL of one as `repo`",
        ));
    }
    let mut item = checkouts.resolve(&wish.repo, wish.rev.as_deref()).await?;
    if !site.sees(&item.repo) {
        return Err(Refusal::new(
            ErrorKind::NotFound,
            format!("there is no repository {:?} for you", wish.repo),
            "ask an admin of this farm whether you may read it",
        ));
    }
    if user.role() != Role::Admin && !is_vouched_for(&site, &item) {
        item.trust = Trust::Untrusted;
    }
    item.class = Class::Interactive;
    item.worktree = wish.worktree;
    if wish.cold {
        item.labels.insert(COLD_LABEL.to_owned());
    }
    let builders = match wish.builders.is_empty() {
        true => site.handle().builders_of(&item).await?,
        false => wish.builders,
    };
    // All of them or none; those of this commit that have not ended are shared.
    let handle = site.handle();
    let wanted = handle.want(item, builders, user.name(), false).await?;
    let mut builds = Vec::new();
    for wished in wanted.builds {
        builds.push(public::find(&site, &wished.build).await?.into());
    }
    let wish = wanted.key;
    Ok((StatusCode::CREATED, Json(Created { wish, builds })).into_response())
}

/// Whether somebody with a say in the farm has vouched for where a commit lies: the farm watches it,
/// or it lies on its machine. Whoever may ask for builds may name any other place.
fn is_vouched_for(site: &Site, item: &WorkItem) -> bool {
    let place = without_passwords(&item.origin);
    is_here(&item.origin) || site.handle().origins().contains(&place)
}

pub(super) async fn rerun(
    Looking(site): Looking,
    user: User,
    Id(id): Id,
) -> Result<Response, Refusal> {
    let row = public::find(&site, &id).await?;
    let item = row.item.asked_again();
    let (handle, by) = (site.handle(), user.name());
    let again = handle.submit_anew(item, &row.builder, by).await?;
    let build = Build::from(public::find(&site, &again).await?);
    let place = [(header::LOCATION, place_of(&build.id))];
    Ok((StatusCode::CREATED, place, Json(build)).into_response())
}

pub(super) async fn cancel(
    Looking(site): Looking,
    user: User,
    Id(id): Id,
) -> Result<Response, Refusal> {
    let row = public::find(&site, &id).await?;
    if row.state.is_final() {
        return Err(Refusal::new(
            ErrorKind::Conflict,
            format!("build {id} has ended already: {}", row.state.as_str()),
            "there is nothing left to cancel",
        ));
    }
    site.handle().cancel(&id, user.name()).await?;
    let build = Build::from(public::find(&site, &id).await?);
    Ok((StatusCode::ACCEPTED, Json(build)).into_response())
}

fn place_of(id: &BuildId) -> String {
    format!("/api/v1/builds/{id}")
}
