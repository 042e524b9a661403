use bytes::{Bytes, BytesMut};

use super::conn::{announce_chunks, announce_length};
use super::encode::Kind;
use super::inbound::{HeadBlock, Inbound};
use super::{
    BodyEncoder, BodySize, Error, Event, Framing, Limits, RequestHead, ResponseHead, Version,
};

/// Most 1xx heads a client skips before a final one.
const MAX_INTERIM: u8 = 16;

/// Client side of one connection: requests out, responses in, one after the other.
///
/// A response may come before its request was written in full; it is then final, and the
/// connection cannot be used again.
#[derive(Debug)]
pub struct ClientConn {
    inbound: Inbound,
    method: String,
    interim_left: u8,
    sent: bool,
    keep_alive: bool,
}

impl ClientConn {
    /// A connection that is ready for its first request.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            inbound: Inbound::new(limits),
            method: String::new(),
            interim_left: 0,
            sent: true,
            keep_alive: true,
        }
    }

    /// Takes bytes that were received.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.inbound.buffer_mut().extend_from_slice(bytes);
    }

    /// Where received bytes can be appended directly.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        self.inbound.buffer_mut()
    }

    /// Notes that the peer will send no more bytes.
    pub fn feed_eof(&mut self) {
        self.inbound.feed_eof();
    }

    /// Whether the peer will send no more bytes.
    #[must_use]
    pub fn is_eof(&self) -> bool {
        self.inbound.is_eof()
    }

    /// Appends the head of a request to `out` and gives the encoder for its body. After the
    /// end of the body, call [`ClientConn::request_sent`].
    ///
    /// # Errors
    /// [`Error::WrongState`] when the connection [is not reusable](Self::is_reusable); a
    /// start line or field that cannot stand on the wire.
    pub fn request(
        &mut self,
        head: &RequestHead,
        size: BodySize,
        out: &mut Vec<u8>,
    ) -> Result<BodyEncoder, Error> {
        if !self.is_reusable() {
            return Err(Error::WrongState(
                "the connection cannot take another request",
            ));
        }
        head.write(out)?;
        let kind = match size {
            BodySize::None => Kind::Length(0),
            BodySize::Known(length) => announce_length(length, out),
            BodySize::Unknown => announce_chunks(out),
        };
        out.extend_from_slice(b"\r\n");
        head.method().clone_into(&mut self.method);
        self.sent = false;
        self.interim_left = MAX_INTERIM;
        self.keep_alive = !head.headers().lists("Connection", "close");
        self.inbound.expect_head();
        Ok(BodyEncoder::new(kind))
    }

    /// Notes that the request was written to its end.
    pub fn request_sent(&mut self) {
        self.sent = true;
    }

    /// The next event; `None` when more bytes are needed, or when no response is expected.
    ///
    /// # Errors
    /// Anything that is not a well-formed response, [`Error::ClosedBeforeResponse`],
    /// [`Error::Truncated`]. Nothing more is read after an error.
    pub fn poll_event(&mut self) -> Result<Option<Event<ResponseHead>>, Error> {
        if !self.inbound.is_reading_head() {
            return Ok(self.inbound.poll_body()?.map(Event::from));
        }
        let result = match self.inbound.poll_head()? {
            HeadBlock::Partial => return Ok(None),
            HeadBlock::Closed => Err(Error::ClosedBeforeResponse),
            HeadBlock::Block(block) => self.accept(&block),
        };
        self.inbound.check(result).map(Some)
    }

    fn accept(&mut self, block: &[u8]) -> Result<Event<ResponseHead>, Error> {
        let head = ResponseHead::parse(block, self.inbound.limits().fields)?;
        if head.is_interim() {
            self.interim_left = self
                .interim_left
                .checked_sub(1)
                .ok_or(Error::MalformedHead {
                    reason: "too many interim responses",
                })?;
            self.inbound.expect_head();
            return Ok(Event::Interim(head.status()));
        }
        if head.status() == 101 {
            self.inbound.switch();
            return Ok(Event::Head(head));
        }
        let framing = Framing::of_response(&head, &self.method)?;
        self.keep_alive &= head.version() == Version::HTTP_11
            && !head.headers().lists("Connection", "close")
            && framing != Framing::UntilClose;
        self.inbound.expect_body(framing);
        Ok(Event::Head(head))
    }

    /// Whether the connection can take a request now: the last exchange is complete in both
    /// directions, both sides keep the connection alive, and nothing unasked was received.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.inbound.is_idle()
            && self.sent
            && self.keep_alive
            && !self.inbound.is_eof()
            && self.inbound.buffered() == 0
    }

    /// Whether the response was read to its end.
    #[must_use]
    pub fn is_response_read(&self) -> bool {
        self.inbound.is_idle()
    }

    /// Whether events can still come from received bytes: false while no response is
    /// expected, after a 101, and after an error.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.inbound.is_reading()
    }

    /// Whether a 101 ended HTTP on this connection.
    #[must_use]
    pub fn is_switched(&self) -> bool {
        self.inbound.is_switched()
    }

    /// Takes the received bytes that no event consumed: after a 101 they are the first
    /// bytes of the other protocol.
    pub fn take_leftover(&mut self) -> Bytes {
        self.inbound.buffer_mut().split().freeze()
    }
}
