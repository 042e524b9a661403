//! `/logs/stream`: the tail, as server-sent events.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderName, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::answer::{Params, bad_method, text, too_many, unreadable};
use super::server::{Inner, Shown};
use crate::log::Sha224Hex;
use crate::{Error, Result};

/// Some proxies hold answers back until they have enough of them.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
const ALIVE: Bytes = Bytes::from_static(b": alive\n\n");

pub(super) async fn answer(
    State(inner): State<Arc<Inner>>,
    method: Method,
    Query(params): Query<Params>,
) -> Response {
    if let Some(refusal) = bad_method(&method) {
        return refusal;
    }
    let Some((number, offset, sha224)) = place(&params) else {
        let usage = "bad from: use from=SEGMENT:OFFSET&sha224=HASH of these bytes";
        return text(StatusCode::BAD_REQUEST, usage);
    };
    let Some(permit) = inner.wait_permit() else {
        return too_many();
    };
    let shown = inner.shown.subscribe();
    let snapshot = Arc::clone(&shown.borrow().snapshot);
    let rewrites = snapshot.rewrites();
    let agrees = blocking(move || snapshot.agrees(number, offset, sha224)).await;
    match agrees {
        Ok(true) => {}
        Ok(false) => {
            let refusal = "the log has no such place, or other bytes before it";
            return text(StatusCode::CONFLICT, refusal);
        }
        Err(error) => return unreadable(&error),
    }
    let tail = Tail {
        inner,
        shown,
        number,
        offset,
        rewrites,
        first: true,
        _permit: permit,
    };
    let events = futures::stream::try_unfold(tail, async |mut tail| {
        Ok::<_, Error>(tail.next().await?.map(|event| (event, tail)))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
    response
}

/// Which bytes the follower has.
fn place(params: &Params) -> Option<(u32, u64, Sha224Hex)> {
    let (number, offset) = params.get("from")?.split_once(':')?;
    Some((
        number.parse().ok()?,
        offset.parse().ok()?,
        params.get("sha224")?.parse().ok()?,
    ))
}

/// One follower. It holds nothing but its place: what it does not read is not kept for it.
struct Tail {
    inner: Arc<Inner>,
    shown: watch::Receiver<Arc<Shown>>,
    number: u32,
    offset: u64,
    rewrites: u64,
    /// The head of the answer goes out with its first bytes.
    first: bool,
    _permit: OwnedSemaphorePermit,
}

impl Tail {
    /// The next event; nothing when the log was rewritten or the server ends.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if std::mem::take(&mut self.first) {
            return Ok(Some(ALIVE));
        }
        loop {
            let snapshot = Arc::clone(&self.shown.borrow_and_update().snapshot);
            if snapshot.rewrites() != self.rewrites {
                return Ok(None);
            }
            let (number, offset) = (self.number, self.offset);
            let event = match snapshot.latest_event(number, offset) {
                Some(event) => Some(event),
                None => {
                    match blocking(move || snapshot.next_event(number, offset)).await {
                        // The follower asks the index what is to be done.
                        Err(Error::Split { .. }) => return Ok(None),
                        event => event?,
                    }
                }
            };
            if let Some((event, number, offset)) = event {
                (self.number, self.offset) = (number, offset);
                return Ok(Some(event));
            }
            tokio::select! {
                changed = self.shown.changed() => if changed.is_err() {
                    return Ok(None);
                },
                () = tokio::time::sleep(self.inner.options.keep_alive) => return Ok(Some(ALIVE)),
                () = self.inner.closed.cancelled() => return Ok(None),
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        let failed = std::io::Error::other(error.to_string());
        Err(Error::io("read", std::path::Path::new("the log"))(failed))
    })
}
