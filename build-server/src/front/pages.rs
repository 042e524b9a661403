//! Pages over hyper.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use build_core::h1::RequestHead;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{Dialect, Inner, Peer, Stream};

/// What a handler of pages is told of the connection, as an extension of its request: a [`Peer`].
type Extension = Peer;

pub(super) async fn http1(door: &Inner, stream: Stream, peer: Peer, stop: CancellationToken) {
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(door.limits.head)
        .max_buf_size(door.limits.head_bytes.max(8192));
    let dialect = (!door.quirks.pages_only).then(|| Arc::clone(&door.dialect));
    let router = door.pages.clone();
    let service = service_fn(move |request| answer(router.clone(), dialect.clone(), request, peer));
    let connection = server
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection has ended early");
    }
}

pub(super) async fn http2(door: &Inner, stream: Stream, peer: Peer, stop: CancellationToken) {
    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    server
        .timer(TokioTimer::new())
        .keep_alive_interval(door.limits.head)
        .max_header_list_size(u32::try_from(door.limits.head_bytes).unwrap_or(u32::MAX));
    let router = door.pages.clone();
    let service = service_fn(move |request| answer(router.clone(), None, request, peer));
    let connection = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection has ended early");
    }
}

/// Answers a request. One of the dialect that follows a page on the same connection cannot be
/// taken over any more: it is sent away, to come on a connection of its own.
async fn answer(
    router: axum::Router,
    dialect: Option<Arc<dyn Dialect>>,
    mut request: Request<Incoming>,
    peer: Extension,
) -> Result<Response<Body>, Infallible> {
    if let Some(dialect) = dialect
        && dialect.takes(&head_of(&request))
    {
        let text = "this request needs a connection of its own\n";
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
        let close = header::HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        return Ok(response);
    }
    request.extensions_mut().insert(peer);
    router.oneshot(request.map(Body::new)).await
}

/// The head as the dialect reads it.
fn head_of(request: &Request<Incoming>) -> RequestHead {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let mut head = RequestHead::new(request.method().as_str(), target);
    for (name, value) in request.headers() {
        head.headers_mut().append(name.as_str(), value.as_bytes());
    }
    head
}
