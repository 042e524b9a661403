//! A file that one process holds alone, until it lets go or ends, however it ends.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

/// How often a lock that somebody else holds is tried.
const LOOK: Duration = Duration::from_millis(2);

/// A locked file; dropping it frees the lock at once.
///
/// Closing the file would not: between fork and exec a child that another thread starts has the
/// same open file, and with it the lock.
#[derive(Debug)]
pub(crate) struct FileLock(File);

impl FileLock {
    /// Locks `file`, waiting for `patience` at most. `None` when somebody else still has it.
    ///
    /// # Errors
    /// When the file system has no locks.
    pub(crate) fn take(file: File, patience: Duration) -> io::Result<Option<Self>> {
        let begin = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self(file))),
                Err(TryLockError::WouldBlock) if begin.elapsed() < patience => {
                    std::thread::sleep(LOOK);
                }
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Should it fail, the end of the file is the end of the lock.
        let _ = self.0.unlock();
    }
}

impl Deref for FileLock {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for FileLock {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_lock_is_free_though_the_file_is_still_open_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = FileLock::take(File::create(&path).unwrap(), Duration::ZERO).unwrap();
        let lock = lock.expect("nobody else has it");
        // What a forked child has until it calls exec.
        let inherited = lock.try_clone().unwrap();
        let other = || FileLock::take(File::open(&path).unwrap(), Duration::ZERO).unwrap();
        assert!(other().is_none());
        drop(lock);
        assert!(other().is_some());
        drop(inherited);
    }

    #[test]
    fn patience_waits_for_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let open = || {
            File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .unwrap()
        };
        let first = FileLock::take(open(), Duration::ZERO).unwrap();
        let file = open();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| FileLock::take(file, Duration::from_secs(30)));
            drop(first);
            assert!(second.join().unwrap().unwrap().is_some());
        });
    }
}
