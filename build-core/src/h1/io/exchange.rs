use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};

use super::server::{Progress, Server};
use super::{Body, Duplex, Error, Rewind};
use crate::h1::{self, BodyEncoder, BodySize, Headers, RequestHead, ResponseHead};

/// A request and the duty to answer it. Dropping it unanswered ends the connection.
///
/// The request body is read through [`Body`]; a client that waits for `100 Continue` gets
/// it when the body is first asked for.
#[derive(Debug)]
pub struct Exchange<'c, I> {
    server: &'c mut Server<I>,
    head: RequestHead,
}

impl<'c, I: Duplex> Exchange<'c, I> {
    pub(super) fn new(server: &'c mut Server<I>, head: RequestHead) -> Self {
        Self { server, head }
    }

    /// Request line and fields.
    #[must_use]
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// The stream, for example to ask for the peer's address.
    #[must_use]
    pub fn io(&self) -> &I {
        self.server.io()
    }

    /// Answers with a whole body, head and body in one write. The `Date` field and the
    /// framing are added.
    ///
    /// # Errors
    /// The stream fails, or a field cannot be written.
    ///
    /// # Cancel safety
    /// A dropped future aborts the connection.
    pub async fn respond(self, head: ResponseHead, body: &[u8]) -> Result<(), Error> {
        let mut out = Vec::with_capacity(256 + body.len());
        let size = BodySize::Known(body.len() as u64);
        self.server
            .begin(head, size, &mut out)?
            .encode(body, &mut out)?;
        self.server.send(&out[..]).await?;
        self.server.progress = Progress::Answered;
        Ok(())
    }

    /// Answers with a refusal: plain text, `message` and a line feed.
    ///
    /// # Errors
    /// As [`Exchange::respond`].
    pub async fn refuse(self, status: u16, message: &str) -> Result<(), Error> {
        self.respond(
            ResponseHead::refusal(status),
            format!("{message}\n").as_bytes(),
        )
        .await
    }

    /// Begins an answer whose body follows; the head is flushed before this returns.
    ///
    /// To HTTP/1.0 clients a body of [`BodySize::Unknown`] goes without chunks and without
    /// trailers, ended by closing.
    ///
    /// # Errors
    /// As [`Exchange::respond`].
    ///
    /// # Cancel safety
    /// A dropped future aborts the connection.
    pub async fn start(
        self,
        head: ResponseHead,
        size: BodySize,
    ) -> Result<ResponseWriter<'c, I>, Error> {
        let mut response = self.prepare(head, size)?;
        response.flush().await?;
        Ok(response)
    }

    /// Begins an answer whose head is held back, to go out in one write with what comes
    /// first: a piece of the body, its end, or [`ResponseWriter::flush`]. For answers that
    /// may be complete in no time; see to it that the client does not wait long.
    ///
    /// # Errors
    /// A field cannot be written.
    pub fn prepare(
        self,
        head: ResponseHead,
        size: BodySize,
    ) -> Result<ResponseWriter<'c, I>, Error> {
        let mut held = Vec::with_capacity(256);
        let encoder = self.server.begin(head, size, &mut held)?;
        Ok(ResponseWriter {
            server: self.server,
            encoder,
            held: held.into(),
            broken: false,
        })
    }

    /// Answers with a head that ends HTTP on this connection, usually
    /// `ResponseHead::new(101)`, and flushes it by itself: Go peers lose bytes that arrive
    /// in the same TLS record.
    ///
    /// # Errors
    /// As [`Exchange::respond`]; also when the request body was not read to its end.
    ///
    /// # Cancel safety
    /// A dropped future aborts the connection.
    pub async fn switch_protocols(mut self, head: &ResponseHead) -> Result<Switched<'c, I>, Error> {
        // Ends bodies that are empty anyway.
        if self.server.conn.body_remaining() == Some(0) {
            self.chunk().await?;
        }
        let mut out = Vec::with_capacity(128);
        self.server.conn.switch_protocols(head, &mut out)?;
        self.server.send(&out[..]).await?;
        self.server.progress = Progress::Over;
        Ok(Switched {
            server: self.server,
        })
    }

    /// Waits until the client has closed its side, or the connection fails. Stays pending
    /// while unread body or pipelined bytes fill the buffer.
    ///
    /// # Cancel safety
    /// A dropped future has lost nothing.
    pub async fn closed(&mut self) {
        poll_fn(|cx| self.server.poll_closed(cx)).await;
    }
}

impl<I: Duplex> Body for Exchange<'_, I> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        ready!(self.server.poll_continue(cx))?;
        self.server.poll_body(cx)
    }

    fn trailers(&self) -> &Headers {
        &self.server.trailers
    }
}

/// The body of an answer on its way. Dropping it before [`ResponseWriter::finish`] is the
/// same as [`ResponseWriter::abort`].
#[derive(Debug)]
pub struct ResponseWriter<'c, I> {
    server: &'c mut Server<I>,
    encoder: BodyEncoder,
    /// The head, as long as it was not sent.
    held: Bytes,
    broken: bool,
}

impl<I: Duplex> ResponseWriter<'_, I> {
    /// Whether the head is held back still.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Sends a head that was held back; nothing when it was sent already.
    ///
    /// # Errors
    /// The stream fails.
    ///
    /// # Cancel safety
    /// A dropped future may have sent a part; every later call fails.
    pub async fn flush(&mut self) -> Result<(), Error> {
        if !self.is_held() {
            return Ok(());
        }
        self.check_whole()?;
        let head = std::mem::take(&mut self.held);
        self.broken = true;
        self.server.send(head).await?;
        self.broken = false;
        Ok(())
    }

    /// Sends a piece of the body, as a chunk of its own where the body is chunked, and
    /// flushes it. An empty piece sends nothing.
    ///
    /// # Errors
    /// The stream fails, or the piece exceeds the announced length.
    ///
    /// # Cancel safety
    /// A dropped future may have sent a part; every later call fails.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        self.check_whole()?;
        if data.is_empty() {
            return Ok(());
        }
        let framed = self.encoder.frame(data)?;
        let head = std::mem::take(&mut self.held);
        self.broken = true;
        self.server.send(head.chain(framed)).await?;
        self.broken = false;
        Ok(())
    }

    fn check_whole(&self) -> Result<(), Error> {
        match self.broken {
            true => Err(h1::Error::WrongState("an earlier write was cut off").into()),
            false => Ok(()),
        }
    }

    /// Ends the body. Trailers reach the client only when the body is chunked, whether or
    /// not it announced to take them; name them in the `Trailer` field of the head.
    ///
    /// # Errors
    /// The stream fails, bytes of the announced length are missing, or a trailer cannot be
    /// written.
    ///
    /// # Cancel safety
    /// A dropped future aborts the connection.
    pub async fn finish(self, trailers: &Headers) -> Result<(), Error> {
        self.check_whole()?;
        let mut out = Vec::with_capacity(self.held.len() + 128);
        out.extend_from_slice(&self.held);
        self.encoder.finish(trailers, &mut out)?;
        self.server.send(&out[..]).await?;
        self.server.progress = Progress::Answered;
        Ok(())
    }

    /// Gives the answer up: no other request follows, and the client sees a truncated body
    /// once the server is dropped.
    pub fn abort(self) {
        self.server.progress = Progress::Over;
    }

    /// Waits until the client has closed its side, or the connection fails: to be raced
    /// against the work whose output is sent. Stays pending while unread body or pipelined
    /// bytes fill the buffer; a client that then goes away is noticed by failing writes.
    ///
    /// # Cancel safety
    /// A dropped future has lost nothing.
    pub async fn closed(&mut self) {
        poll_fn(|cx| self.server.poll_closed(cx)).await;
    }
}

/// A connection whose protocol was switched.
///
/// Take the stream from here for as long as the handler runs, or drop this and take it for
/// good with [`Server::into_stream`].
#[derive(Debug)]
#[must_use = "the stream of the new protocol is taken from here or from the server"]
pub struct Switched<'c, I> {
    server: &'c mut Server<I>,
}

impl<'c, I: Duplex> Switched<'c, I> {
    /// The stream; bytes the client sent behind its request come first.
    #[must_use]
    pub fn into_stream(self) -> Rewind<&'c mut I> {
        self.server.borrow_stream()
    }
}
