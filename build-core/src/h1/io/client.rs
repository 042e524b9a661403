use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};

use super::transport::{Room, poll_read_buf, poll_write_all};
use super::{Body, Duplex, Error, Rewind};
use crate::h1::{
    self, BodyEncoder, BodySize, ClientConn, Event, Headers, Limits, RequestHead, ResponseHead,
};

/// Client side of one connection over a stream.
#[derive(Debug)]
pub struct Client<I> {
    io: I,
    conn: ClientConn,
    /// The final response head, once it was received.
    head: Option<ResponseHead>,
    /// Whether `100 Continue` came for the current request.
    continued: bool,
    /// A write was cut off: the peer waits for bytes that nobody will send.
    broken: bool,
    trailers: Headers,
}

/// How sending a request body goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The server takes more.
    Continue,
    /// The final response is there; the rest of the body has no reader.
    Answered,
}

impl<I: Duplex> Client<I> {
    /// A connection that is ready for its first request.
    #[must_use]
    pub fn new(io: I, limits: Limits) -> Self {
        Self {
            io,
            conn: ClientConn::new(limits),
            head: None,
            continued: false,
            broken: false,
            trailers: Headers::new(),
        }
    }

    /// Sends a request with a whole body (`None`: no body and no length field) and waits
    /// for the head of the response.
    ///
    /// # Errors
    /// The stream fails, the server answers something else than HTTP, a field cannot be
    /// written, or the connection [is not reusable](Self::is_reusable).
    /// [`h1::Error::ClosedBeforeResponse`] on a reused connection means that the server had
    /// closed it meanwhile: send the request again on a new one.
    ///
    /// # Cancel safety
    /// A dropped future leaves the connection unusable.
    pub async fn send(
        &mut self,
        head: &RequestHead,
        body: Option<&[u8]>,
    ) -> Result<Response<'_, I>, Error> {
        let size = body.map_or(BodySize::None, |body| BodySize::Known(body.len() as u64));
        let mut out = Vec::new();
        self.begin(head, size, &mut out)?
            .encode(body.unwrap_or_default(), &mut out)?;
        self.transmit(&out[..]).await?;
        self.conn.request_sent();
        self.response().await
    }

    /// Sends the head of a request whose body follows.
    ///
    /// # Errors
    /// As [`Client::send`].
    ///
    /// # Cancel safety
    /// A dropped future leaves the connection unusable.
    pub async fn start(
        &mut self,
        head: &RequestHead,
        size: BodySize,
    ) -> Result<RequestWriter<'_, I>, Error> {
        let mut out = Vec::new();
        let encoder = self.begin(head, size, &mut out)?;
        self.transmit(&out[..]).await?;
        Ok(RequestWriter {
            client: self,
            encoder,
        })
    }

    /// Whether the connection can take a request now. False after anything irregular: an
    /// early response, an unread body, an error, a dropped future, `Connection: close`.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        !self.broken && self.conn.is_reusable()
    }

    /// Waits until the server closes the idle connection (or sends unasked bytes): a pool
    /// races this against the next request.
    ///
    /// # Cancel safety
    /// A dropped future has lost nothing.
    pub async fn closed(&mut self) {
        while self.is_reusable() {
            if poll_fn(|cx| self.poll_fill(cx, Room::Head)).await.is_err() {
                self.broken = true;
            }
        }
    }

    /// The stream, for example to ask for the peer's address.
    #[must_use]
    pub fn io(&self) -> &I {
        &self.io
    }

    /// Whether a 101 ended HTTP on this connection; the stream is then taken over with
    /// [`Client::into_stream`].
    #[must_use]
    pub fn is_switched(&self) -> bool {
        self.conn.is_switched()
    }

    /// The stream, with the received bytes that no response consumed in front.
    #[must_use]
    pub fn into_stream(mut self) -> Rewind<I> {
        Rewind::new(self.conn.take_leftover(), self.io)
    }

    fn begin(
        &mut self,
        head: &RequestHead,
        size: BodySize,
        out: &mut Vec<u8>,
    ) -> Result<BodyEncoder, Error> {
        if self.broken {
            return Err(h1::Error::WrongState("an earlier exchange was cut off").into());
        }
        let encoder = self.conn.request(head, size, out)?;
        (self.head, self.continued, self.trailers) = (None, false, Headers::new());
        Ok(encoder)
    }

    /// Writes everything, unless the final response comes first.
    async fn transmit(&mut self, mut data: impl Buf) -> Result<Flow, Error> {
        self.broken = true;
        let flow = poll_fn(|cx| self.poll_transmit(cx, &mut data)).await?;
        self.broken = flow == Flow::Answered;
        Ok(flow)
    }

    fn poll_transmit(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut impl Buf,
    ) -> Poll<Result<Flow, Error>> {
        // What is handed over in full was sent, however early the answer to it came.
        if data.has_remaining()
            && let Poll::Ready(answer) = self.poll_answer(cx)
        {
            return Poll::Ready(answer.map(|()| Flow::Answered));
        }
        match poll_write_all(&mut self.io, cx, data) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Flow::Continue)),
            Poll::Pending => self.poll_answer(cx).map_ok(|()| Flow::Answered),
            // A server that answers early and closes resets the stream: its answer may
            // have arrived nevertheless.
            Poll::Ready(Err(error)) => match self.poll_answer(cx) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(Flow::Answered)),
                _ => Poll::Ready(Err(error.into())),
            },
        }
    }

    /// Completes when the final response head is there.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while self.head.is_none() {
            match self.conn.poll_event()? {
                Some(Event::Head(head)) => self.head = Some(head),
                Some(Event::Interim(status)) => self.continued |= status == 100,
                _ => ready!(self.poll_fill(cx, Room::Head))?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_go_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Result<Flow, Error>> {
        match self.poll_answer(cx)? {
            Poll::Ready(()) => Poll::Ready(Ok(Flow::Answered)),
            Poll::Pending if self.continued => Poll::Ready(Ok(Flow::Continue)),
            Poll::Pending => Poll::Pending,
        }
    }

    async fn response(&mut self) -> Result<Response<'_, I>, Error> {
        poll_fn(|cx| self.poll_answer(cx)).await?;
        let head = self
            .head
            .take()
            .ok_or(h1::Error::WrongState("no response is expected"))?;
        Ok(Response { client: self, head })
    }

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

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        loop {
            match self.conn.poll_event()? {
                Some(Event::Data(piece)) => return Poll::Ready(Ok(Some(piece))),
                Some(Event::End(trailers)) => self.trailers = trailers,
                _ if !self.conn.is_reading() => return Poll::Ready(Ok(None)),
                _ => ready!(self.poll_fill(cx, Room::Body))?,
            }
        }
    }
}

/// The body of a request on its way.
#[derive(Debug)]
pub struct RequestWriter<'c, I> {
    client: &'c mut Client<I>,
    encoder: BodyEncoder,
}

impl<'c, I: Duplex> RequestWriter<'c, I> {
    /// Sends a piece of the body and flushes it, unless the server gives its final response
    /// first: then the rest is pointless; go on with [`RequestWriter::response`].
    ///
    /// # Errors
    /// The stream fails, or the piece exceeds the announced length.
    ///
    /// # Cancel safety
    /// A dropped future leaves the connection unusable.
    pub async fn write(&mut self, data: &[u8]) -> Result<Flow, Error> {
        let framed = self.encoder.frame(data)?;
        self.client.transmit(framed).await
    }

    /// Waits for the final response while there is nothing to write.
    ///
    /// # Errors
    /// The stream fails, or what comes is not a response.
    ///
    /// # Cancel safety
    /// A dropped future has lost nothing.
    pub async fn answered(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.client.poll_answer(cx)).await
    }

    /// Waits for `100 Continue`, after a head with `Expect: 100-continue`. Servers may
    /// ignore that field: send the body after about a second all the same.
    ///
    /// # Errors
    /// As [`RequestWriter::answered`].
    ///
    /// # Cancel safety
    /// A dropped future has lost nothing.
    pub async fn go_ahead(&mut self) -> Result<Flow, Error> {
        poll_fn(|cx| self.client.poll_go_ahead(cx)).await
    }

    /// Ends the body and waits for the head of the response.
    ///
    /// # Errors
    /// As [`Client::send`]; also when bytes of the announced length are missing.
    ///
    /// # Cancel safety
    /// A dropped future leaves the connection unusable.
    pub async fn finish(self) -> Result<Response<'c, I>, Error> {
        let mut out = Vec::new();
        self.encoder.finish(&Headers::new(), &mut out)?;
        if self.client.transmit(&out[..]).await? == Flow::Continue {
            self.client.conn.request_sent();
        }
        self.client.response().await
    }

    /// Gives up the rest of the body and waits for the head of the response.
    ///
    /// # Errors
    /// As [`RequestWriter::answered`].
    ///
    /// # Cancel safety
    /// A dropped future leaves the connection unusable.
    pub async fn response(self) -> Result<Response<'c, I>, Error> {
        self.client.broken = true;
        self.client.response().await
    }
}

/// The head of a response, and its body through [`Body`]. When it is dropped before the end
/// of the body, the rest is read through the [`Client`]; until then the connection takes no
/// other request.
#[derive(Debug)]
pub struct Response<'c, I> {
    client: &'c mut Client<I>,
    head: ResponseHead,
}

impl<'c, I: Duplex> Response<'c, I> {
    /// Status line and fields.
    #[must_use]
    pub fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// After a 101: the stream; bytes the server sent behind its head come first. `None`
    /// for every other response. To own the stream, drop this and use
    /// [`Client::into_stream`].
    #[must_use]
    pub fn into_stream(self) -> Option<Rewind<&'c mut I>> {
        if !self.client.conn.is_switched() {
            return None;
        }
        Some(Rewind::new(
            self.client.conn.take_leftover(),
            &mut self.client.io,
        ))
    }
}

/// The body of the response whose head was given last, for those who own the connection
/// while the body arrives.
impl<I: Duplex> Body for Client<I> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        self.poll_body(cx)
    }

    fn trailers(&self) -> &Headers {
        &self.trailers
    }
}

impl<I: Duplex> Body for Response<'_, I> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        self.client.poll_body(cx)
    }

    fn trailers(&self) -> &Headers {
        &self.client.trailers
    }
}
