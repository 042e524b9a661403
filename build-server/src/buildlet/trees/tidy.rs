//! Which trees go: those that nobody has asked for in a month, and the oldest ones of too many.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use build_core::tree::remove_tree;

use super::{NOTE, Note, Trees, UNFINISHED};

/// A build may be using what was asked for within this time.
const IN_USE: Duration = Duration::from_secs(24 * 3600);
/// Nobody is believed to ask again for what was not asked for so long.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

/// A tree as far as it matters who goes first.
struct Kept {
    home: PathBuf,
    bytes: u64,
    unused: Duration,
}

impl Trees {
    /// Removes what is not wanted any more, unless somebody looks or unpacks: the next one does it.
    pub(super) fn tidy(&self, lock: &File, now: SystemTime) -> io::Result<()> {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        let tidied = self.tidy_alone(now);
        // Not by closing it: a child that is being started may have it open for a moment.
        lock.unlock()?;
        tidied
    }

    fn tidy_alone(&self, now: SystemTime) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let home = entry?.path();
            let name = home.file_name().unwrap_or_default().to_string_lossy();
            if UNFINISHED.iter().any(|begin| name.starts_with(begin)) {
                // Whoever worked on it is dead: it would hold the lock.
                remove_tree(&home)?;
            } else if let Some(note) = Note::read(&home) {
                let used = fs::metadata(home.join(NOTE))?.modified()?;
                kept.push(Kept {
                    bytes: note.bytes,
                    unused: now.duration_since(used).unwrap_or_default(),
                    home,
                });
            }
        }
        kept.sort_by_key(|tree| tree.unused);
        let mut sum = 0u64;
        for tree in kept {
            sum = sum.saturating_add(tree.bytes);
            let too_many = sum > self.most_bytes && tree.unused > IN_USE;
            if too_many || tree.unused > UNUSED {
                sum -= tree.bytes;
                tracing::info!(tree = %tree.home.display(), "a tree that nobody used goes");
                self.discard(&tree.home)?;
            }
        }
        Ok(())
    }
}
