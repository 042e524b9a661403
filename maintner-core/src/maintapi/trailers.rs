//! Errors as the Go project's clients of 2020 understand them.
//!
//! A gRPC server may send an error as headers alone ("Trailers-Only"). Those clients look for
//! the status in trailers only, and report "malformed response from server" instead of the
//! error. So every answer is headers first and trailers at the end.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Request, Response};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::Frame;
use tower::Service;

const MOVED: [HeaderName; 3] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];

/// A service whose gRPC status is always in trailers.
#[derive(Debug, Clone)]
pub struct TrailersAlways<S> {
    inner: S,
}

impl<S> TrailersAlways<S> {
    /// Wraps a gRPC service.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Request<Body>> for TrailersAlways<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answered = self.inner.call(request);
        Box::pin(async move {
            let (mut head, body) = answered.await?.into_parts();
            let mut trailers = HeaderMap::new();
            for name in MOVED {
                if let Some(value) = head.headers.remove(&name) {
                    trailers.insert(name, value);
                }
            }
            let body = if trailers.is_empty() {
                Body::new(body)
            } else {
                head.headers.remove("content-length");
                Body::new(Trailing(Some(trailers)))
            };
            Ok(Response::from_parts(head, body))
        })
    }
}

/// A body of trailers only.
struct Trailing(Option<HeaderMap>);

impl http_body::Body for Trailing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}
