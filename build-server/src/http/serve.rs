//! Connections: accepted, bounded, ended.

use axum::Router;
use build_core::Result;
use tokio_util::sync::CancellationToken;

use super::Doors;

/// Serves `router` on `doors` until `token` is canceled, then lets running answers end for a
/// short while. Limits and deadlines are those of [`Front`](crate::front::Front).
///
/// # Errors
/// Never while it serves; failures of single connections are theirs.
pub async fn serve(
    doors: impl Into<Doors>,
    router: Router,
    token: CancellationToken,
) -> Result<()> {
    doors.into().serve(router, token).await
}
