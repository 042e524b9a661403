//! Bodies for code that blocks: a reader and a writer over bounded channels.

use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

use build_core::h1::io::Body;
use build_core::h1::{BodySize, Headers, ResponseHead};
use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::answer::{Lost, Refusal};
use super::routes::{Request, refuse};
use crate::supervise::{Supervisor, Task};

/// Pieces on their way between the two sides: with pieces of 64 KiB a megabyte.
const PIECES: usize = 16;
/// Bytes collected before they are handed over as one piece.
const PIECE_BYTES: usize = 64 << 10;

/// How long a client may neither send nor take a byte before it counts as gone.
pub(crate) const STALL: Duration = Duration::from_secs(600);

/// The blocking end of a request body.
pub(crate) struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl BufRead for BodyReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(next) => self.piece = next?,
                None => break,
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, count: usize) {
        self.piece.advance(count);
    }
}

impl Read for BodyReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.len().min(buf.len());
        buf[..count].copy_from_slice(&self.piece[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Runs `work` on a body, on a thread that may block. It can end before the body
/// does. A body that is cut off reaches it as an error, not as an end.
pub(crate) async fn consume<T: Send + 'static>(
    supervisor: &Supervisor,
    name: &str,
    body: &mut (impl Body + Send),
    work: impl FnOnce(BodyReader) -> T + Send + 'static,
) -> Result<T, Lost> {
    let (sender, pieces) = mpsc::channel(PIECES);
    let reader = BodyReader {
        pieces,
        piece: Bytes::new(),
    };
    let task = supervisor.spawn_blocking(name, move || work(reader));
    loop {
        let piece = tokio::select! {
            piece = timeout(STALL, body.chunk()) => piece,
            () = sender.closed() => break,
            // Half a body must not be taken for a whole one.
            () = supervisor.token().cancelled() => Ok(Err(ending().into())),
        };
        let stalled = |_| Err(io::ErrorKind::TimedOut.into());
        let piece = piece
            .map_or_else(stalled, |piece| piece.map_err(io::Error::from))
            .transpose();
        let Some(piece) = piece else { break };
        let cut_off = piece.is_err();
        // A receiver that is gone has seen enough.
        if sender.send(piece).await.is_err() || cut_off {
            break;
        }
    }
    drop(sender);
    task.await.map_err(|_| Lost)
}

fn ending() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the buildlet ends")
}

/// The blocking end of a response body.
pub(crate) struct BodyWriter {
    pieces: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
}

impl Write for BodyWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES.saturating_sub(self.piece.len());
        let count = buf.len().min(room.max(1));
        self.piece.extend_from_slice(&buf[..count]);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody waits for the answer");
        self.pieces.blocking_send(piece.into()).map_err(gone)
    }
}

/// A body that is produced on a thread that may block.
pub(crate) struct Produced<T> {
    pieces: mpsc::Receiver<Bytes>,
    task: Task<T>,
}

/// Runs `work`, which writes a body. It gets an error when nobody takes the body any more.
pub(crate) fn produce_body<T: Send + 'static>(
    supervisor: &Supervisor,
    name: &str,
    work: impl FnOnce(&mut BodyWriter) -> T + Send + 'static,
) -> Produced<T> {
    let (sender, pieces) = mpsc::channel(PIECES);
    let mut writer = BodyWriter {
        pieces: sender,
        piece: Vec::with_capacity(PIECE_BYTES),
    };
    let task = supervisor.spawn_blocking(name, move || {
        let result = work(&mut writer);
        // What could not be flushed has nobody to take it.
        let _ = writer.flush();
        result
    });
    Produced { pieces, task }
}

/// Answers with a body that is produced. Work that fails before it has written anything is told
/// as a refusal with status 500; later the answer is cut off, so that it cannot be taken for a
/// whole one.
pub(crate) async fn stream(
    request: Request<'_>,
    kind: &str,
    mut produced: Produced<Result<(), Refusal>>,
) -> Result<(), Lost> {
    let mut next = produced.pieces.recv().await;
    let head = ResponseHead::new(200).with("Content-Type", kind);
    if next.is_none() {
        return match produced.result().await? {
            // An empty directory, for example.
            Ok(()) => request.respond(head, b"").await.map_err(|_| Lost),
            Err(refusal) => refuse(request, refusal).await,
        };
    }
    let mut response = request
        .start(head, BodySize::Unknown)
        .await
        .map_err(|_| Lost)?;
    while let Some(piece) = next {
        // Without a client the work sees that nobody listens, and ends.
        within(STALL, response.write(&piece)).await?;
        next = produced.pieces.recv().await;
    }
    match produced.result().await? {
        Ok(()) => response.finish(&Headers::new()).await.map_err(|_| Lost),
        Err(refusal) => {
            tracing::warn!(error = refusal.text, "an answer was cut off");
            Err(Lost)
        }
    }
}

/// Something a client has to take part in, within `limit`.
pub(crate) async fn within<T, E>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Lost> {
    match timeout(limit, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) | Err(_) => Err(Lost),
    }
}

impl<T> Produced<T> {
    /// The result, once; the work has ended or is about to.
    async fn result(&mut self) -> Result<T, Lost> {
        (&mut self.task).await.map_err(|_| Lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_in_order_and_a_cut_is_an_error() {
        let (sender, pieces) = mpsc::channel(PIECES);
        for piece in ["ab", "", "c"] {
            sender.try_send(Ok(Bytes::from(piece))).unwrap();
        }
        sender
            .try_send(Err(io::ErrorKind::UnexpectedEof.into()))
            .unwrap();
        drop(sender);
        let mut reader = BodyReader {
            pieces,
            piece: Bytes::new(),
        };
        let mut two = [0; 2];
        reader.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"ab");
        let rest = reader.read_to_end(&mut Vec::new());
        assert_eq!(rest.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_writer_learns_that_nobody_listens() {
        let all = Supervisor::new("test");
        let mut produced = produce_body(&all, "endless", |out| {
            let line = [b'x'; 1000];
            std::iter::repeat_with(|| out.write_all(&line)).find_map(Result::err)
        });
        assert_eq!(produced.pieces.recv().await.unwrap().len(), PIECE_BYTES);
        produced.pieces.close();
        while produced.pieces.recv().await.is_some() {}
        let error = produced.result().await.unwrap().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
