//! Bodies that are handed on while they arrive.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use build_core::buildlet::ExecEvent;
use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;

use super::exchange::Reply;
use super::link::Link;
use super::requests;
use crate::{Error, ErrorKind, Result};

/// A reply that ends early when the buildlet dies.
pub(super) struct Guarded {
    reply: Reply,
    link: Arc<Link>,
    death: BoxFuture<'static, Error>,
}

impl Guarded {
    pub(super) fn new(reply: Reply, link: Arc<Link>) -> Self {
        let watched = Arc::clone(&link);
        let death = Box::pin(async move { watched.until_dead().await });
        Self { reply, link, death }
    }

    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        match self.reply.poll_chunk(cx) {
            Poll::Ready(result) => {
                Poll::Ready(result.map_err(|e| e.while_doing(self.link.name().to_owned())))
            }
            Poll::Pending => self.death.as_mut().poll(cx).map(Err),
        }
    }

    /// How the command ended, by the reply's trailers.
    ///
    /// # Errors
    /// Without that trailer nobody knows: the machine failed, not the command.
    pub(super) fn outcome(&self) -> Result<ExecEvent> {
        match requests::outcome(self.reply.trailers()) {
            Some(outcome) => Ok(ExecEvent::Ended(outcome)),
            None => Err(Error::new(
                ErrorKind::Unavailable,
                format!("{}: missing Process-State trailer", self.link.name()),
            )),
        }
    }
}

/// The output of a command that ends with its connection.
pub(super) struct Output {
    guarded: Option<Guarded>,
}

impl Output {
    pub(super) fn new(reply: Reply, link: Arc<Link>) -> Self {
        Self {
            guarded: Some(Guarded::new(reply, link)),
        }
    }
}

impl Stream for Output {
    type Item = Result<ExecEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(guarded) = &mut self.guarded else {
            return Poll::Ready(None);
        };
        let event = match guarded.poll_chunk(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(Some(bytes))) => return Poll::Ready(Some(Ok(ExecEvent::Output(bytes)))),
            Poll::Ready(Ok(None)) => guarded.outcome(),
            Poll::Ready(Err(error)) => Err(error),
        };
        if let Err(error) = &event {
            let cause = format!("lost the output of a command: {}", error.chain());
            guarded
                .link
                .give_up(Error::new(ErrorKind::Unavailable, cause));
        }
        self.guarded = None;
        Poll::Ready(Some(event))
    }
}

/// A body that is all there is to a reply.
pub(super) struct Download {
    guarded: Option<Guarded>,
}

impl Download {
    pub(super) fn new(reply: Reply, link: Arc<Link>) -> Self {
        Self {
            guarded: Some(Guarded::new(reply, link)),
        }
    }
}

impl Stream for Download {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(guarded) = &mut self.guarded else {
            return Poll::Ready(None);
        };
        let piece = match guarded.poll_chunk(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(piece) => piece.transpose(),
        };
        if !matches!(piece, Some(Ok(_))) {
            self.guarded = None;
        }
        Poll::Ready(piece)
    }
}
