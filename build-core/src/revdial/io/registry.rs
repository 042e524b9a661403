use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Control, Dialer, Timer};
use crate::h1::{RequestHead, ResponseHead};
use crate::revdial::{ConnId, ConnPath, DialerId, Error};

/// The dialers of a server, by what the paths of their connections say. Clones are the same
/// registry.
pub struct Registry<I>(Arc<Mutex<HashMap<DialerId, Dialer<I>>>>);

impl<I> Clone for Registry<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I> Default for Registry<I> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<I> fmt::Debug for Registry<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({})", self.len())
    }
}

impl<I> Registry<I> {
    /// Makes a dialer of a stream whose registration was answered with 101, flushed by itself.
    /// Machines fetch connections under the path `mount`. The dialer is known until the control
    /// connection ends or is dropped.
    pub fn dialer<C: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: C,
        id: DialerId,
        mount: &str,
        timer: Arc<dyn Timer>,
    ) -> (Dialer<I>, Control<C, I>) {
        let dialer = Dialer::new(id, mount, timer);
        self.dialers().insert(id, dialer.clone());
        (dialer.clone(), Control::new(io, dialer, self.clone()))
    }

    /// Judges the request of a machine that fetches a connection. `encrypted` says whether it
    /// came over TLS, or over a road that is trusted as well.
    ///
    /// Answer a reservation with 101, flush, and [deliver](Reservation::deliver) the stream.
    ///
    /// # Errors
    /// The answer to give instead; in this order: it was not encrypted, it is no GET, the
    /// dialer is unknown, nobody waits for the connection.
    pub fn pick_up(&self, head: &RequestHead, encrypted: bool) -> Result<Reservation<I>, Refusal> {
        if !encrypted {
            return Err(Refusal::new(500, "handler requires TLS"));
        }
        if head.method() != "GET" {
            return Err(Refusal::new(
                405,
                "expected GET request to revdial conn handler",
            ));
        }
        let unknown = Refusal::new(400, "unknown dialer");
        let path = ConnPath::parse(head.target()).ok_or(unknown.clone())?;
        let dialer = self.dialers().get(&path.dialer).cloned().ok_or(unknown)?;
        match path.conn {
            Some(conn) if dialer.pick_up(conn) => Ok(Reservation {
                dialer,
                conn,
                settled: false,
            }),
            _ => Err(Refusal::new(400, "nobody waits for this connection")),
        }
    }

    /// How many dialers are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dialers().len()
    }

    /// Whether no dialer is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn remove(&self, id: DialerId) {
        self.dialers().remove(&id);
    }

    fn dialers(&self) -> MutexGuard<'_, HashMap<DialerId, Dialer<I>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is being fetched. Dropped, the dial fails.
#[derive(Debug)]
pub struct Reservation<I> {
    dialer: Dialer<I>,
    conn: ConnId,
    settled: bool,
}

impl<I> Reservation<I> {
    /// Hands the stream to the dial that waits for it.
    ///
    /// # Errors
    /// The stream, when that dial has been given up meanwhile: it must not serve another.
    pub fn deliver(mut self, io: I) -> Result<(), I> {
        self.settled = true;
        match self.dialer.settle(self.conn, Ok(io)) {
            Ok(()) | Err(None) => Ok(()),
            Err(Some(io)) => Err(io),
        }
    }
}

impl<I> Drop for Reservation<I> {
    fn drop(&mut self) {
        if !self.settled {
            // A dial that was given up needs no word.
            let _ = self.dialer.settle(self.conn, Err(Error::PickUpLost));
        }
    }
}

/// How a request for a connection is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: u16,
    text: &'static str,
}

impl Refusal {
    fn new(status: u16, text: &'static str) -> Self {
        Self { status, text }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body, without the line feed at its end.
    #[must_use]
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// The head of the answer.
    #[must_use]
    pub fn head(&self) -> ResponseHead {
        let head = ResponseHead::refusal(self.status);
        match self.status {
            405 => head.with("Allow", "GET"),
            _ => head,
        }
    }
}
