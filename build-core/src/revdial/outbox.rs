use std::time::Instant;

use super::{Error, MAX_OUTBOX, Message, WRITE_LIMIT};

/// The lines that wait to be sent.
#[derive(Debug)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// When the peer last took something, or the first waiting line was added.
    since: Instant,
}

impl Outbox {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            bytes: Vec::new(),
            sent: 0,
            since: now,
        }
    }

    /// Adds a line; false when too many wait.
    pub(super) fn push(&mut self, message: &Message, now: Instant) -> bool {
        if self.pending().len() > MAX_OUTBOX {
            return false;
        }
        if self.pending().is_empty() {
            self.bytes.clear();
            self.sent = 0;
            self.since = now;
        }
        message.write(&mut self.bytes);
        true
    }

    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Notes that the stream took `count` bytes.
    pub(super) fn advance(&mut self, count: usize, now: Instant) {
        self.sent = self.bytes.len().min(self.sent + count);
        self.since = now;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
    }

    /// When the peer is taken for dead.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.pending().is_empty()).then(|| self.since + WRITE_LIMIT)
    }

    pub(super) fn check(&self, now: Instant) -> Result<(), Error> {
        match self.deadline() {
            Some(deadline) if now >= deadline => Err(Error::Stalled(WRITE_LIMIT)),
            _ => Ok(()),
        }
    }
}
