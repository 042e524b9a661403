//! When an unpacking must end early: cancelled, too late, too large, too little disk.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::policy::Limits;
use super::untar_error::{Bound, UntarError};
use crate::tree::free_bytes;

/// How often, in entries and in bytes, the disk is asked for its free space.
const FLOOR_ENTRIES: u64 = 256;
const FLOOR_BYTES: u64 = 16 << 20;

/// What the caller set.
pub(super) struct Stop<'a> {
    pub(super) deadline: Option<Instant>,
    pub(super) disk_floor: u64,
    pub(super) cancelled: Box<dyn Fn() -> bool + Send + 'a>,
}

impl Default for Stop<'_> {
    fn default() -> Self {
        Self {
            deadline: None,
            disk_floor: 0,
            cancelled: Box::new(|| false),
        }
    }
}

impl Stop<'_> {
    /// Whether time is up or the caller cancelled.
    pub(super) fn now(&self) -> Result<(), UntarError> {
        if (self.cancelled)() {
            return Err(UntarError::Cancelled);
        }
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            return Err(UntarError::Deadline);
        }
        Ok(())
    }
}

/// The account of one unpacking.
pub(super) struct Account {
    limits: Limits,
    /// Compressed bytes taken so far, where there is compression.
    compressed: Option<Arc<AtomicU64>>,
    entries: u64,
    /// At how many entries and archive bytes the disk is asked next.
    floor_entries: u64,
    floor_bytes: u64,
}

impl Account {
    pub(super) fn new(limits: Limits, compressed: Option<Arc<AtomicU64>>) -> Self {
        Self {
            limits,
            compressed,
            entries: 0,
            floor_entries: 0,
            floor_bytes: 0,
        }
    }

    /// One more entry.
    pub(super) fn entry(&mut self) -> Result<(), UntarError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            Err(over(Bound::Entries, self.limits.entries))
        } else {
            Ok(())
        }
    }

    /// `taken` bytes of the archive are behind, `announced` more belong to the entry at hand.
    pub(super) fn bytes(&self, taken: u64, announced: u64) -> Result<(), UntarError> {
        let limits = &self.limits;
        if taken.saturating_add(announced) > limits.total_bytes {
            return Err(over(Bound::TotalBytes, limits.total_bytes));
        }
        let Some(compressed) = &self.compressed else {
            return Ok(());
        };
        let compressed = compressed.load(Ordering::Relaxed).max(1);
        if taken > limits.ratio_from && taken / compressed > limits.ratio {
            return Err(over(Bound::Ratio, limits.ratio));
        }
        Ok(())
    }

    /// Asks the disk of `dir`, now and then, for its free space.
    pub(super) fn disk(
        &mut self,
        floor: u64,
        dir: BorrowedFd<'_>,
        taken: u64,
    ) -> Result<(), UntarError> {
        let due = self.entries >= self.floor_entries || taken >= self.floor_bytes;
        if floor == 0 || !due {
            return Ok(());
        }
        self.floor_entries = self.entries + FLOOR_ENTRIES;
        self.floor_bytes = taken + FLOOR_BYTES;
        // A file system that cannot tell has no floor; running full is then an error of the write.
        let free = free_bytes(dir).unwrap_or(u64::MAX);
        if free < floor {
            Err(UntarError::DiskFloor { free, floor })
        } else {
            Ok(())
        }
    }
}

fn over(bound: Bound, max: u64) -> UntarError {
    UntarError::Bound {
        name: String::new(),
        bound,
        max,
    }
}
