use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most slices handed to one vectored write: prefix, data, suffix.
const SLICES: usize = 3;
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
    let start = buf.len();
    if buf.capacity() - start < room / 4 {
        buf.reserve(room);
    }
    let spare = buf.capacity() - start;
    buf.resize(start + spare.min(BODY_ROOM), 0);
    let mut window = ReadBuf::new(&mut buf[start..]);
    let result = Pin::new(io).poll_read(cx, &mut window);
    let count = window.filled().len();
    buf.truncate(start + count);
    result.map_ok(|()| count)
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
