//! One writer at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::{Error, Result};

/// Name of the file whose lock says that a writer is at work.
const FILE: &str = "maintner.lock";

/// The right to change the files of a log folder, until dropped.
///
/// [`LogWriter`](super::LogWriter) takes it by itself; programs that change
/// files in other ways ([`repair`](super::repair)) take it first.
#[derive(Debug)]
pub struct LogLock {
    file: File,
}

impl LogLock {
    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// [`Error::Locked`] when somebody else has it.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                path: folder.to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
        }
    }
}

impl Drop for LogLock {
    fn drop(&mut self) {
        // Closing the file alone would not free it at once: a child that another thread starts
        // has the same open file until it calls exec.
        let _ = self.file.unlock();
    }
}
