use std::collections::VecDeque;
use std::time::Instant;

use super::line::{LineReader, Message};
use super::outbox::Outbox;
use super::{Error, MAX_WAITING, SILENCE};

/// The machine's end of a control connection.
#[derive(Debug)]
pub struct ListenerConn {
    lines: LineReader,
    outbox: Outbox,
    last_heard: Instant,
    events: VecDeque<ListenerEvent>,
    fetching: usize,
    ended: Option<Error>,
}

/// What a listener is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerEvent {
    /// Connect to the server and ask for this target; then call [`ListenerConn::fetched`].
    PickUp(String),
}

impl ListenerConn {
    /// A control connection whose registration was answered with 101.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            lines: LineReader::default(),
            outbox: Outbox::new(now),
            last_heard: now,
            events: VecDeque::new(),
            fetching: 0,
            ended: None,
        }
    }

    /// Takes received bytes.
    ///
    /// # Errors
    /// What comes is not a message; the connection is then over.
    pub fn feed(&mut self, bytes: &[u8], now: Instant) -> Result<(), Error> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        self.last_heard = now;
        let mut messages = Vec::new();
        let result = self.lines.feed(bytes, &mut messages);
        for message in messages {
            if let Message::ConnReady { path } = message {
                self.wanted(path, now)?;
            }
        }
        result.inspect_err(|error| self.close(error.clone()))
    }

    /// Notes the end of a pick-up, well or not.
    ///
    /// # Errors
    /// [`Error::Stalled`]: the server takes no reports; the connection is then over.
    pub fn fetched(
        &mut self,
        path: &str,
        result: Result<(), &str>,
        now: Instant,
    ) -> Result<(), Error> {
        self.fetching = self.fetching.saturating_sub(1);
        match result {
            Ok(()) => Ok(()),
            Err(text) => self.report(path.to_owned(), text.to_owned(), now),
        }
    }

    /// Ends the connection: the peer has closed it, or the stream failed.
    pub fn close(&mut self, why: Error) {
        self.ended.get_or_insert(why);
    }

    /// The bytes to send now.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        match self.ended {
            None => self.outbox.pending(),
            Some(_) => &[],
        }
    }

    /// Notes that the stream took so many of [`ListenerConn::output`].
    pub fn advance(&mut self, count: usize, now: Instant) {
        self.outbox.advance(count, now);
    }

    /// When [`ListenerConn::handle_timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let silence = self.last_heard + SILENCE;
        let write = self.outbox.deadline();
        match self.ended {
            None => Some(write.map_or(silence, |write| write.min(silence))),
            Some(_) => None,
        }
    }

    /// Ends the connection when it is dead.
    ///
    /// # Errors
    /// [`Error::Silent`], [`Error::Stalled`].
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.ended.is_some() {
            return Ok(());
        }
        let mut result = self.outbox.check(now);
        if now >= self.last_heard + SILENCE {
            result = Err(Error::Silent(SILENCE));
        }
        result.inspect_err(|error| self.close(error.clone()))
    }

    /// The next event. Those that came before the end are given even after it.
    pub fn poll_event(&mut self) -> Option<ListenerEvent> {
        self.events.pop_front()
    }

    /// Why the connection is over, once it is.
    #[must_use]
    pub fn ended(&self) -> Option<&Error> {
        self.ended.as_ref()
    }

    fn wanted(&mut self, path: String, now: Instant) -> Result<(), Error> {
        if self.fetching >= MAX_WAITING {
            let text = Error::TooMany { limit: MAX_WAITING }.to_string();
            return self.report(path, text, now);
        }
        self.fetching += 1;
        self.events.push_back(ListenerEvent::PickUp(path));
        Ok(())
    }

    fn report(&mut self, path: String, error: String, now: Instant) -> Result<(), Error> {
        if self
            .outbox
            .push(&Message::PickupFailed { path, error }, now)
        {
            return Ok(());
        }
        let error = Error::Stalled(super::WRITE_LIMIT);
        self.close(error.clone());
        Err(error)
    }
}
