//! The control connections of [`super`] over tokio's IO traits; any runtime, no tasks.
//!
//! **Server.** [`Registry::dialer`] makes a [`Dialer`] of a stream whose registration was
//! answered, and a [`Control`] that must run for as long as the machine is there.
//! [`Dialer::dial`] gives streams, and [`Ready`] some of them without a wait. A machine fetches them by requests that
//! [`Registry::pick_up`] judges: answer 101, flush, and hand the stream over with
//! [`Reservation::deliver`].
//!
//! **Machine.** [`take_over`] registers, [`Listener::accept`] gives streams.
//!
//! **Time** comes from a [`Timer`], deadlines of `dial` and `take_over` from the caller.

mod dialer;
mod listener;
mod ready;
mod registry;
mod take_over;

use std::time::Instant;

use futures::future::BoxFuture;

pub use dialer::{Control, Dialer};
pub use listener::{DialServer, Listener};
pub use ready::{Ready, Refill};
pub use registry::{Refusal, Registry, Reservation};
pub use take_over::{TakeOverError, take_over};

/// What a control connection measures time with.
pub trait Timer: Send + Sync {
    /// The time now.
    fn now(&self) -> Instant;

    /// Waits until then.
    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()>;
}

/// A wait that follows a deadline that moves.
struct Alarm {
    at: Option<Instant>,
    sleep: Option<BoxFuture<'static, ()>>,
}

impl Alarm {
    fn new() -> Self {
        Self {
            at: None,
            sleep: None,
        }
    }

    /// Whether the deadline has come; once.
    fn poll(
        &mut self,
        at: Option<Instant>,
        timer: &dyn Timer,
        cx: &mut std::task::Context<'_>,
    ) -> bool {
        if at != self.at || self.sleep.is_none() {
            self.at = at;
            self.sleep = at.map(|at| timer.sleep_until(at));
        }
        let due = self
            .sleep
            .as_mut()
            .is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if due {
            self.sleep = None;
        }
        due
    }
}

#[cfg(test)]
mod tests;
