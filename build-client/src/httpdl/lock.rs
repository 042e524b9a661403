//! Locks between processes: a file that is held until it is closed, also by being killed.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::part::failed;
use crate::Result;

/// How often a lock that another process holds is tried.
const LOOK: Duration = Duration::from_millis(50);

/// Opens `path` for appending, makes it when it is missing, and holds it alone. `None` when the
/// holder before has removed or renamed it: the lock is then worth nothing.
///
/// It waits without end; the caller has the deadline. Cancel safety: a dropped call holds nothing.
pub(crate) async fn hold(path: &Path, waiting: &(dyn Fn() + Sync)) -> Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    let held = options
        .open(path)
        .map_err(|error| failed("open", path, error))?;
    let mut told = false;
    loop {
        match held.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                if !told {
                    waiting();
                    told = true;
                }
                sleep(LOOK).await;
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", path, error)),
        }
    }
    Ok(still_there(&held, path).then_some(held))
}

/// Whether the locked file still is what the path names.
fn still_there(held: &File, path: &Path) -> bool {
    match (held.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(named)) => (held.dev(), held.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}
