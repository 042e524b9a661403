//! From code that writes, blocking, to a stream of bytes.

use std::io::Write;
use std::time::Duration;

use build_core::buildlet::ByteStream;
use build_core::{Error, ErrorKind, Result};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Bytes handed over at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces under way: what one stream may hold in memory.
const PIECES: usize = 4;

/// The bytes that `work` writes, on a thread that may block. An error of `work`, or a panic, is
/// the stream's last item; when the stream is dropped, `work` gets an error at its next write.
pub(crate) fn stream_of(
    work: impl FnOnce(&mut dyn Write) -> Result<()> + Send + 'static,
) -> ByteStream {
    let (sender, pieces) = mpsc::channel(PIECES);
    let running = tokio::task::spawn_blocking(move || {
        let mut out = Pieces {
            sender,
            piece: BytesMut::new(),
        };
        work(&mut out)?;
        out.flush().map_err(Error::from)
    });
    let state = Reading { pieces, running };
    futures::stream::unfold(Some(state), next).fuse().boxed()
}

/// A stream that ends with an error when nothing comes for `limit` while it is waited for; `held`
/// lives as long as the stream.
pub(super) fn while_it_moves<T: Send + 'static>(
    stream: ByteStream,
    limit: Duration,
    held: T,
) -> ByteStream {
    let state = Some((stream, held));
    let moved = futures::stream::unfold(state, move |state| async move {
        let (mut stream, held) = state?;
        match tokio::time::timeout(limit, stream.next()).await {
            Ok(piece) => Some((piece?, Some((stream, held)))),
            Err(_) => {
                let text = format!("nothing came for {} s", limit.as_secs());
                Some((Err(Error::new(ErrorKind::TimedOut, text)), None))
            }
        }
    });
    moved.fuse().boxed()
}

struct Reading {
    pieces: mpsc::Receiver<Bytes>,
    running: JoinHandle<Result<()>>,
}

async fn next(reading: Option<Reading>) -> Option<(Result<Bytes>, Option<Reading>)> {
    let mut reading = reading?;
    if let Some(piece) = reading.pieces.recv().await {
        return Some((Ok(piece), Some(reading)));
    }
    let ended = reading.running.await;
    let ended = ended.unwrap_or_else(|e| Err(Error::caused_by(ErrorKind::Bug, "pack files", e)));
    Some((Err(ended.err()?), None))
}

struct Pieces {
    sender: mpsc::Sender<Bytes>,
    piece: BytesMut,
}

impl Pieces {
    fn hand_over(&mut self) -> std::io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = self.piece.split().freeze();
        let sent = self.sender.blocking_send(piece);
        sent.map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.hand_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;

    #[tokio::test]
    async fn what_is_written_is_streamed_and_errors_end_it() {
        let stream = stream_of(|out| {
            for n in 0..10_000u32 {
                out.write_all(&n.to_be_bytes())?;
            }
            out.write_all(&vec![7; 2_000_000])?;
            Ok(())
        });
        let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
        assert_eq!(pieces.concat().len(), 2_040_000);

        let broken = stream_of(|out| {
            out.write_all(b"some")?;
            Err(Error::new(ErrorKind::Corrupt, "odd"))
        });
        let error = broken.try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(error.to_string(), "odd");
        let stalled = while_it_moves(futures::stream::pending().boxed(), Duration::ZERO, ());
        let error = stalled.try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let bad: ByteStream = stream_of(|_| panic!("no luck"));
        assert!(bad.try_collect::<Vec<_>>().await.is_err());
    }
}
