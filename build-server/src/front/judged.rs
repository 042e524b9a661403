//! Heads, read strictly before anybody else reads them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use build_core::foreach;
use build_core::h1::{BodyDecoder, BodyEvent, Framing, RequestHead};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::Limits;

/// Most lines of a head.
const LINES: usize = 128;
/// Read at a time.
const PIECE: usize = 4 * 1024;
/// What the server of pages is given in place of a head that is refused: it answers it with 400
/// and ends the connection, after the answers before it.
const REFUSED: &[u8] = b"\0\r\n\r\n";

/// Why a head is refused.
pub(super) struct Fault {
    pub(super) status: u16,
    pub(super) text: String,
}

impl From<build_core::h1::Error> for Fault {
    fn from(error: build_core::h1::Error) -> Self {
        Self {
            status: error.status(),
            text: error.to_string(),
        }
    }
}

/// Reads the head at the front of `received`, and says how long it is; `None` when its end has
/// not arrived.
pub(super) fn judge(
    received: &[u8],
    limits: &Limits,
) -> Result<Option<(RequestHead, usize)>, Fault> {
    if received.is_empty() {
        return Ok(None);
    }
    let line_bytes = limits.line_bytes;
    let strict = build_core::h1::Limits::default().with_head_bytes(limits.head_bytes);
    let head = RequestHead::peek(received, &strict)?;
    let end = received.windows(4).position(|four| four == b"\r\n\r\n");
    let lines = &received[..end.unwrap_or(received.len())];
    let mut count = 0;
    let fits = |line: &[u8]| {
        count += 1;
        (line.len() <= line_bytes && count <= LINES)
            .then_some(())
            .ok_or(())
    };
    if foreach::line(lines, fits).is_err() {
        return Err(Fault {
            status: 431,
            text: format!(
                "a line of the head has more than {line_bytes} bytes, or it has more than {LINES} lines"
            ),
        });
    }
    let (Some(head), Some(end)) = (head, end) else {
        return Ok(None);
    };
    Framing::of_request(&head)?;
    let text = match head.headers().get_all("Host").count() {
        0 => "missing required Host header",
        1 => return Ok(Some((head, end + 4))),
        _ => "more than one Host line",
    };
    Err(Fault {
        status: 400,
        text: text.into(),
    })
}

/// The requests of a connection, each judged before its first byte is given out.
pub(super) struct Judged<I> {
    io: I,
    limits: Limits,
    state: State,
    /// Read, and not looked at yet.
    received: BytesMut,
    /// How much of a head was looked at without finding its end.
    seen: usize,
    /// Looked at, and to be given out.
    fine: Bytes,
    /// Whether the connection is another protocol's by now.
    switched: Arc<AtomicBool>,
}

enum State {
    Head,
    Length(u64),
    Chunked(Box<BodyDecoder>),
    /// Nothing more comes.
    Over,
}

impl<I> Judged<I> {
    /// Requests of `io`; once `switched` is true, bytes are given out as they come.
    pub(super) fn new(io: I, limits: Limits, switched: Arc<AtomicBool>) -> Self {
        Self {
            io,
            limits,
            state: State::Head,
            received: BytesMut::new(),
            seen: 0,
            fine: Bytes::new(),
            switched,
        }
    }

    /// Takes what can be given out from what was received. False: more must come first.
    fn take(&mut self) -> io::Result<bool> {
        if self.switched.load(Ordering::Acquire) {
            self.fine = self.received.split().freeze();
            return Ok(!self.fine.is_empty());
        }
        match &mut self.state {
            State::Head => Ok(self.take_head()),
            State::Length(left) => {
                let all = self.received.len();
                let count = usize::try_from(*left).map_or(all, |left| left.min(all));
                *left -= count as u64;
                let ended = *left == 0;
                self.fine = self.received.split_to(count).freeze();
                if ended {
                    self.state = State::Head;
                }
                Ok(count > 0)
            }
            State::Chunked(decoder) => {
                let mut input = self.received.clone();
                let mut ended = false;
                // The pieces are only counted; the server of pages decodes them again.
                while let Some(event) = decoder.decode(&mut input).map_err(io::Error::other)? {
                    if let BodyEvent::End(_) = event {
                        ended = true;
                        break;
                    }
                }
                let count = self.received.len() - input.len();
                self.fine = self.received.split_to(count).freeze();
                if ended {
                    self.state = State::Head;
                }
                Ok(count > 0)
            }
            State::Over => Ok(false),
        }
    }

    fn take_head(&mut self) -> bool {
        // Old clients send an empty line after a body.
        while self.received.starts_with(b"\r\n") {
            self.received.advance(2);
        }
        // Only the end of a line can be the end of a head: who sends byte by byte costs little.
        let news = &self.received[self.seen.min(self.received.len())..];
        if !news.contains(&b'\n') && news.len() <= self.limits.line_bytes {
            return false;
        }
        self.seen = self.received.len();
        match judge(&self.received, &self.limits) {
            Ok(None) => false,
            Ok(Some((head, end))) => {
                self.seen = 0;
                self.fine = self.received.split_to(end).freeze();
                self.state = match Framing::of_request(&head) {
                    Ok(Framing::Chunked) => {
                        let limits = build_core::h1::Limits::default();
                        State::Chunked(Box::new(BodyDecoder::new(Framing::Chunked, limits)))
                    }
                    Ok(Framing::Length(0)) => State::Head,
                    Ok(Framing::Length(length)) => State::Length(length),
                    _ => State::Over,
                };
                true
            }
            Err(fault) => {
                tracing::debug!(why = fault.text, "a later head of a connection is refused");
                self.received.clear();
                self.fine = Bytes::from_static(REFUSED);
                self.state = State::Over;
                true
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Judged<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.fine.is_empty() {
                let count = this.fine.len().min(buf.remaining());
                buf.put_slice(&this.fine[..count]);
                this.fine.advance(count);
                return Poll::Ready(Ok(()));
            }
            if !this.received.is_empty() && this.take()? {
                continue;
            }
            if matches!(this.state, State::Over) && !this.switched.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
            this.received.reserve(PIECE);
            let io = Pin::new(&mut this.io);
            if ready!(poll_read_buf(io, cx, &mut this.received))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Judged<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
