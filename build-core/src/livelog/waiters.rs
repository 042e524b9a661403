//! Who waits for more text: wakers by reader, woken all at once or one alone.

use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// Wakers of the readers that wait now. A reader that does not wait is not in it and costs nothing.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: Mutex<Vec<(u64, Waker)>>,
}

impl Waiters {
    /// Remembers `waker` for the reader `id`, in place of an earlier one. The caller must look once more
    /// for what it waits for after this: what happened before is not told.
    pub(super) fn register(&self, id: u64, waker: &Waker) {
        let mut waiting = self.lock();
        match waiting.iter_mut().find(|(other, _)| *other == id) {
            Some((_, old)) => old.clone_from(waker),
            None => waiting.push((id, waker.clone())),
        }
    }

    pub(super) fn forget(&self, id: u64) {
        self.lock().retain(|(other, _)| *other != id);
    }

    pub(super) fn wake_all(&self) {
        let woken = std::mem::take(&mut *self.lock());
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }

    pub(super) fn wake(&self, id: u64) {
        let mut waiting = self.lock();
        let found = waiting.iter().position(|(other, _)| *other == id);
        let waker = found.map(|at| waiting.swap_remove(at).1);
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Waker)>> {
        // Nothing panics while the lock is held; a poisoned list is still a list.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
