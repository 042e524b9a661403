//! When keys were used last.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use build_core::Result;
use build_core::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::KeyId;
use super::folder::{Folder, Watched};

const FILE: &str = "used.json";

/// When and from where a key was used last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastUse {
    /// When.
    pub at: Timestamp,
    /// From where, when it came over the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

type Uses = BTreeMap<KeyId, LastUse>;

/// What is written, and what is not yet: a use is a fact of memory, written from time to time.
pub(super) struct Usage {
    written: Watched<Uses>,
    fresh: Mutex<Uses>,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            written: Watched::new(FILE, parse),
            fresh: Mutex::default(),
        }
    }
}

/// A damaged file is nothing that anybody depends on: it begins anew.
fn parse(path: &Path, bytes: Option<&[u8]>) -> Result<Uses> {
    Ok(bytes.map_or_else(Uses::new, |bytes| {
        serde_json::from_slice(bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, file = %path.display(), "when keys were used is not known");
            Uses::new()
        })
    }))
}

impl Usage {
    fn fresh(&self) -> MutexGuard<'_, Uses> {
        // Nothing panics while it holds this lock.
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn used(&self, key: &KeyId, at: Timestamp, from: Option<IpAddr>) {
        let mut new = self.fresh();
        match new.get_mut(key) {
            Some(known) => *known = LastUse { at, from },
            None => drop(new.insert(key.clone(), LastUse { at, from })),
        }
    }

    /// Of every key that was ever used.
    pub(super) fn all(&self, folder: Option<&Folder>) -> Result<Uses> {
        let mut all = Uses::clone(&*self.written.get(folder)?);
        merge(&mut all, &self.fresh());
        Ok(all)
    }

    /// Writes what is not written yet; of keys that `is_kept` knows.
    pub(super) fn flush(
        &self,
        folder: Option<&Folder>,
        is_kept: impl Fn(&KeyId) -> bool,
    ) -> Result<()> {
        let Some(folder) = folder else { return Ok(()) };
        let new = std::mem::take(&mut *self.fresh());
        if new.is_empty() {
            return Ok(());
        }
        let written = (|| {
            let _held = folder.lock()?;
            let mut all = parse(&folder.path(FILE), folder.read(FILE)?.as_deref())?;
            merge(&mut all, &new);
            all.retain(|key, _| is_kept(key));
            let bytes = serde_json::to_vec(&all).expect("names and numbers always serialise");
            folder.write(FILE, &bytes)
        })();
        self.written.forget();
        if written.is_err() {
            // They are written the next time.
            merge(&mut self.fresh(), &new);
        }
        written
    }
}

fn merge(all: &mut Uses, new: &Uses) {
    for (key, last) in new {
        let known = all.entry(key.clone()).or_insert(*last);
        if known.at < last.at {
            *known = *last;
        }
    }
}
