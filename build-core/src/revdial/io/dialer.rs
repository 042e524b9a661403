use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Alarm, Registry, Timer};
use crate::revdial::{ConnId, DialerConn, DialerEvent, DialerId, Error};

/// Bytes read at a time: control lines are short.
const READ: usize = 4096;

/// Makes connections of the kind `I` to one machine. Clones are the same dialer.
pub struct Dialer<I>(Arc<Shared<I>>);

struct Shared<I> {
    id: DialerId,
    state: Mutex<State<I>>,
    /// Wakes the control connection.
    control: AtomicWaker,
    timer: Arc<dyn Timer>,
}

struct State<I> {
    conn: DialerConn,
    slots: HashMap<ConnId, Slot<I>>,
}

/// Where a wanted connection is.
enum Slot<I> {
    Waiting(Option<Waker>),
    Fetched(I),
    Failed(Error),
}

impl<I> Clone for Dialer<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I> fmt::Debug for Dialer<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl<I> Dialer<I> {
    pub(super) fn new(id: DialerId, mount: &str, timer: Arc<dyn Timer>) -> Self {
        let conn = DialerConn::new(id, mount, timer.now());
        Self(Arc::new(Shared {
            id,
            state: Mutex::new(State {
                conn,
                slots: HashMap::new(),
            }),
            control: AtomicWaker::new(),
            timer,
        }))
    }

    pub(super) fn timer(&self) -> &Arc<dyn Timer> {
        &self.0.timer
    }

    pub(super) fn id(&self) -> DialerId {
        self.0.id
    }

    /// Makes a connection. The caller sets the deadline.
    ///
    /// # Errors
    /// The control connection is over or ends meanwhile, the machine reports that it could not
    /// connect, or too many connections are wanted.
    ///
    /// # Cancel safety
    /// A dropped future gives the connection up: should it come later, it is refused.
    pub async fn dial(&self) -> Result<I, Error> {
        let conn = {
            let state = &mut *self.state();
            let conn = state.conn.dial(self.0.timer.now())?;
            state.slots.insert(conn, Slot::Waiting(None));
            conn
        };
        self.0.control.wake();
        Wanted { dialer: self, conn }.await
    }

    /// Ends the control connection, and with it every dial. Connections that were handed over
    /// stay.
    pub fn close(&self) {
        self.end(Error::Closed);
        self.0.control.wake();
    }

    /// Why the control connection is over, once it is.
    #[must_use]
    pub fn ended(&self) -> Option<Error> {
        self.state().conn.ended().cloned()
    }

    /// How many connections are waited for.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state().conn.waiting()
    }

    /// Marks a wanted connection as being fetched; false when nobody waits for it.
    pub(super) fn pick_up(&self, conn: ConnId) -> bool {
        self.state().conn.pick_up(conn)
    }

    /// Hands a fetched connection to the one who waits for it, or gives it back.
    pub(super) fn settle(&self, conn: ConnId, result: Result<I, Error>) -> Result<(), Option<I>> {
        let mut state = self.state();
        match state.slots.get_mut(&conn) {
            Some(slot @ Slot::Waiting(_)) => {
                let now = match result {
                    Ok(io) => Slot::Fetched(io),
                    Err(error) => Slot::Failed(error),
                };
                let before = std::mem::replace(slot, now);
                drop(state);
                if let Slot::Waiting(Some(waker)) = before {
                    waker.wake();
                }
                Ok(())
            }
            _ => Err(result.ok()),
        }
    }

    fn end(&self, error: Error) {
        self.state().conn.close(error);
        self.dispatch();
    }

    /// Passes events on to those who wait.
    fn dispatch(&self) {
        loop {
            let event = self.state().conn.poll_event();
            match event {
                Some(DialerEvent::Failed { conn, error }) => {
                    // One that was given up meanwhile needs no word.
                    let _ = self.settle(conn, Err(error));
                }
                Some(DialerEvent::Ended(_)) => {}
                None => return,
            }
        }
    }

    fn fail_fetching(&self) {
        let waiting: Vec<_> = self.state().slots.keys().copied().collect();
        let error = self.ended().unwrap_or(Error::Closed);
        for conn in waiting {
            // One that was served already stays served.
            let _ = self.settle(conn, Err(error.clone()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State<I>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A dial that waits.
struct Wanted<'d, I> {
    dialer: &'d Dialer<I>,
    conn: ConnId,
}

impl<I> Future for Wanted<'_, I> {
    type Output = Result<I, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.dialer.state();
        match state.slots.remove(&self.conn) {
            Some(Slot::Fetched(io)) => Poll::Ready(Ok(io)),
            Some(Slot::Failed(error)) => Poll::Ready(Err(error)),
            Some(Slot::Waiting(_)) => {
                let waiting = Slot::Waiting(Some(cx.waker().clone()));
                state.slots.insert(self.conn, waiting);
                Poll::Pending
            }
            None => Poll::Ready(Err(Error::Closed)),
        }
    }
}

impl<I> Drop for Wanted<'_, I> {
    fn drop(&mut self) {
        let mut state = self.dialer.state();
        state.conn.cancel(self.conn);
        let slot = state.slots.remove(&self.conn);
        // A stream may do work when it is dropped.
        drop(state);
        drop(slot);
    }
}

/// The control connection of a [`Dialer`]. Run it; dropped, it ends the dialer.
pub struct Control<C, I> {
    io: C,
    dialer: Dialer<I>,
    registry: Registry<I>,
    alarm: Alarm,
    unflushed: bool,
}

impl<C, I> fmt::Debug for Control<C, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("dialer", &self.dialer)
            .finish_non_exhaustive()
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin, I> Control<C, I> {
    pub(super) fn new(io: C, dialer: Dialer<I>, registry: Registry<I>) -> Self {
        Self {
            io,
            dialer,
            registry,
            alarm: Alarm::new(),
            unflushed: false,
        }
    }

    /// Runs the connection to its end and says why it ended.
    ///
    /// # Cancel safety
    /// A dropped future ends the connection.
    pub async fn run(mut self) -> Error {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.dialer.0.control.register(cx.waker());
        loop {
            let moved = self.poll_write(cx) | self.poll_read(cx) | self.poll_alarm(cx);
            self.dialer.dispatch();
            if let Some(error) = self.dialer.ended() {
                return Poll::Ready(error);
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// Each step says whether there may be more to do.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let output = self.dialer.state().conn.output().to_vec();
        let result = if !output.is_empty() {
            Pin::new(&mut self.io).poll_write(cx, &output)
        } else if self.unflushed {
            Pin::new(&mut self.io).poll_flush(cx).map_ok(|()| 0)
        } else {
            return false;
        };
        match result {
            Poll::Ready(Ok(0)) if !output.is_empty() => {
                self.lost(&std::io::ErrorKind::WriteZero.into());
            }
            Poll::Ready(Ok(count)) => {
                self.unflushed = count > 0;
                let now = self.now();
                self.dialer.state().conn.advance(count, now);
            }
            Poll::Ready(Err(error)) => self.lost(&error),
            Poll::Pending => return false,
        }
        true
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut space = [0; READ];
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
            Poll::Pending => return false,
            Poll::Ready(Err(error)) => self.lost(&error),
            Poll::Ready(Ok(())) if buf.filled().is_empty() => self.dialer.end(Error::Closed),
            Poll::Ready(Ok(())) => {
                let now = self.now();
                // An error has ended the connection.
                let _ = self.dialer.state().conn.feed(buf.filled(), now);
            }
        }
        true
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.dialer.state().conn.deadline();
        let timer = Arc::clone(&self.dialer.0.timer);
        let due = self.alarm.poll(deadline, &*timer, cx);
        if due {
            let now = self.now();
            // An error has ended the connection.
            let _ = self.dialer.state().conn.handle_timeout(now);
        }
        due
    }

    fn lost(&self, error: &std::io::Error) {
        self.dialer.end(Error::Lost(error.to_string()));
    }

    fn now(&self) -> Instant {
        self.dialer.0.timer.now()
    }
}

impl<C, I> Drop for Control<C, I> {
    fn drop(&mut self) {
        self.registry.remove(self.dialer.id());
        self.dialer.end(Error::Closed);
        // Those that a machine was about to deliver fail as well.
        self.dialer.fail_fetching();
    }
}
