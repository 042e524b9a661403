//! Pages over hyper. A handler is told of its connection by a [`Peer`] and a [`Remote`],
//! extensions of its request.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, Version, header};
use build_core::h1::RequestHead;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::judged::Judged;
use super::streams::{StreamExecutor, busy, unless_stalled};
use super::{Authority, Inner, Peer, Remote, Stream};

/// Bytes of each stream of HTTP/2 that wait for their peer.
const SEND_BUFFER: usize = 64 * 1024;

pub(super) async fn http1(door: &Arc<Inner>, stream: Stream, peer: Peer, stop: CancellationToken) {
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(door.limits.head)
        .max_buf_size(door.limits.head_bytes.max(8192));
    let switched = Arc::new(AtomicBool::new(door.quirks.first_head_only));
    let stream = Judged::new(stream, door.limits, Arc::clone(&switched));
    let door = Arc::clone(door);
    let stall = door.limits.stall;
    // That the first request of a connection is no dialect's was found out when it came.
    let begun = AtomicBool::new(false);
    let service = service_fn(move |request: Request<Incoming>| {
        let (door, switched) = (Arc::clone(&door), Arc::clone(&switched));
        let is_later = begun.swap(true, Ordering::Relaxed);
        async move {
            let response = match is_later && is_dialects(&door, &request) {
                true => misdirected(),
                false => answer(&door, request, peer).await,
            };
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                switched.store(true, Ordering::Release);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = server
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = unless_stalled(stall, async {
        tokio::select! {
            ended = &mut connection => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    });
    match ended.await {
        Some(Err(error)) => tracing::debug!(%error, "a connection has ended early"),
        None => tracing::debug!("a connection that takes no answer has ended"),
        Some(Ok(())) => {}
    }
}

pub(super) async fn http2(door: &Arc<Inner>, stream: Stream, peer: Peer, stop: CancellationToken) {
    let limits = &door.limits;
    let executor = StreamExecutor {
        stall: limits.stall,
    };
    let mut server = hyper::server::conn::http2::Builder::new(executor);
    server
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.head)
        .max_concurrent_streams(limits.streams_of_connection)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
    let door = Arc::clone(door);
    let service = service_fn(move |request| {
        let door = Arc::clone(&door);
        async move { Ok::<_, Infallible>(answer(&door, request, peer).await) }
    });
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

/// Whether a dialect takes connections that begin with this request.
fn is_dialects(door: &Inner, request: &Request<Incoming>) -> bool {
    !door.quirks.pages_only && door.services.dialect_of(&head_of(request)).is_some()
}

/// A request of a dialect that follows a page on the same connection cannot be taken over any
/// more: it is sent away, to come on a connection of its own.
fn misdirected() -> Response<Body> {
    let text = "this request needs a connection of its own\n";
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    let close = header::HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

async fn answer(door: &Inner, mut request: Request<Incoming>, peer: Peer) -> Response<Body> {
    let is_http2 = request.version() == Version::HTTP_2;
    let Some(place) = door.streams.begin(peer) else {
        return busy("too many requests are being answered");
    };
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(Remote(peer.address.ip()));
    if let Some(authority) = authority(&request) {
        request.extensions_mut().insert(Authority(authority));
    }
    let is_grpc = is_http2 && is_grpc(&request);
    let router = door.services.router(is_grpc);
    match router.oneshot(request.map(Body::new)).await {
        Ok(response) => door.streams.hold(peer, place, response),
        Err(never) => match never {},
    }
}

/// The host and port that the request is for; `None` when it says something else.
fn authority(request: &Request<Incoming>) -> Option<String> {
    let named = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(header::HOST)?.to_str().ok()?,
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    (!named.is_empty() && named.len() < 300 && named.bytes().all(plain)).then(|| named.to_owned())
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
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
