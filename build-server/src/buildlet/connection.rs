//! One connection: request after request.

use std::sync::Arc;
use std::time::Duration;

use build_core::clock::SystemClock;
use build_core::h1::Limits;
use build_core::h1::io::{Duplex, Exchange, Server};
use tokio::time::timeout;

use super::listen::Accepted;
use super::routes;
use super::server::App;

/// How long a connection may rest between requests: clients keep theirs for a minute or so.
const IDLE: Duration = Duration::from_secs(600);
/// From the first byte of a request to the end of its head.
const HEAD: Duration = Duration::from_secs(30);
/// For the handshake of TLS.
#[cfg(feature = "buildlet-tls")]
const HANDSHAKE: Duration = Duration::from_secs(30);
/// What a client is still allowed to send when its connection ends, so that it reads the answer.
const LAST_BYTES: u64 = 16 << 20;
const LAST_TIME: Duration = Duration::from_secs(2);

pub(crate) type Io = Box<dyn Duplex>;

/// Serves a connection to its end, or until it is ended because it rests and others want its place.
pub(crate) async fn serve(app: Arc<App>, accepted: Accepted) {
    let mut rest = app.resting.begin();
    let greeted = tokio::select! {
        greeted = greet(accepted) => greeted,
        () = rest.ended() => None,
    };
    let Some(io) = greeted else {
        return;
    };
    let mut server = Server::new(io, Limits::default()).with_clock(Arc::new(SystemClock));
    let stop = app.supervisor.token();
    loop {
        let asked = tokio::select! {
            asked = next(&mut server) => asked,
            () = rest.ended() => return,
            () = stop.cancelled() => return,
        };
        let Some(exchange) = asked else {
            break;
        };
        drop(rest);
        // What was lost is the client's loss, and it knows.
        if routes::answer(&app, exchange).await.is_err() {
            return;
        }
        rest = app.resting.begin();
    }
    if !server.is_switched() {
        // The client has its answer, or is gone.
        let _ = timeout(LAST_TIME, server.close(LAST_BYTES)).await;
    }
}

/// The next request; `None` when there is none, or its head does not come.
async fn next(server: &mut Server<Io>) -> Option<Exchange<'_, Io>> {
    if !matches!(timeout(IDLE, server.ready()).await, Ok(Ok(true))) {
        return None;
    }
    timeout(HEAD, server.next()).await.ok()?.ok()?
}

async fn greet(accepted: Accepted) -> Option<Io> {
    match accepted {
        Accepted::Ready(io) => Some(io),
        #[cfg(feature = "buildlet-tls")]
        Accepted::Handshake(stream, tls) => match timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "handshake failed");
                None
            }
            Err(_) => None,
        },
    }
}
