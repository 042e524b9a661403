//! Work that several want at the same time, done once.
//!
//! Whoever comes while it is under way shares its result; whoever comes later has it done anew.
//! Nobody leads: when the first one gives up, the others carry on. Work that panics ends with an
//! error for all who share it, and the next one begins anew.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use build_server::singleflight::Flights;
//!
//! let flights = Flights::<&str, u32>::new();
//! let (a, b) = tokio::join!(
//!     flights.fly("answer", || async {
//!         tokio::task::yield_now().await;
//!         42
//!     }),
//!     flights.fly("answer", || async { unreachable!("the other one is under way") }),
//! );
//! assert_eq!((a.unwrap(), b.unwrap()), (42, 42));
//! # }
//! ```

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

/// The work panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work that several waited for panicked")]
pub struct Panicked;

type Flight<V> = Shared<BoxFuture<'static, Result<V, Panicked>>>;

struct Entry<V> {
    flight: Flight<V>,
    /// Tells a flight from the one that took its place.
    number: u64,
    waiting: usize,
}

struct State<K, V> {
    entries: HashMap<K, Entry<V>>,
    next: u64,
}

/// Work under way, by key. Clones share it.
pub struct Flights<K, V>(Arc<Mutex<State<K, V>>>);

impl<K, V> Clone for Flights<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            entries: HashMap::new(),
            next: 0,
        })))
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flights({} under way)", self.state().entries.len())
    }
}

impl<K, V> Flights<K, V> {
    fn state(&self) -> MutexGuard<'_, State<K, V>> {
        // Nothing panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Flights<K, V> {
    /// None under way.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The result of the work of this key: of that which is under way, else of `work`. A value is
    /// not kept; put what costs much in an [`Arc`].
    ///
    /// # Errors
    /// [`Panicked`]; what can fail otherwise is a part of the value.
    ///
    /// # Cancel safety
    /// Dropped, it gives up its share: the work goes on while somebody waits for it, and is
    /// dropped with the last one.
    pub async fn fly<W, F>(&self, key: K, work: W) -> Result<V, Panicked>
    where
        W: FnOnce() -> F,
        F: Future<Output = V> + Send + 'static,
    {
        let (flight, number) = {
            let mut state = self.state();
            if let Some(entry) = state.entries.get_mut(&key) {
                entry.waiting += 1;
                (entry.flight.clone(), entry.number)
            } else {
                let work = AssertUnwindSafe(work()).catch_unwind();
                let flight = work.map(|ended| ended.map_err(|_| Panicked)).boxed();
                let flight = flight.shared();
                let number = state.next;
                state.next += 1;
                let entry = Entry {
                    flight: flight.clone(),
                    number,
                    waiting: 1,
                };
                state.entries.insert(key.clone(), entry);
                (flight, number)
            }
        };
        let share = Share {
            flights: self,
            key: &key,
            number,
        };
        let ended = flight.await;
        share.flights.end(share.key, share.number);
        drop(share);
        ended
    }

    /// Lets the next one begin anew, whatever is under way. Those who wait go on.
    pub fn forget(&self, key: &K) {
        self.state().entries.remove(key);
    }

    /// How many are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().entries.len()
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn end(&self, key: &K, number: u64) {
        let mut state = self.state();
        if state.entries.get(key).is_some_and(|e| e.number == number) {
            state.entries.remove(key);
        }
    }
}

/// Somebody who waits.
struct Share<'a, K: Clone + Eq + Hash, V: Clone> {
    flights: &'a Flights<K, V>,
    key: &'a K,
    number: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Drop for Share<'_, K, V> {
    fn drop(&mut self) {
        let mut state = self.flights.state();
        let Some(entry) = state.entries.get_mut(self.key) else {
            return;
        };
        if entry.number != self.number {
            return;
        }
        entry.waiting -= 1;
        if entry.waiting == 0 {
            state.entries.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn ten_who_come_together_are_served_by_one_call() {
        let (flights, calls) = (Flights::<&str, usize>::new(), AtomicUsize::new(0));
        let go = Arc::new(Notify::new());
        let waiting = join_all((0..10).map(|_| {
            flights.fly("a", || {
                calls.fetch_add(1, Ordering::Relaxed);
                let go = go.clone();
                async move {
                    go.notified().await;
                    7
                }
            })
        }));
        let (all, ()) = tokio::join!(waiting, async { go.notify_one() });
        assert!(all.into_iter().all(|value| value == Ok(7)));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert!(flights.is_empty(), "a result is not kept");
        assert_eq!(flights.fly("a", || async { 8 }).await, Ok(8));
    }

    #[tokio::test]
    async fn those_who_stay_carry_on_when_the_first_gives_up() {
        let flights = Flights::<&str, u32>::new();
        let go = Arc::new(Notify::new());
        let mut first = Box::pin(flights.fly("a", || {
            let go = go.clone();
            async move {
                go.notified().await;
                1
            }
        }));
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(flights.fly("a", || async { 2 }));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        go.notify_one();
        assert_eq!(second.await, Ok(1));
        let abandoned = flights.fly("b", std::future::pending::<u32>);
        let mut abandoned = Box::pin(abandoned);
        assert!(futures::poll!(&mut abandoned).is_pending());
        drop(abandoned);
        assert_eq!(flights.fly("b", || async { 3 }).await, Ok(3));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_for_all_and_the_next_begins_anew() {
        let flights = Flights::<&str, u32>::new();
        let (a, b) = tokio::join!(
            flights.fly("a", || async {
                // So that the other one comes while it is under way.
                tokio::task::yield_now().await;
                panic!("odd")
            }),
            flights.fly("a", || async { 1 })
        );
        assert_eq!((a, b), (Err(Panicked), Err(Panicked)));
        assert_eq!(flights.fly("a", || async { 2 }).await, Ok(2));
    }

    #[tokio::test]
    async fn what_is_forgotten_begins_anew_and_does_not_end_its_successor() {
        let flights = Flights::<&str, u32>::new();
        let (old_go, new_go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let waits = |go: &Arc<Notify>, value: u32| {
            let go = go.clone();
            move || async move {
                go.notified().await;
                value
            }
        };
        let mut old = Box::pin(flights.fly("a", waits(&old_go, 1)));
        assert!(futures::poll!(&mut old).is_pending());
        flights.forget(&"a");
        let mut new = Box::pin(flights.fly("a", waits(&new_go, 2)));
        assert!(futures::poll!(&mut new).is_pending());
        old_go.notify_one();
        assert_eq!(old.await, Ok(1));
        assert_eq!(flights.len(), 1, "the successor is under way");
        let mut third = Box::pin(flights.fly("a", || async { 3 }));
        assert!(futures::poll!(&mut third).is_pending());
        new_go.notify_one();
        assert_eq!((new.await, third.await), (Ok(2), Ok(2)));
    }
}
