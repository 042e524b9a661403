//! The pages of the farm: readable without scripts, alive with them.
//!
//! Each page is rendered here, whole, from what is recorded and what the coordinator says at
//! present. The one script of the site asks for the same page again when something has happened
//! and exchanges the parts marked `data-live`; a log that is being written is followed by a
//! stream of rendered lines (`log`).

mod act;
mod assets;
mod board;
mod build;
mod commit;
mod error;
mod estimate;
mod failures;
mod farm;
mod history;
mod kept;
mod log;
mod machines;
mod merges;
mod page;
mod people;
mod queue;
mod repos;
mod sign_in;
mod steps;
mod time;
mod words;

use axum::Router;
use axum::routing::{get, post};

use crate::web::Site;

/// Every page; `home` is where the newest commits are shown.
pub(crate) fn router(home: &str) -> Router<Site> {
    Router::new()
        .route(home, get(board::page))
        .route("/builds/{id}", get(build::page))
        .route("/builds/{id}/lines", get(log::follow::lines))
        .route("/builds/{id}/raw", get(log::raw::raw))
        .route("/builds/{id}/rerun", post(act::rerun))
        .route("/builds/{id}/cancel", post(act::cancel))
        .route("/builds/{id}/withdraw", post(act::withdraw))
        .route("/commits/{hash}", get(commit::page))
        .route("/queue", get(queue::page))
        .route("/machines", get(machines::page))
        .route("/tests", get(history::page))
        .route("/repos", get(repos::page))
        .route("/repos/{id}", post(repos::change))
        .route("/people", get(people::page))
        .route("/people/revoke", post(people::revoke))
        .route("/sign-in", get(sign_in::page).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/static/{name}", get(assets::asset))
        .fallback(error::no_such_page)
}
