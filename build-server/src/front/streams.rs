//! Open answers: how many there are, and whether the peer takes them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::shares::{Share, Shares, kept_of};
use super::{Limits, Peer};

/// When somebody who was sent away may come back, in seconds.
const COME_BACK: HeaderValue = HeaderValue::from_static("2");

tokio::task_local! {
    /// The answer that the task of a stream works on.
    static PROGRESS: Progress;
}

/// How many answers may be open.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    all: Places,
    lasting: Places,
}

/// Places for answers of one sort.
#[derive(Clone, Debug)]
struct Places {
    free: Arc<Semaphore>,
    /// For programs of this machine.
    kept: usize,
    of_address: usize,
    shares: Shares,
}

/// A place for an answer, which it holds until its body has ended.
pub(super) type Place = (OwnedSemaphorePermit, Share);

impl Places {
    fn new(count: usize, of_address: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            kept: kept_of(count),
            of_address,
            shares: Shares::default(),
        }
    }

    fn take(&self, peer: Peer) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        if !peer.local && self.free.available_permits() < self.kept {
            return None;
        }
        let share = self.shares.take(peer, self.of_address)?;
        Some((permit, share))
    }
}

impl Streams {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            all: Places::new(limits.streams, limits.streams_of_address),
            lasting: Places::new(limits.lasting_streams, limits.lasting_streams_of_address),
        }
    }

    /// A place for one more answer, which is the handler's turn.
    pub(super) fn begin(&self, peer: Peer) -> Option<Place> {
        let _ = PROGRESS.try_with(|progress| progress.set(Turn::Ours));
        self.all.take(peer)
    }

    /// The answer, which holds its place until its body has ended; one that goes on until
    /// somebody leaves needs another place.
    pub(super) fn hold(
        &self,
        peer: Peer,
        place: Place,
        response: Response<Body>,
    ) -> Response<Body> {
        let lasting = match is_lasting(&response) {
            false => None,
            true => match self.lasting.take(peer) {
                Some(place) => Some(place),
                None => return busy("too many streams are open here"),
            },
        };
        let progress = PROGRESS.try_with(Progress::clone).unwrap_or_default();
        progress.set(Turn::Theirs(Instant::now()));
        response.map(|body| {
            Body::new(Held {
                body,
                progress,
                _places: (place, lasting),
            })
        })
    }
}

/// Whether an answer has no end of its own: events, or a log that is followed.
fn is_lasting(response: &Response<Body>) -> bool {
    let has = |name, text: &str| {
        let value = response.headers().get(name);
        value.is_some_and(|value: &HeaderValue| value.as_bytes().starts_with(text.as_bytes()))
    };
    response.body().size_hint().exact().is_none()
        && (has(header::CONTENT_TYPE, "text/event-stream")
            || has(header::CACHE_CONTROL, "no-store"))
}

/// For whom there is no place now.
pub(super) fn busy(why: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{why}; come back in a moment\n")));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, COME_BACK);
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    response
}

/// Whose turn it is in an answer, and since when.
#[derive(Clone, Debug, Default)]
struct Progress(Arc<Mutex<Turn>>);

#[derive(Clone, Copy, Debug, Default)]
enum Turn {
    /// The handler has not answered, or its body has nothing to give.
    #[default]
    Ours,
    /// The peer has to take what it was given, since then.
    Theirs(Instant),
}

impl Progress {
    fn set(&self, turn: Turn) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }

    fn get(&self) -> Turn {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when the peer has taken nothing for `stall`.
    async fn stalled(&self, stall: Duration) {
        loop {
            let since = match self.get() {
                Turn::Theirs(since) => since,
                Turn::Ours => Instant::now(),
            };
            let left = stall.saturating_sub(since.elapsed());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// Drives a connection or a stream to its end, or until its peer has taken nothing for `stall`:
/// `None`.
pub(super) async fn unless_stalled<T>(stall: Duration, work: impl Future<Output = T>) -> Option<T> {
    let progress = Progress::default();
    tokio::select! {
        // Most answers end at once: no clock is set for them.
        biased;
        ended = PROGRESS.scope(progress.clone(), work) => Some(ended),
        () = progress.stalled(stall) => None,
    }
}

/// Runs the streams of a connection of HTTP/2, each until it stalls.
#[derive(Clone, Debug)]
pub(super) struct StreamExecutor {
    pub(super) stall: Duration,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let stall = self.stall;
        TokioExecutor::new().execute(async move {
            if unless_stalled(stall, stream).await.is_none() {
                tracing::debug!("an answer that nobody takes has ended");
            }
        });
    }
}

/// A body that holds places and tells whose turn it is.
struct Held {
    body: Body,
    progress: Progress,
    _places: (Place, Option<Place>),
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // Asked for more: what was given before has gone.
        self.progress.set(match &polled {
            Poll::Pending => Turn::Ours,
            Poll::Ready(_) => Turn::Theirs(Instant::now()),
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The last bytes may still wait for the peer.
        self.progress.set(Turn::Theirs(Instant::now()));
    }
}
