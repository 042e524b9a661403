//! Connections: accepted, bounded, ended.

use axum::Router;
use build_core::Result;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::front::{Front, Services};

/// Serves `router` on `listener` until `token` is canceled, then lets running answers end
/// for a short while. Limits and deadlines are those of [`Front`].
///
/// # Errors
/// Never while it serves; failures of single connections are theirs.
pub async fn serve(listener: TcpListener, router: Router, token: CancellationToken) -> Result<()> {
    let services = Services::new().with_pages(router);
    Front::new(services).run(listener, token).await;
    Ok(())
}
