use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, ReadBuf};

use super::{Alarm, Dialer};
use crate::revdial::Error;

/// Connections to one machine that were made before anybody wants them: whoever dials while a
/// machine is in use does not wait for it to connect. Clones share them.
///
/// They are made from the second of two dials within `age` on, until `age` has passed since the
/// last one: a machine that only registers, or is left alone, costs nothing. It is for protocols in which the side that dials
/// speaks first; a connection on which the machine has spoken, or which it has closed, is dropped.
pub struct Ready<I>(Arc<Shelf<I>>);

struct Shelf<I> {
    dialer: Dialer<I>,
    count: usize,
    age: Duration,
    state: Mutex<State<I>>,
    /// Wakes the one who makes them.
    used: AtomicWaker,
}

struct State<I> {
    /// The oldest first, each with the time at which it is dropped.
    made: VecDeque<(Instant, I)>,
    /// When somebody dialed last.
    dialed: Option<Instant>,
    /// Until when more are made.
    wanted: Option<Instant>,
}

impl<I> Clone for Ready<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I> fmt::Debug for Ready<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready")
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl<I: AsyncRead + Unpin> Ready<I> {
    /// Keeps up to `count` connections of this dialer, each for `age` at most. The second part
    /// makes them, and must run for as long as they are wanted.
    #[must_use]
    pub fn new(dialer: Dialer<I>, count: usize, age: Duration) -> (Self, Refill<I>) {
        let shelf = Arc::new(Shelf {
            dialer,
            count,
            age,
            state: Mutex::new(State {
                made: VecDeque::new(),
                dialed: None,
                wanted: None,
            }),
            used: AtomicWaker::new(),
        });
        (Self(Arc::clone(&shelf)), Refill(shelf))
    }

    /// Takes a connection that waits, or makes one. The caller sets the deadline.
    ///
    /// # Errors
    /// See [`Dialer::dial`].
    ///
    /// # Cancel safety
    /// See [`Dialer::dial`].
    pub async fn dial(&self) -> Result<I, Error> {
        let taken = self.0.take();
        self.0.used.wake();
        match taken {
            Some(io) => Ok(io),
            None => self.0.dialer.dial().await,
        }
    }
}

impl<I> Ready<I> {
    /// How many connections wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.state().made.len()
    }
}

impl<I: AsyncRead + Unpin> Shelf<I> {
    fn take(&self) -> Option<I> {
        let now = self.dialer.timer().now();
        let mut state = self.state();
        let before = state.dialed.replace(now);
        if before.is_some_and(|before| now.duration_since(before) < self.age) {
            state.wanted = Some(now + self.age);
        }
        while let Some((until, mut io)) = state.made.pop_front() {
            if until > now && is_quiet(&mut io) {
                return Some(io);
            }
        }
        None
    }
}

impl<I> Shelf<I> {
    /// Drops what is too old; says whether more are wanted, and when to look again.
    fn tidy(&self) -> (bool, Option<Instant>) {
        let now = self.dialer.timer().now();
        let mut state = self.state();
        state.made.retain(|(until, _)| *until > now);
        state.wanted = state.wanted.filter(|until| *until > now);
        let more = state.wanted.is_some() && state.made.len() < self.count;
        let oldest = state.made.front().map(|(until, _)| *until);
        (more, oldest.into_iter().chain(state.wanted).min())
    }

    fn state(&self) -> MutexGuard<'_, State<I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the other side has neither spoken nor closed.
fn is_quiet(io: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut space = [0; 1];
    let mut cx = Context::from_waker(Waker::noop());
    let read = Pin::new(io).poll_read(&mut cx, &mut ReadBuf::new(&mut space));
    read.is_pending()
}

/// Makes the connections of a [`Ready`].
pub struct Refill<I>(Arc<Shelf<I>>);

impl<I> fmt::Debug for Refill<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refill").finish_non_exhaustive()
    }
}

impl<I> Refill<I> {
    /// Makes connections whenever they are wanted. Ends with the reason why the control connection
    /// is over, when that keeps it from making one: run it beside [`Control`](super::Control).
    ///
    /// # Cancel safety
    /// A dropped future makes no more; those that wait can still be taken.
    pub async fn run(self) -> Error {
        loop {
            self.until_wanted().await;
            match self.0.dialer.dial().await {
                Ok(io) => {
                    let mut state = self.0.state();
                    state
                        .made
                        .push_back((self.0.dialer.timer().now() + self.0.age, io));
                }
                Err(_) => {
                    if let Some(ended) = self.0.dialer.ended() {
                        return ended;
                    }
                    // Who dials next finds out for itself, and is told why.
                    self.0.state().wanted = None;
                }
            }
        }
    }

    async fn until_wanted(&self) {
        let mut alarm = Alarm::new();
        poll_fn(|cx| {
            self.0.used.register(cx.waker());
            loop {
                match self.0.tidy() {
                    (true, _) => return Poll::Ready(()),
                    (false, look) if !alarm.poll(look, &**self.0.dialer.timer(), cx) => {
                        return Poll::Pending;
                    }
                    _ => {}
                }
            }
        })
        .await;
    }
}
