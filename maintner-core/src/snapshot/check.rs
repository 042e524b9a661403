//! Comparing the checksums of a snapshot, after it was opened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

use super::Section;
use super::read::range;
use crate::corpus::text::Texts;
use crate::map::Map;

/// Read and hashed at once; how long stopping may take depends on it.
const CHUNK: usize = 1 << 20;

/// What is to be checked of an open snapshot.
pub(crate) struct Check {
    map: Arc<Map>,
    sections: Vec<Section>,
    texts: Texts,
    /// Whether the columns are what was written, once that is known.
    sound: Mutex<Option<bool>>,
    stop: AtomicBool,
    resting: Mutex<bool>,
    woken: Condvar,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check")
            .field("sound", &self.sound)
            .finish_non_exhaustive()
    }
}

impl Check {
    pub(super) fn new(map: Arc<Map>, sections: Vec<Section>, texts: Texts) -> Self {
        Self {
            map,
            sections,
            texts,
            sound: Mutex::new(None),
            stop: AtomicBool::new(false),
            resting: Mutex::new(true),
            woken: Condvar::new(),
        }
    }

    /// Reads the whole snapshot, unless that was done, and says whether it is as it was written;
    /// nothing when told to stop before the answer was found.
    pub(crate) fn is_sound(&self) -> Option<bool> {
        let mut sound = lock(&self.sound);
        if sound.is_none() {
            // From now on whoever asks will find most pages in memory.
            self.map.expect_order(true);
            self.texts.expect_order(true);
            *sound = self.compare();
        }
        *sound
    }

    fn compare(&self) -> Option<bool> {
        for section in &self.sections {
            let mut hash = Xxh3::new();
            for chunk in self.map.bytes()[range(section)].chunks(CHUNK) {
                if self.stop.load(Ordering::Relaxed) {
                    return None;
                }
                hash.update(chunk);
            }
            if hash.digest() != section.hash {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Lets `time` pass, in which the first questions have the disk for themselves. Returns
    /// whether the check is still wanted.
    pub(crate) fn rest(&self, time: Duration) -> bool {
        let waited = self
            .woken
            .wait_timeout_while(lock(&self.resting), time, |resting| *resting);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        !self.stop.load(Ordering::Relaxed)
    }

    /// Ends a check that is under way or has not begun.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        *lock(&self.resting) = false;
        self.woken.notify_all();
    }
}

/// Both values are replaced in one step, so a panic elsewhere leaves a whole one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
