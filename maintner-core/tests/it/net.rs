//! Log servers for tests: on an ephemeral port, on a thread of their own, with faults on demand.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use maintner_core::net::NetworkSource;
use maintner_core::pb::{GithubIssueMutation, Mutation, Timestamp};
use maintner_core::serve::{LogServer, Options};
use maintner_core::source::MutationSource;
use maintner_core::{Corpus, Options as CorpusOptions};
use tokio_util::sync::CancellationToken;

/// Long enough for a busy machine; nothing waits that long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What happens to the next requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// As if nothing were.
    None,
    /// This status and a text.
    Status(u16),
    /// The whole segment, although a part was asked for.
    IgnoreRange,
    /// One byte of a segment is another one.
    Corrupt,
    /// The connection is cut after so many bytes of a segment.
    Cut(usize),
    /// The segment is elsewhere.
    Redirect,
    /// Something that is no index.
    Garbage,
}

/// Faults that wait for requests, and what was asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    index: Arc<Mutex<VecDeque<Fault>>>,
    segment: Arc<Mutex<VecDeque<Fault>>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// Answers 404 to the tail, as Go servers answer 400.
    no_tail: bool,
}

impl Script {
    pub(crate) fn without_tail() -> Self {
        Self {
            no_tail: true,
            ..Self::default()
        }
    }

    pub(crate) fn index(&self, faults: &[Fault]) {
        self.index.lock().unwrap().extend(faults);
    }

    pub(crate) fn segment(&self, faults: &[Fault]) {
        self.segment.lock().unwrap().extend(faults);
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn next(&self, path: &str) -> Fault {
        let queue = if path == "/logs" {
            &self.index
        } else {
            &self.segment
        };
        queue.lock().unwrap().pop_front().unwrap_or(Fault::None)
    }
}

async fn act(State(script): State<Script>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let range = request.headers().get(header::RANGE);
    let range = range.map_or("", |range| range.to_str().unwrap());
    let line = format!("{} {range}", request.uri());
    script.asked.lock().unwrap().push(line.trim().to_owned());
    if path == "/logs/stream" {
        if script.no_tail {
            return (StatusCode::BAD_REQUEST, "bad path\n").into_response();
        }
        return next.run(request).await;
    }
    match script.next(&path) {
        Fault::None => next.run(request).await,
        Fault::Status(status) => {
            (StatusCode::from_u16(status).unwrap(), "as the test wants").into_response()
        }
        Fault::IgnoreRange => {
            request.headers_mut().remove(header::RANGE);
            next.run(request).await
        }
        Fault::Redirect => Redirect::temporary(&format!("{path}?moved")).into_response(),
        Fault::Garbage => "<html>".into_response(),
        Fault::Corrupt => {
            let (head, body) = next.run(request).await.into_parts();
            let mut bytes = to_bytes(body, 1 << 24).await.unwrap().to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            Response::from_parts(head, Body::from(bytes))
        }
        Fault::Cut(at) => {
            let (head, body) = next.run(request).await.into_parts();
            let bytes = to_bytes(body, 1 << 24).await.unwrap();
            let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            let pieces = [Ok(bytes.slice(..at.min(bytes.len()))), Err(broken)];
            let stream = futures_of(pieces);
            Response::from_parts(head, Body::from_stream(stream))
        }
    }
}

fn futures_of(
    pieces: [std::io::Result<Bytes>; 2],
) -> impl futures_core::Stream<Item = std::io::Result<Bytes>> {
    let mut pieces = VecDeque::from(pieces);
    Pieces(std::iter::from_fn(move || pieces.pop_front()))
}

struct Pieces<I>(I);

impl<I: Iterator + Unpin> futures_core::Stream for Pieces<I> {
    type Item = I::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<I::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

/// A server that ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) logs: LogServer,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(source: impl MutationSource + 'static) -> Self {
        Self::with(source, Options::default(), Script::default(), "127.0.0.1:0")
    }

    pub(crate) fn scripted(source: impl MutationSource + 'static, script: &Script) -> Self {
        let script = script.clone();
        Self::with(source, Options::default(), script, "127.0.0.1:0")
    }

    pub(crate) fn with(
        source: impl MutationSource + 'static,
        options: Options,
        script: Script,
        address: &str,
    ) -> Self {
        let logs = LogServer::new(source, options).unwrap();
        let layer = axum::middleware::from_fn_with_state(script, act);
        let routes = logs.router().layer(layer);
        Self::of(logs, routes, address)
    }

    fn of(logs: LogServer, routes: Router, address: &str) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (token, server) = (stop.clone(), logs.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let serve = axum::serve(listener, routes)
                    .with_graceful_shutdown(token.clone().cancelled_owned());
                let serve = tokio::time::timeout(PATIENCE, serve.into_future());
                let (served, ()) = tokio::join!(serve, server.run(token));
                served.unwrap().unwrap();
            });
        });
        Self {
            address,
            logs,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/logs", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        let thread = self.thread.take().unwrap();
        if thread.join().is_err() {
            assert!(std::thread::panicking(), "the server panicked");
        }
    }
}

/// An issue with this number and title.
pub(crate) fn issue(number: i32, title: &str) -> Mutation {
    Mutation {
        github_issue: Some(GithubIssueMutation {
            owner: "golang".into(),
            repo: "go".into(),
            number,
            created: Some(Timestamp {
                seconds: 1_600_000_000 + i64::from(number),
                nanos: 0,
            }),
            title: title.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) fn load(source: impl MutationSource + 'static) -> Corpus {
    Corpus::load(source, CorpusOptions::default().snapshot(false)).unwrap()
}

pub(crate) fn fingerprint(corpus: &Corpus) -> String {
    corpus.view().canonical_dump().fingerprint()
}

/// Updates until the condition holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(
            begin.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until a follower has all that a log has, and compares what they say.
pub(crate) fn converge(
    source: &NetworkSource,
    corpus: &Corpus,
    truth: impl MutationSource + Clone + 'static,
) {
    until("the follower has everything", || {
        corpus.update().unwrap();
        let end = truth
            .segments()
            .unwrap()
            .last()
            .map(maintner_core::log::Segment::end);
        end.unwrap_or_default() == corpus.view().position()
    });
    let wanted = fingerprint(&load(truth));
    assert_eq!(fingerprint(corpus), wanted, "{:?}", source.status());
}

/// A value of a header, as text.
pub(crate) fn text(value: Option<&HeaderValue>) -> &str {
    value.map_or("", |value| value.to_str().unwrap())
}
