//! `/api/v1`: what programs ask and tell a farm.

use axum::Router;
use axum::routing::get;

use super::Site;

/// The routes of the API.
pub(super) fn router() -> Router<Site> {
    Router::new().route("/healthz", get(async || "ok\n"))
}
