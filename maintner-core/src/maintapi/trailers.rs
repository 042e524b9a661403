//! Errors as the Go project's clients of 2020 understand them.
//!
//! A gRPC server may send an error as headers alone ("Trailers-Only"). Those clients look for
//! the status in trailers only, and report "malformed response from server" instead of the
//! error. So every answer is headers first and trailers at the end.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
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
        Box::pin(async move { Ok(trailing(answered.await?)) })
    }
}

/// The answer to a gRPC request that no service takes, as clients of 2020 understand it.
pub fn refusal(status: tonic::Status) -> Response<Body> {
    trailing(status.into_http::<Body>())
}

/// Moves the status from the head of an answer behind its body.
fn trailing<B>(answer: Response<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let (mut head, body) = answer.into_parts();
    let mut trailers = HeaderMap::new();
    for name in MOVED {
        if let Some(value) = head.headers.remove(&name) {
            let value = if name == "grpc-message" {
                readable(value)
            } else {
                value
            };
            trailers.insert(name, value);
        }
    }
    let body = if trailers.is_empty() {
        Body::new(body)
    } else {
        head.headers.remove("content-length");
        Body::new(Trailing(Some(trailers)))
    };
    Response::from_parts(head, body)
}

/// Undoes the escapes that gRPC does not ask for: only `%` and what is not printable ASCII need
/// one, and clients of 2020 show escapes as they are.
fn readable(message: HeaderValue) -> HeaderValue {
    let mut rest = message.as_bytes();
    let mut plain = Vec::with_capacity(rest.len());
    while let [first, behind @ ..] = rest {
        let escaped = match (first, behind) {
            (b'%', [high, low, ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok();
                digits.and_then(|digits| u8::from_str_radix(digits, 16).ok())
            }
            _ => None,
        };
        match escaped {
            Some(byte @ b' '..=b'~') if byte != b'%' => {
                plain.push(byte);
                rest = &behind[2..];
            }
            _ => {
                plain.push(*first);
                rest = behind;
            }
        }
    }
    HeaderValue::from_bytes(&plain).unwrap_or(message)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_needless_escapes_are_undone() {
        for (escaped, plain) in [
            ("unknown%20branch%20%22x%22", "unknown branch \"x\""),
            ("100%25%20%C3%A9%0A", "100%25 %C3%A9%0A"),
            ("%", "%"),
            ("%2", "%2"),
            ("%zz", "%zz"),
        ] {
            let value = readable(HeaderValue::from_str(escaped).unwrap());
            assert_eq!(value.to_str().unwrap(), plain);
        }
    }
}
