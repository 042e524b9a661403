use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use super::line::{LineReader, Message};
use super::outbox::Outbox;
use super::{ConnId, ConnPath, DialerId, Error, KEEP_ALIVE, MAX_WAITING};

/// The server's end of a control connection.
///
/// After an error, and after [`DialerConn::close`], every wanted connection has failed; nothing
/// more is sent or read.
#[derive(Debug)]
pub struct DialerConn {
    id: DialerId,
    mount: String,
    lines: LineReader,
    next: u64,
    waiting: BTreeSet<ConnId>,
    outbox: Outbox,
    last_line: Instant,
    events: VecDeque<DialerEvent>,
    ended: Option<Error>,
}

/// What a dialer learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialerEvent {
    /// A wanted connection will not come.
    Failed {
        /// Which.
        conn: ConnId,
        /// Why.
        error: Error,
    },
    /// The control connection is over; comes last and once.
    Ended(Error),
}

impl DialerConn {
    /// A control connection that was just made: the answer 101 was sent and flushed by itself.
    /// Connections will be asked for under `mount`.
    #[must_use]
    pub fn new(id: DialerId, mount: &str, now: Instant) -> Self {
        let mut outbox = Outbox::new(now);
        outbox.push(&Message::KeepAlive, now);
        Self {
            id,
            mount: mount.to_owned(),
            lines: LineReader::default(),
            next: 1,
            waiting: BTreeSet::new(),
            outbox,
            last_line: now,
            events: VecDeque::new(),
            ended: None,
        }
    }

    /// The id that stands in the paths of its connections.
    #[must_use]
    pub fn id(&self) -> DialerId {
        self.id
    }

    /// Asks the machine for a connection.
    ///
    /// # Errors
    /// The control connection is over, or too many connections are wanted already.
    pub fn dial(&mut self, now: Instant) -> Result<ConnId, Error> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        let conn = ConnId::new(self.next);
        let path = ConnPath {
            dialer: self.id,
            conn: Some(conn),
        };
        let ready = Message::ConnReady {
            path: path.text(&self.mount),
        };
        let room = self.waiting.len() < MAX_WAITING;
        if !room || !self.send(&ready, now) {
            return Err(Error::TooMany { limit: MAX_WAITING });
        }
        // Go's dialers do the same: a listener behind a buffering road sees the line before.
        self.send(&Message::KeepAlive, now);
        self.next += 1;
        self.waiting.insert(conn);
        Ok(conn)
    }

    /// Gives up a wanted connection: should it come, it is refused.
    pub fn cancel(&mut self, conn: ConnId) {
        self.waiting.remove(&conn);
    }

    /// Notes that a connection was fetched. False when nobody waits for it: it was given up, it
    /// failed, or it was fetched before.
    pub fn pick_up(&mut self, conn: ConnId) -> bool {
        self.waiting.remove(&conn)
    }

    /// How many connections are wanted.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes received bytes.
    ///
    /// # Errors
    /// What comes is not a message; the connection is then over.
    pub fn feed(&mut self, bytes: &[u8], _now: Instant) -> Result<(), Error> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        let mut messages = Vec::new();
        let result = self.lines.feed(bytes, &mut messages);
        for message in messages {
            if let Message::PickupFailed { path, error } = message {
                self.failed(&path, error);
            }
        }
        result.inspect_err(|error| self.end(error.clone()))
    }

    /// Ends the connection: the peer has closed it, or the stream failed.
    pub fn close(&mut self, why: Error) {
        self.end(why);
    }

    /// The bytes to send now.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        match self.ended {
            None => self.outbox.pending(),
            Some(_) => &[],
        }
    }

    /// Notes that the stream took so many of [`DialerConn::output`].
    pub fn advance(&mut self, count: usize, now: Instant) {
        self.outbox.advance(count, now);
    }

    /// When [`DialerConn::handle_timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.ended {
            None => Some(
                self.outbox
                    .deadline()
                    .unwrap_or(self.last_line + KEEP_ALIVE),
            ),
            Some(_) => None,
        }
    }

    /// Does what is due.
    ///
    /// # Errors
    /// [`Error::Stalled`]: the machine takes no bytes; the connection is then over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.ended.is_some() {
            return Ok(());
        }
        if let Err(error) = self.outbox.check(now) {
            self.end(error.clone());
            return Err(error);
        }
        if self.outbox.pending().is_empty() && now >= self.last_line + KEEP_ALIVE {
            self.send(&Message::KeepAlive, now);
        }
        Ok(())
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DialerEvent> {
        self.events.pop_front()
    }

    /// Why the connection is over, once it is.
    #[must_use]
    pub fn ended(&self) -> Option<&Error> {
        self.ended.as_ref()
    }

    fn send(&mut self, message: &Message, now: Instant) -> bool {
        self.last_line = now;
        self.outbox.push(message, now)
    }

    /// A machine reports a failure. Go's listeners repeat the path, so its number tells whose.
    fn failed(&mut self, path: &str, text: String) {
        let ours = ConnPath::parse(path).filter(|path| path.dialer == self.id);
        if let Some(conn) = ours.and_then(|path| path.conn)
            && self.waiting.remove(&conn)
        {
            let error = Error::PickUpFailed(text);
            self.events.push_back(DialerEvent::Failed { conn, error });
        }
    }

    fn end(&mut self, error: Error) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(error.clone());
        for conn in std::mem::take(&mut self.waiting) {
            let error = error.clone();
            self.events.push_back(DialerEvent::Failed { conn, error });
        }
        self.events.push_back(DialerEvent::Ended(error));
    }
}
