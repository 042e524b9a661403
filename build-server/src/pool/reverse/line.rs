//! The line to a machine: its connections, while it is there, and the wait while it is not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use build_client::transport::{Connection, Dial};
use build_core::h1::io::Rewind;
use build_core::revdial::io::{Dialer, Ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::front::Stream;

/// A connection that a machine has fetched.
pub(super) type Fetched = Rewind<Stream>;

/// One control connection of a machine, while it lasts.
#[derive(Clone, Debug)]
pub(super) struct Connected {
    pub(super) dialer: Dialer<Fetched>,
    /// Its connections, some of them made ahead.
    pub(super) ready: Ready<Fetched>,
    /// Canceled when it is over: every connection that was made by it then fails.
    pub(super) cut: CancellationToken,
    /// Where the machine connects from.
    pub(super) address: std::net::SocketAddr,
}

/// How a machine is reached, over one control connection after the other.
#[derive(Clone, Debug)]
pub(super) struct Line {
    host: Arc<str>,
    now: watch::Sender<Option<Connected>>,
}

impl Line {
    pub(super) fn new(host: &str) -> Self {
        Self {
            host: host.into(),
            now: watch::Sender::new(None),
        }
    }

    /// Takes another control connection; the one before is over.
    pub(super) fn connect(&self, connected: Connected) {
        if let Some(before) = self.now.send_replace(Some(connected)) {
            before.end();
        }
    }

    /// The control connection, if there is one.
    pub(super) fn connected(&self) -> Option<Connected> {
        self.now.borrow().clone()
    }

    /// Ends a control connection, unless another one has taken its place: whether it was the
    /// last one.
    pub(super) fn disconnect(&self, cut: &CancellationToken) -> bool {
        cut.cancel();
        self.now.send_if_modified(|now| {
            let is_last = now.as_ref().is_some_and(|now| now.cut.is_cancelled());
            if is_last {
                *now = None;
            }
            is_last
        })
    }

    /// Ends what there is.
    pub(super) fn hang_up(&self) {
        if let Some(connected) = self.now.send_replace(None) {
            connected.end();
        }
    }
}

impl Connected {
    fn end(&self) {
        self.cut.cancel();
        self.dialer.close();
    }
}

#[async_trait]
impl Dial for Line {
    /// Waits for the machine when it is away; the caller's deadline ends that.
    async fn dial(&self) -> io::Result<Connection> {
        let mut now = self.now.subscribe();
        let connected = now.wait_for(Option::is_some).await;
        // The sender is in `self`.
        let connected = connected.map_err(io::Error::other)?.clone();
        let Some(connected) = connected else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let stream = connected.ready.dial().await.map_err(io::Error::other)?;
        Ok(Box::new(Cut {
            stream,
            over: Box::pin(connected.cut.cancelled_owned()),
        }))
    }

    fn authority(&self) -> &str {
        &self.host
    }
}

/// A connection that ends with the control connection that it was made by: a machine that comes
/// back has given up everything from before.
struct Cut {
    stream: Fetched,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cut {
    fn poll_over(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.over.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the machine's control connection is over",
            )),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // What has arrived counts.
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => match self.poll_over(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
            ready => ready,
        }
    }
}

impl AsyncWrite for Cut {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_over(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_over(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
