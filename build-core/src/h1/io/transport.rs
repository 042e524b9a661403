use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// Most slices handed to one vectored write: a held head, prefix, data, suffix.
const SLICES: usize = 4;
/// Room made for a read: heads are small, and idle connections are many.
const HEAD_ROOM: usize = 4 * 1024;
/// Room made for a read inside a body.
const BODY_ROOM: usize = 64 * 1024;

/// Any stream a connection can run over, as one object-safe name for `Box<dyn Duplex>`.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + ?Sized> Duplex for T {}

/// How much a read is expected to bring.
#[derive(Clone, Copy)]
pub(super) enum Room {
    Head,
    Body,
}

/// Appends what can be read now to `buf`; the count is 0 at the end of the stream.
pub(super) fn poll_read_buf(
    io: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    buf: &mut BytesMut,
    room: Room,
) -> Poll<io::Result<usize>> {
    let room = match room {
        Room::Head => HEAD_ROOM,
        Room::Body => BODY_ROOM,
    };
    if buf.capacity() - buf.len() < room / 4 {
        buf.reserve(room);
    }
    pin!(io.read_buf(buf)).poll(cx)
}

/// Writes all of `data` and flushes; what was written is gone from `data`, so the call can
/// be repeated.
pub(super) fn poll_write_all(
    io: &mut (impl AsyncWrite + Unpin),
    cx: &mut Context<'_>,
    data: &mut impl Buf,
) -> Poll<io::Result<()>> {
    while data.has_remaining() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = data.chunks_vectored(&mut slices);
        let written = if io.is_write_vectored() {
            ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices[..count]))?
        } else {
            ready!(Pin::new(&mut *io).poll_write(cx, data.chunk()))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        data.advance(written);
    }
    Pin::new(io).poll_flush(cx)
}
