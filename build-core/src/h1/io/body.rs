use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::Error;
use crate::h1::{self, Headers};

/// A message body that arrives piece by piece.
pub trait Body {
    /// The next piece; `None` at the end of the body, again and again.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>>;

    /// The trailers, once the end was reached; empty before and when there are none.
    fn trailers(&self) -> &Headers;

    /// The next piece; `None` at the end of the body. Pieces are what arrived, not the
    /// sender's chunks.
    ///
    /// # Errors
    /// The stream fails or ends too early, or the framing is broken.
    ///
    /// # Cancel safety
    /// A dropped future has lost nothing.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send
    where
        Self: Send,
    {
        poll_fn(|cx| self.poll_chunk(cx))
    }

    /// The whole rest of the body, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Body::chunk`], and [`h1::Error::BodyTooLarge`].
    ///
    /// # Cancel safety
    /// A dropped future has lost the pieces it had taken.
    fn read_all(&mut self, limit: u64) -> impl Future<Output = Result<Bytes, Error>> + Send
    where
        Self: Send,
    {
        async move {
            let mut all = BytesMut::new();
            while let Some(piece) = self.chunk().await? {
                if (all.len() + piece.len()) as u64 > limit {
                    return Err(h1::Error::BodyTooLarge { limit }.into());
                }
                all.extend_from_slice(&piece);
            }
            Ok(all.freeze())
        }
    }

    /// The body as a reader.
    fn reader(&mut self) -> BodyReader<'_, Self>
    where
        Self: Sized,
    {
        BodyReader {
            body: self,
            piece: Bytes::new(),
        }
    }
}

/// A body as an [`AsyncRead`]; see [`Body::reader`].
#[derive(Debug)]
pub struct BodyReader<'b, B> {
    body: &'b mut B,
    piece: Bytes,
}

impl<B: Body> AsyncRead for BodyReader<'_, B> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.piece.is_empty() {
            this.piece = ready!(this.body.poll_chunk(cx))
                .map_err(io::Error::from)?
                .unwrap_or_default();
        }
        let count = this.piece.len().min(buf.remaining());
        buf.put_slice(&this.piece[..count]);
        this.piece.advance(count);
        Poll::Ready(Ok(()))
    }
}
