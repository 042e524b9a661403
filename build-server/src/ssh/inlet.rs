//! What a client sends on a channel, on its way to a machine.
//!
//! The library takes whatever comes, and while it waits for one channel the whole connection
//! waits, the news that the client has room again included. So nothing here waits for ever: what
//! has come lies in memory; from [`MUCH`] on each piece is held up until some was taken, or for
//! [`PAUSE`]; at [`MOST`] the channel is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

const MUCH: usize = 4 << 20;
const MOST: usize = 64 << 20;
const PAUSE: Duration = Duration::from_millis(250);

/// What comes from a client.
pub(super) enum Piece {
    Bytes(Bytes),
    /// There is no more.
    End,
}

/// So much lies here that it is given up.
pub(super) struct Full;

#[derive(Default)]
struct Level {
    bytes: AtomicUsize,
    taken: Notify,
}

pub(super) struct Inlet {
    pieces: mpsc::UnboundedSender<Piece>,
    level: Arc<Level>,
}

pub(super) struct Outlet {
    pieces: mpsc::UnboundedReceiver<Piece>,
    level: Arc<Level>,
}

/// Both ends of a new way.
pub(super) fn way() -> (Inlet, Outlet) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let level = Arc::<Level>::default();
    let inlet = Inlet {
        pieces: sender,
        level: level.clone(),
    };
    let outlet = Outlet {
        pieces: receiver,
        level,
    };
    (inlet, outlet)
}

impl Inlet {
    /// Takes a piece in, soon.
    pub(super) async fn push(&self, bytes: Bytes) -> Result<(), Full> {
        let there = self.level.bytes.load(Ordering::Relaxed);
        if there >= MOST {
            return Err(Full);
        }
        if there >= MUCH {
            // Taken or not: it may be this wait that keeps the client from reading.
            let _ = timeout(PAUSE, self.level.taken.notified()).await;
        }
        self.level.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        // When nobody takes it any more, it is of no use.
        let _ = self.pieces.send(Piece::Bytes(bytes));
        Ok(())
    }

    pub(super) fn end(&self) {
        let _ = self.pieces.send(Piece::End);
    }
}

impl Outlet {
    /// The next piece; `None` when nobody sends any more. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Piece> {
        let piece = self.pieces.recv().await;
        if let Some(Piece::Bytes(bytes)) = &piece {
            self.level.bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
            self.level.taken.notify_one();
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_waits_for_ever_and_there_is_a_bound() {
        let (inlet, mut outlet) = way();
        let piece = Bytes::from(vec![0; 1 << 20]);
        for _ in 0..64 {
            assert!(inlet.push(piece.clone()).await.is_ok());
        }
        assert!(inlet.push(piece.clone()).await.is_err());
        let mut taken = 0;
        while taken < 64 {
            assert!(matches!(outlet.next().await, Some(Piece::Bytes(_))));
            taken += 1;
        }
        assert!(inlet.push(piece).await.is_ok());
        inlet.end();
        drop(inlet);
        assert!(matches!(outlet.next().await, Some(Piece::Bytes(_))));
        assert!(matches!(outlet.next().await, Some(Piece::End)));
        assert!(outlet.next().await.is_none());
    }
}
