use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt;

use super::transport::{Room, poll_read_buf, poll_write_all};
use super::{Duplex, Error, Exchange, Rewind};
use crate::clock::{Clock, Timestamp};
use crate::h1::headers::write_field;
use crate::h1::{
    self, BodyEncoder, BodySize, Event, Headers, HostPolicy, Limits, ResponseHead, ServerConn,
};

/// While a response is written, pipelined bytes are taken up to this many; then the end of
/// the stream is noticed by failing writes alone.
const PIPELINE_BYTES: usize = 64 * 1024;

/// Server side of one connection over a stream.
pub struct Server<I> {
    io: I,
    pub(super) conn: ServerConn,
    pub(super) progress: Progress,
    /// Bytes of `100 Continue` still to be written.
    pending: Bytes,
    pub(super) trailers: Headers,
    clock: Option<Arc<dyn Clock>>,
}

/// How far the current exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// No request yet.
    Waiting,
    /// A request was given out, or its answer is being written.
    Open,
    /// The answer was written in full.
    Answered,
    /// Nothing more can happen here.
    Over,
}

impl<I: Duplex> Server<I> {
    /// A connection that waits for its first request.
    #[must_use]
    pub fn new(io: I, limits: Limits) -> Self {
        Self {
            io,
            conn: ServerConn::new(limits),
            progress: Progress::Waiting,
            pending: Bytes::new(),
            trailers: Headers::new(),
            clock: None,
        }
    }

    /// A connection whose first bytes were already read by someone else.
    #[must_use]
    pub fn resume(received: &[u8], io: I, limits: Limits) -> Self {
        let mut server = Self::new(io, limits);
        server.conn.feed(received);
        server
    }

    /// Sets what is demanded of `Host` lines.
    #[must_use]
    pub fn with_host_policy(mut self, policy: HostPolicy) -> Self {
        self.conn = self.conn.with_host_policy(policy);
        self
    }

    /// Sets where the `Date` fields of answers take the time from; without it they have none.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The stream, for example to ask for the peer's address.
    #[must_use]
    pub fn io(&self) -> &I {
        &self.io
    }

    /// Waits for the first byte of the next request; false when the connection is over.
    /// Put the idle limit around this, and a shorter one around [`Server::next`].
    ///
    /// # Errors
    /// As [`Server::next`].
    ///
    /// # Cancel safety
    /// A dropped future has lost nothing.
    pub async fn ready(&mut self) -> Result<bool, Error> {
        if !self.settle().await {
            return Ok(false);
        }
        while self.conn.buffered() == 0 && !self.conn.is_eof() {
            self.fill(Room::Head).await?;
        }
        Ok(self.conn.buffered() > 0)
    }

    /// Waits for the next request; `None` when the connection is over: the peer closed it
    /// between requests, either side asked for its end, the last answer was aborted, or the
    /// protocol was switched.
    ///
    /// What the last handler left unread of its request body is drained first, up to
    /// [`Limits::with_drain_bytes`].
    ///
    /// # Errors
    /// The stream fails, or what came is not a request: it is then answered with the
    /// fitting status before the error is returned, and the connection is over.
    ///
    /// # Cancel safety
    /// A dropped future has lost nothing, except that the answer to a malformed request may
    /// be cut.
    pub async fn next(&mut self) -> Result<Option<Exchange<'_, I>>, Error> {
        if !self.settle().await {
            return Ok(None);
        }
        loop {
            match self.conn.poll_event() {
                Ok(Some(Event::Head(head))) => {
                    self.progress = Progress::Open;
                    self.trailers = Headers::new();
                    return Ok(Some(Exchange::new(self, head)));
                }
                Ok(Some(_)) => {
                    self.progress = Progress::Over;
                    return Ok(None);
                }
                Ok(None) => self.fill(Room::Head).await?,
                Err(error) => return Err(self.reject(error).await),
            }
        }
    }

    /// Ends the connection without losing an answer: closes the sending side, then reads
    /// and drops what the peer still sends until it closes too or `limit` bytes came. A
    /// plain close would make the peer's system discard an answer its program has not read.
    /// Put a limit of about a second around it.
    ///
    /// # Errors
    /// The stream fails.
    pub async fn close(mut self, limit: u64) -> Result<(), Error> {
        self.io.shutdown().await?;
        let mut dropped = 0;
        while !self.conn.is_eof() && dropped < limit {
            dropped += self.conn.take_leftover().len() as u64;
            self.fill(Room::Body).await?;
        }
        Ok(())
    }

    /// Whether an answer switched protocols; the stream is then taken over with
    /// [`Server::into_stream`].
    #[must_use]
    pub fn is_switched(&self) -> bool {
        self.conn.is_switched()
    }

    /// The stream, with the received bytes that no request consumed in front.
    #[must_use]
    pub fn into_stream(mut self) -> Rewind<I> {
        Rewind::new(self.conn.take_leftover(), self.io)
    }

    pub(super) fn borrow_stream(&mut self) -> Rewind<&mut I> {
        Rewind::new(self.conn.take_leftover(), &mut self.io)
    }

    /// Brings the last exchange to its end; false when no other can follow.
    async fn settle(&mut self) -> bool {
        if self.progress == Progress::Answered {
            let another = self.conn.keeps_alive() && self.drain().await && self.conn.next_request();
            self.progress = if another {
                Progress::Waiting
            } else {
                Progress::Over
            };
        }
        self.progress == Progress::Waiting
    }

    /// Reads and drops the rest of a request body; false when it is too long. A failure
    /// only says that no other request follows: the answer to this one was given.
    async fn drain(&mut self) -> bool {
        let mut left = self.conn.limits().drain_bytes;
        loop {
            match poll_fn(|cx| self.poll_body(cx)).await {
                Ok(None) => return true,
                Ok(Some(piece)) if piece.len() as u64 <= left => left -= piece.len() as u64,
                Ok(Some(_)) | Err(_) => return false,
            }
        }
    }

    /// Answers what is not a request.
    async fn reject(&mut self, error: h1::Error) -> Error {
        self.progress = Progress::Over;
        if error == h1::Error::Truncated {
            return error.into();
        }
        let sent = match self.rejection(&error) {
            Ok(answer) => self.send(&answer[..]).await,
            Err(unwritable) => Err(unwritable.into()),
        };
        sent.err().unwrap_or_else(|| error.into())
    }

    /// Begins an answer: appends its head to `out`.
    pub(super) fn begin(
        &mut self,
        mut head: ResponseHead,
        size: BodySize,
        out: &mut Vec<u8>,
    ) -> Result<BodyEncoder, Error> {
        self.date(&mut head);
        Ok(self.conn.respond(&head, size, out)?)
    }

    /// The answer to something that is not a request.
    fn rejection(&self, error: &h1::Error) -> Result<Vec<u8>, h1::Error> {
        let body = format!("{error}\n");
        let mut head = ResponseHead::refusal(error.status()).with("Connection", "close");
        self.date(&mut head);
        let mut out = Vec::new();
        head.write(&mut out)?;
        write_field(
            "Content-Length",
            body.len().to_string().as_bytes(),
            &mut out,
        );
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body.as_bytes());
        Ok(out)
    }

    fn date(&self, head: &mut ResponseHead) {
        if let Some(date) = self.clock.as_ref().and_then(|clock| http_date(clock.now())) {
            head.headers_mut().set("Date", date);
        }
    }

    async fn fill(&mut self, room: Room) -> Result<(), Error> {
        poll_fn(|cx| self.poll_fill(cx, room)).await
    }

    /// Reads once.
    fn poll_fill(&mut self, cx: &mut Context<'_>, room: Room) -> Poll<Result<(), Error>> {
        let count = ready!(poll_read_buf(
            &mut self.io,
            cx,
            self.conn.buffer_mut(),
            room
        ))?;
        if count == 0 {
            self.conn.feed_eof();
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        loop {
            match self.conn.poll_event()? {
                Some(Event::Data(piece)) => return Poll::Ready(Ok(Some(piece))),
                Some(Event::End(trailers)) => self.trailers = trailers,
                _ if !self.conn.is_reading() => return Poll::Ready(Ok(None)),
                _ => ready!(self.poll_fill(cx, Room::Body))?,
            }
        }
    }

    /// Completes when the peer has closed its side.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.conn.is_eof() && self.conn.buffered() < PIPELINE_BYTES {
            if ready!(self.poll_fill(cx, Room::Head)).is_err() {
                return Poll::Ready(());
            }
        }
        if self.conn.is_eof() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Writes `100 Continue` if the client waits for it.
    pub(super) fn poll_continue(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.pending.is_empty() {
            let mut out = Vec::new();
            self.conn.send_continue(&mut out);
            self.pending = out.into();
        }
        if self.pending.is_empty() {
            return Poll::Ready(Ok(()));
        }
        poll_write_all(&mut self.io, cx, &mut self.pending).map_err(Error::from)
    }

    pub(super) async fn send(&mut self, mut data: impl Buf) -> Result<(), Error> {
        Ok(poll_fn(|cx| poll_write_all(&mut self.io, cx, &mut data)).await?)
    }
}

/// `Sun, 22 Nov 2026 14:44:19 GMT`.
fn http_date(now: Timestamp) -> Option<String> {
    let time = jiff::Timestamp::from_second(now.as_seconds()).ok()?;
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .ok()
}

impl<I: fmt::Debug> fmt::Debug for Server<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("io", &self.io)
            .field("conn", &self.conn)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
