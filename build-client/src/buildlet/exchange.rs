//! One request and its reply.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use build_core::buildlet::ByteStream;
use build_core::h1::io::{Body as _, Client, Flow};
use build_core::h1::{self, BodySize, RequestHead, ResponseHead};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::timeout;

use super::connections::{Connections, Taken};
use crate::transport::Connection;
use crate::{Error, ErrorKind, Result};

/// How much of a refusal is shown.
const REFUSAL_BYTES: usize = 4096;

/// A request to be sent.
pub(super) struct Request {
    pub(super) head: RequestHead,
    pub(super) body: Body,
    /// Sending it twice is as good as once.
    pub(super) repeatable: bool,
    /// Longest wait for the head of the reply, from the beginning.
    pub(super) limit: Option<Duration>,
}

pub(super) enum Body {
    None,
    Whole(Vec<u8>),
    Pieces(ByteStream),
}

/// The head of a reply, and its body to come.
pub(super) struct Reply {
    head: ResponseHead,
    /// Given back when the body has been read.
    client: Option<Client<Connection>>,
    trailers: h1::Headers,
    connections: Arc<Connections>,
}

/// Sends a request and waits for the head of a reply of any status.
pub(super) async fn send(connections: &Arc<Connections>, request: Request) -> Result<Reply> {
    let what = format!("{} {}", request.head.method(), request.head.path());
    let limit = request.limit;
    let sent = async {
        let (head, client) = send_on_some(connections, request).await?;
        Ok(Reply {
            head,
            client: Some(client),
            trailers: h1::Headers::new(),
            connections: Arc::clone(connections),
        })
    };
    let result = match limit {
        None => sent.await,
        Some(limit) => timeout(limit, sent)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::TimedOut, "no answer in time"))),
    };
    result.map_err(|error: Error| error.while_doing(what))
}

async fn send_on_some(
    connections: &Connections,
    request: Request,
) -> Result<(ResponseHead, Client<Connection>)> {
    let taken = connections
        .take(request.repeatable)
        .await
        .map_err(|e| unreachable(connections, e))?;
    let Taken { mut client, reused } = taken;
    let whole = match request.body {
        Body::Pieces(pieces) => {
            return Ok((upload(&mut client, &request.head, pieces).await?, client));
        }
        Body::Whole(bytes) => Some(bytes),
        Body::None => None,
    };
    match send_whole(&mut client, &request.head, whole.as_deref()).await {
        Err(error) if reused && request.repeatable && is_stale(&error) => {
            client = connections
                .make()
                .await
                .map_err(|e| unreachable(connections, e))?
                .client;
            let head = send_whole(&mut client, &request.head, whole.as_deref()).await;
            Ok((head.map_err(broken)?, client))
        }
        result => Ok((result.map_err(broken)?, client)),
    }
}

async fn send_whole(
    client: &mut Client<Connection>,
    head: &RequestHead,
    body: Option<&[u8]>,
) -> Result<ResponseHead, h1::io::Error> {
    Ok(client.send(head, body).await?.head().clone())
}

/// Sends a body as it comes. A reply that comes first ends the sending.
async fn upload(
    client: &mut Client<Connection>,
    head: &RequestHead,
    mut pieces: ByteStream,
) -> Result<ResponseHead> {
    let mut writer = client
        .start(head, BodySize::Unknown)
        .await
        .map_err(broken)?;
    loop {
        let piece = tokio::select! {
            piece = pieces.next() => piece,
            answered = writer.answered() => {
                answered.map_err(broken)?;
                return Ok(writer.response().await.map_err(broken)?.head().clone());
            }
        };
        let Some(piece) = piece else {
            return Ok(writer.finish().await.map_err(broken)?.head().clone());
        };
        // The caller's own stream failed: its error tells more than any of ours.
        let piece = piece?;
        if writer.write(&piece).await.map_err(broken)? == Flow::Answered {
            return Ok(writer.response().await.map_err(broken)?.head().clone());
        }
    }
}

impl Reply {
    pub(super) fn status(&self) -> u16 {
        self.head.status()
    }

    /// The trailers, once the body has ended.
    pub(super) fn trailers(&self) -> &h1::Headers {
        &self.trailers
    }

    /// # Errors
    /// The reply's own words, unless its status is 200.
    pub(super) async fn expect_ok(mut self) -> Result<Self> {
        if self.status() == 200 {
            return Ok(self);
        }
        let mut text = Vec::new();
        while text.len() < REFUSAL_BYTES {
            match self.chunk().await {
                Ok(Some(piece)) => text.extend_from_slice(&piece),
                // A refusal that is cut off is a refusal all the same.
                Ok(None) | Err(_) => break,
            }
        }
        text.truncate(REFUSAL_BYTES);
        Err(refusal(
            &self.head,
            String::from_utf8_lossy(&text).trim_end(),
        ))
    }

    /// The whole body, at most `limit` bytes.
    pub(super) async fn bytes(mut self, limit: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.chunk().await? {
            if all.len() + piece.len() > limit {
                let context = format!("answer exceeds {limit} bytes");
                return Err(Error::new(ErrorKind::Limit, context));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// The whole body, when only its end matters.
    pub(super) async fn finish(self) -> Result<()> {
        self.bytes(REFUSAL_BYTES).await.map(drop)
    }

    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The next piece of the body. At its end the connection goes back to the others.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let Some(client) = &mut self.client else {
            return Poll::Ready(Ok(None));
        };
        let piece = ready!(client.poll_chunk(cx));
        match piece {
            Ok(Some(bytes)) => Poll::Ready(Ok(Some(bytes))),
            Ok(None) => {
                self.trailers = client.trailers().clone();
                if let Some(client) = self.client.take() {
                    self.connections.put_back(client);
                }
                Poll::Ready(Ok(None))
            }
            Err(error) => {
                self.client = None;
                Poll::Ready(Err(broken(error)))
            }
        }
    }
}

/// Nothing of the reply came: the server had closed the idle connection.
fn is_stale(error: &h1::io::Error) -> bool {
    match error {
        h1::io::Error::Io(_) => true,
        other => matches!(other.protocol(), Some(h1::Error::ClosedBeforeResponse)),
    }
}

fn broken(error: h1::io::Error) -> Error {
    Error::caused_by(ErrorKind::Unavailable, "connection failed", error)
}

fn unreachable(connections: &Connections, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::TimedOut => ErrorKind::TimedOut,
        _ => ErrorKind::Unavailable,
    };
    Error::caused_by(
        kind,
        format!("connect to {}", connections.dial().authority()),
        error,
    )
}

/// A status other than 200 as an error, with the text that the Go client shows.
fn refusal(head: &ResponseHead, text: &str) -> Error {
    let context = format!("{}; body: {text}", head.status_text());
    let kind = match head.status() {
        _ if text.contains("no such file or directory") => ErrorKind::NotFound,
        _ if text.contains("no space left on device") => ErrorKind::Limit,
        400 | 422 => ErrorKind::Invalid,
        401 | 403 => ErrorKind::Denied,
        404 if text == "404 page not found" => ErrorKind::Unsupported,
        404 | 410 => ErrorKind::NotFound,
        405 | 501 => ErrorKind::Unsupported,
        409 => ErrorKind::Conflict,
        413 | 507 => ErrorKind::Limit,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, context)
}
