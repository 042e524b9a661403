use bytes::{Bytes, BytesMut};

use super::conn::{announce_chunks, announce_length};
use super::encode::Kind;
use super::framing::{check_expectation, check_host, may_have_body};
use super::headers::write_field;
use super::inbound::{HeadBlock, Inbound};
use super::{
    BodyEncoder, BodySize, Error, Event, Framing, HostPolicy, Limits, RequestHead, ResponseHead,
    Version,
};

/// Server side of one connection: requests in, responses out, one after the other.
///
/// Feed received bytes, take events until there are none; write responses with
/// [`ServerConn::respond`] into a buffer that goes to the peer. When the response is
/// written, [`ServerConn::next_request`] lets the next request be read; pipelined bytes
/// wait until then.
///
/// ```
/// use build_core::h1::{BodySize, Event, Limits, ResponseHead, ServerConn};
///
/// let mut conn = ServerConn::new(Limits::default());
/// conn.feed(b"GET /status HTTP/1.1\r\nHost: \r\n\r\n");
/// let Some(Event::Head(request)) = conn.poll_event()? else { panic!() };
/// assert_eq!(request.path(), "/status");
///
/// let mut out = Vec::new();
/// let mut body = conn.respond(&ResponseHead::new(200), BodySize::Known(2), &mut out)?;
/// body.encode(b"{}", &mut out)?;
/// body.finish(&Default::default(), &mut out)?;
/// assert_eq!(out, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
/// # Ok::<(), build_core::h1::Error>(())
/// ```
#[derive(Debug)]
pub struct ServerConn {
    inbound: Inbound,
    host_policy: HostPolicy,
    request: Request,
}

/// What must be remembered of a request until it is answered.
#[derive(Debug)]
struct Request {
    version: Version,
    is_head: bool,
    keep_alive: bool,
    owes_continue: bool,
    answered: bool,
}

impl ServerConn {
    /// A connection that waits for its first request.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let mut inbound = Inbound::new(limits);
        inbound.expect_head();
        let request = Request {
            version: Version::HTTP_11,
            is_head: false,
            keep_alive: true,
            owes_continue: false,
            answered: true,
        };
        Self {
            inbound,
            host_policy: HostPolicy::default(),
            request,
        }
    }

    /// Sets what is demanded of `Host` lines.
    #[must_use]
    pub fn with_host_policy(mut self, policy: HostPolicy) -> Self {
        self.host_policy = policy;
        self
    }

    /// Takes bytes that were received.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.inbound.buffer_mut().extend_from_slice(bytes);
    }

    /// Where received bytes can be appended directly.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        self.inbound.buffer_mut()
    }

    /// How many received bytes wait.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.inbound.buffered()
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

    /// The next event; `None` when more bytes are needed, or when the request was read in
    /// full and waits to be answered.
    ///
    /// # Errors
    /// Anything that is not a well-formed request. Nothing more is read after an error.
    pub fn poll_event(&mut self) -> Result<Option<Event<RequestHead>>, Error> {
        if !self.inbound.is_reading_head() {
            return Ok(self.inbound.poll_body()?.map(Event::from));
        }
        match self.inbound.poll_head()? {
            HeadBlock::Partial => Ok(None),
            HeadBlock::Closed => Ok(Some(Event::Closed)),
            HeadBlock::Block(block) => {
                let result = self.accept(&block);
                self.inbound
                    .check(result)
                    .map(|head| Some(Event::Head(head)))
            }
        }
    }

    fn accept(&mut self, block: &[u8]) -> Result<RequestHead, Error> {
        let head = RequestHead::parse(block, self.inbound.limits().fields)?;
        check_host(&head, self.host_policy)?;
        check_expectation(&head)?;
        let framing = Framing::of_request(&head)?;
        self.inbound.expect_body(framing);
        self.request = Request {
            version: head.version(),
            is_head: head.method() == "HEAD",
            keep_alive: head.version() == Version::HTTP_11
                && !head.headers().lists("Connection", "close"),
            owes_continue: head.expects_continue() && framing != Framing::Length(0),
            answered: false,
        };
        Ok(head)
    }

    /// Appends `100 Continue` if the client waits for it. To be called before the body of
    /// a request is waited for.
    pub fn send_continue(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.request.owes_continue) && !self.request.answered {
            out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// Appends the head of the response to `out` and gives the encoder for its body.
    ///
    /// Adds the framing fields, and `Connection: close` when the connection cannot be used
    /// any further: an HTTP/1.0 client, a client that asked for it or still waits for its
    /// `100 Continue`, or a request body with too much left to drain.
    ///
    /// # Errors
    /// [`Error::WrongState`] without an unanswered request; fields that cannot stand on the
    /// wire.
    pub fn respond(
        &mut self,
        head: &ResponseHead,
        size: BodySize,
        out: &mut Vec<u8>,
    ) -> Result<BodyEncoder, Error> {
        self.mark_answered()?;
        head.write(out)?;
        let kind = self.response_kind(head.status(), size, out);
        self.request.keep_alive &= self.can_continue_after_body()
            && !head.headers().lists("Connection", "close")
            && kind != Kind::UntilClose;
        if !self.request.keep_alive && !head.headers().contains("Connection") {
            write_field("Connection", b"close", out);
        }
        out.extend_from_slice(b"\r\n");
        let kind = if self.request.is_head {
            Kind::Discard
        } else {
            kind
        };
        Ok(BodyEncoder::new(kind))
    }

    fn response_kind(&self, status: u16, size: BodySize, out: &mut Vec<u8>) -> Kind {
        match size {
            _ if !may_have_body(status) => Kind::Discard,
            BodySize::None => announce_length(0, out),
            BodySize::Known(length) => announce_length(length, out),
            BodySize::Unknown if self.request.version == Version::HTTP_11 => announce_chunks(out),
            BodySize::Unknown => Kind::UntilClose,
        }
    }

    fn can_continue_after_body(&self) -> bool {
        let drainable = self.inbound.limits().drain_bytes;
        !self.request.owes_continue && self.inbound.body_remaining().unwrap_or(0) <= drainable
    }

    fn mark_answered(&mut self) -> Result<(), Error> {
        if self.request.answered {
            return Err(Error::WrongState("no request waits for an answer"));
        }
        self.request.answered = true;
        Ok(())
    }

    /// Appends a head that ends HTTP on this connection, usually
    /// `ResponseHead::new(101)`. Bytes the client sent behind its request are kept for
    /// [`ServerConn::take_leftover`].
    ///
    /// # Errors
    /// As [`ServerConn::respond`]; also when the request body was not read to its end.
    pub fn switch_protocols(
        &mut self,
        head: &ResponseHead,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if !self.inbound.is_idle() {
            return Err(Error::WrongState("the request body is not read"));
        }
        self.mark_answered()?;
        head.write(out)?;
        out.extend_from_slice(b"\r\n");
        self.inbound.switch();
        Ok(())
    }

    /// Lets the next request be read, once the current one is read and answered in full.
    /// False when the connection must be closed instead.
    pub fn next_request(&mut self) -> bool {
        let ready = self.request.answered && self.request.keep_alive && self.inbound.is_idle();
        if ready {
            self.inbound.expect_head();
        }
        ready
    }

    /// Whether the connection is to stay open after the current response, as far as is
    /// known now.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        self.request.keep_alive
    }

    /// Whether the body of the current request was read to its end.
    #[must_use]
    pub fn is_body_read(&self) -> bool {
        self.inbound.is_idle()
    }

    /// Whether events can still come from received bytes: false while a request that was
    /// read in full waits for its answer, after a switch, and after an error.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.inbound.is_reading()
    }

    /// Bytes of the request body that no event gave out yet, where that is known.
    #[must_use]
    pub fn body_remaining(&self) -> Option<u64> {
        self.inbound.body_remaining()
    }

    /// Whether [`ServerConn::switch_protocols`] was called.
    #[must_use]
    pub fn is_switched(&self) -> bool {
        self.inbound.is_switched()
    }

    /// Takes the received bytes that no event consumed: after a switch they are the first
    /// bytes of the other protocol.
    pub fn take_leftover(&mut self) -> Bytes {
        self.inbound.buffer_mut().split().freeze()
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.inbound.limits()
    }
}
