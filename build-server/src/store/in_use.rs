//! Contents that are not removed now, whatever their age.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use build_core::Result;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{BlobKey, Blobs};

/// How long contents stay that were just stored: more than it takes until an event names them, also
/// on a loaded machine.
const UNTIL_RECORDED: Duration = Duration::from_secs(60 * 60);

/// Which contents somebody reads, or has stored to record them soon: a sweep passes them over. Clones
/// are the same one.
#[derive(Clone, Default)]
pub struct InUse(Arc<Mutex<HashMap<BlobKey, Use>>>);

#[derive(Default)]
struct Use {
    readers: Weak<()>,
    stored: Option<Instant>,
}

impl Use {
    fn is_over(&self, now: Instant) -> bool {
        let is_old = |stored: Instant| now.duration_since(stored) > UNTIL_RECORDED;
        self.readers.strong_count() == 0 && self.stored.is_none_or(is_old)
    }
}

/// As long as this lives, contents are not removed.
#[derive(Clone, Debug)]
#[must_use]
pub struct Reading {
    _counted: Arc<()>,
}

impl InUse {
    /// Somebody begins to read them. What is removed at this moment is gone when this returns.
    ///
    /// Cancel safe.
    pub async fn read(&self, key: &BlobKey) -> Reading {
        let mut all = self.0.lock().await;
        let of_key = all.entry(key.clone()).or_default();
        let reading = of_key.readers.upgrade().unwrap_or_default();
        of_key.readers = Arc::downgrade(&reading);
        Reading { _counted: reading }
    }

    /// They were stored, and will be recorded within the hour. What is removed at this moment is gone
    /// when this returns: whoever has stored them looks, and stores them again.
    ///
    /// Cancel safe.
    pub async fn stored(&self, key: &BlobKey) {
        let mut all = self.0.lock().await;
        all.entry(key.clone()).or_default().stored = Some(Instant::now());
    }

    /// Removes contents unless they are in use; whether it did.
    ///
    /// # Errors
    /// As [`Blobs::remove`].
    pub async fn remove(&self, blobs: &dyn Blobs, key: &BlobKey) -> Result<bool> {
        let mut all = self.0.lock().await;
        let now = Instant::now();
        all.retain(|_, of_key| !of_key.is_over(now));
        if all.contains_key(key) {
            return Ok(false);
        }
        // With the lock: nobody begins to use them meanwhile.
        blobs.remove(key).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use build_client::once;

    use super::super::{BlobKind, MemoryBlobs};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_read_or_was_just_stored_stays() {
        let (blobs, used) = (MemoryBlobs::default(), InUse::default());
        let key = BlobKey::new(BlobKind::Artifact, "k").unwrap();
        blobs.put(&key, once("text")).await.unwrap();
        let (first, second) = (used.read(&key).await, used.read(&key).await);
        drop(first);
        assert!(!used.remove(&blobs, &key).await.unwrap());
        drop(second);
        used.stored(&key).await;
        assert!(!used.remove(&blobs, &key).await.unwrap());
        tokio::time::advance(UNTIL_RECORDED + Duration::from_secs(1)).await;
        assert!(used.remove(&blobs, &key).await.unwrap());
        assert_eq!(blobs.size(&key).await.unwrap(), None);
    }
}
