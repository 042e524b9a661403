//! `/api/v1`: what programs ask and tell a farm; described in `docs/openapi.json`.

mod artifacts;
mod board;
mod builds;
mod events;
mod farm;
mod hooks;
mod input;
mod log;
mod machines;
mod outbox;
mod people;
mod public;
mod queue;
mod ranges;
mod repos;
mod results;
mod wishes;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use build_core::ErrorKind;
use build_core::report::IdentityProviders;

use super::{Refusal, Site};

/// The description of the API, which its answers are tested against.
pub const OPENAPI: &str = include_str!("../../../openapi.json");

/// The routes of the API.
pub(super) fn router() -> Router<Site> {
    let v1 = Router::new()
        .route("/builds", get(builds::list).post(builds::create))
        .route("/builds/{id}", get(builds::one))
        .route("/builds/{id}/artifacts", get(artifacts::list))
        .route("/builds/{id}/artifacts.tar", get(artifacts::archive))
        .route("/builds/{id}/artifacts/{*path}", get(artifacts::file))
        .route("/builds/{id}/log", get(log::log))
        .route("/builds/{id}/events", get(events::of_build))
        .route("/builds/{id}/tests", get(results::tests))
        .route("/builds/{id}/rerun", post(builds::rerun))
        .route("/builds/{id}/cancel", post(builds::cancel))
        .route("/wishes", get(wishes::list))
        .route("/wishes/{id}/withdraw", post(wishes::withdraw))
        .route("/events", get(events::all))
        .route("/queue", get(queue::queue))
        .route("/queue/{id}/why", get(queue::why))
        .route("/identity", get(identity))
        .route("/pools", get(farm::pools))
        .route("/machines", get(machines::machines))
        .route("/machines/{machine}/hold", post(machines::hold))
        .route("/machines/{machine}/release", post(machines::release))
        .route("/sessions", get(farm::sessions))
        .route("/board", get(board::board))
        .route("/outbox", get(outbox::list))
        .route("/outbox/{reader}/retry", post(outbox::retry))
        .route("/outbox/{reader}/forget", post(outbox::forget))
        .route("/repos", get(repos::list))
        .route("/repos/{id}", post(repos::change))
        .route("/users", get(people::users).post(people::add_user))
        .route(
            "/users/{id}",
            post(people::change_user).delete(people::remove_user),
        )
        .route("/keys", get(people::keys).post(people::create_key))
        .route("/keys/{id}", delete(people::revoke_key))
        .route("/keys/{id}/rotate", post(people::rotate_key))
        .route("/hooks/push", post(hooks::push))
        .route("/openapi.json", get(openapi))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method);
    #[cfg(feature = "reverse")]
    let v1 = v1.route("/machines/past", get(farm::past));
    Router::new().nest("/api/v1", v1)
}

/// Asked by those who have nothing to show yet.
async fn identity(State(site): State<Site>) -> Json<IdentityProviders> {
    Json(IdentityProviders {
        providers: site.identity().to_vec(),
    })
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn no_such_path() -> Refusal {
    Refusal::new(
        ErrorKind::NotFound,
        "the API has no such path",
        "the description of the API is at /api/v1/openapi.json",
    )
}

async fn no_such_method() -> Refusal {
    Refusal::new(
        ErrorKind::Unsupported,
        "this path does not take this method",
        "the description of the API is at /api/v1/openapi.json",
    )
}
