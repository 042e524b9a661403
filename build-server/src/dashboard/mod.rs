//! The pages of the farm: readable without scripts, alive with them.

use axum::Router;

use crate::web::Site;

/// Every page.
pub(crate) fn router() -> Router<Site> {
    Router::new()
}
