//! Connections: accepted, bounded, ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use build_core::Result;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::supervise::Supervisor;

/// Connections at a time; more wait to be accepted. Each costs some tens of kilobytes.
const CONNECTIONS: usize = 1024;
/// Until the whole head of a request was sent.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// After a failure to accept: out of file descriptors, most likely.
const PAUSE: Duration = Duration::from_millis(100);
/// How long answers may go on after `token` was canceled.
const DRAIN: Duration = Duration::from_secs(2);

/// From where a request comes, as an extension of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote(pub IpAddr);

/// Serves `router` on `listener` until `token` is canceled, then lets running answers end
/// for a short while.
///
/// # Errors
/// Never while it serves; failures of single connections are theirs.
pub async fn serve(listener: TcpListener, router: Router, token: CancellationToken) -> Result<()> {
    let connections = Supervisor::with_token("web", token.child_token());
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let Some((slot, accepted)) = token.run_until_cancelled(accepted).await else {
            break;
        };
        match accepted {
            Ok((stream, address)) => {
                let (router, token) = (router.clone(), connections.token().clone());
                // One group each: a connection that panics ends alone.
                connections.group("connection").spawn("serve", async move {
                    let _slot = slot;
                    one(stream, address.ip(), router, token).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    if let Err(error) = connections.drain(DRAIN).await {
        tracing::debug!(%error, "the site has ended");
    }
    Ok(())
}

async fn one(stream: TcpStream, from: IpAddr, router: Router, token: CancellationToken) {
    // Small answers must not wait for each other; without it they are only slower.
    let _ = stream.set_nodelay(true);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_TIMEOUT);
    let service = TowerToHyperService::new(router.layer(Extension(Remote(from))));
    let connection = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = token.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection has ended early");
    }
}
