//! Who waits for more text: wakers by reader, woken all at once or one alone.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Wakers of the readers that wait now. A reader that does not wait is not in it and costs nothing.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// How often all were woken. A reader that registered in an earlier round is known not to be
    /// here, so that a thousand readers need not search for themselves.
    round: u64,
    wakers: Vec<(u64, Waker)>,
}

/// A reader's place among those who wait.
#[derive(Debug)]
pub(super) struct Ticket {
    id: u64,
    /// The round of the last registration.
    round: Option<u64>,
}

impl Ticket {
    pub(super) fn new(id: u64) -> Self {
        Self { id, round: None }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Waiters {
    /// Remembers `waker`, in place of an earlier one of this reader. The caller must look once more for
    /// what it waits for after this: what happened before is not told.
    pub(super) fn register(&self, ticket: &mut Ticket, waker: &Waker) {
        let mut waiting = self.lock();
        let again = ticket.round.replace(waiting.round) == Some(waiting.round);
        let mut entries = waiting.wakers.iter_mut();
        let old = if again {
            entries.find(|(id, _)| *id == ticket.id)
        } else {
            None
        };
        match old {
            Some((_, old)) => old.clone_from(waker),
            None => waiting.wakers.push((ticket.id, waker.clone())),
        }
    }

    pub(super) fn forget(&self, ticket: &Ticket) {
        let mut waiting = self.lock();
        if ticket.round == Some(waiting.round) {
            waiting.wakers.retain(|(id, _)| *id != ticket.id);
        }
    }

    /// How many wait now.
    pub(super) fn count(&self) -> usize {
        self.lock().wakers.len()
    }

    pub(super) fn wake_all(&self) {
        let mut waiting = self.lock();
        waiting.round += 1;
        let woken = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }

    pub(super) fn wake(&self, id: u64) {
        let mut waiting = self.lock();
        let found = waiting.wakers.iter().position(|(other, _)| *other == id);
        let waker = found.map(|at| waiting.wakers.swap_remove(at).1);
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while the lock is held; a poisoned list is still a list.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_registration_is_woken_once() {
        let waiters = Waiters::default();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let woken = || count.0.swap(0, Ordering::Relaxed);
        let (mut a, mut b) = (Ticket::new(1), Ticket::new(2));
        for _ in 0..3 {
            waiters.register(&mut a, &waker);
            waiters.register(&mut a, &waker);
            waiters.register(&mut b, &waker);
            waiters.wake_all();
            assert_eq!(woken(), 2);
        }
        waiters.wake_all();
        assert_eq!(woken(), 0);
        waiters.register(&mut a, &waker);
        waiters.register(&mut b, &waker);
        waiters.forget(&a);
        waiters.wake(1);
        assert_eq!(woken(), 0);
        waiters.wake(2);
        assert_eq!(woken(), 1);
        waiters.register(&mut a, &waker);
        waiters.wake_all();
        assert_eq!(woken(), 1);
    }
}
