//! Objects that were decoded lately, for threads that read a history.
//!
//! A pack has most objects as what differs from another one. Without what was decoded before,
//! each of them would begin at the end of its chain again.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::Path;

use gix_hash::ObjectId;
use gix_object::Kind;
use gix_odb::HandleArc;
use gix_odb::pack::cache::{DecodeEntry, Object};

use crate::{Error, Result};

/// Bytes that the caches of all threads hold; each thread has two.
const ALL: usize = 256 << 20;
/// Bytes that one holds at least.
const LEAST: usize = 8 << 20;
/// What an entry takes beside its data, roughly.
const ENTRY: usize = 96;

/// A place in a pack: which one, and where in it.
type Place = (u32, u64);

/// The objects in a folder. Each clone has caches of its own.
pub(super) fn open(folder: &Path) -> Result<HandleArc> {
    let opened = gix_odb::at(folder, gix_hash::Kind::Sha1);
    let objects = opened
        .and_then(gix_odb::Handle::into_arc)
        .map_err(Error::io("open", folder))?;
    let bytes = (ALL / 2 / rayon::current_num_threads()).max(LEAST);
    Ok(objects
        .with_pack_cache(move || Box::new(Recent::<Place>::new(bytes)))
        .with_object_cache(move || Box::new(Recent::<ObjectId>::new(bytes))))
}

/// A decoded object.
struct Entry {
    data: Vec<u8>,
    kind: Kind,
    packed: usize,
}

/// What was put in lately, or asked for: when the younger half is full, it becomes the older
/// one, and what was in that is dropped.
struct Recent<K> {
    young: HashMap<K, Entry>,
    old: HashMap<K, Entry>,
    /// Bytes in the younger half, and how many make it full.
    bytes: usize,
    half: usize,
}

impl<K: Eq + Hash> Recent<K> {
    fn new(bytes: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            bytes: 0,
            half: bytes / 2,
        }
    }

    fn add(&mut self, key: K, entry: Entry) {
        let size = entry.data.len() + ENTRY;
        // One object is not worth all others.
        if size > self.half / 2 {
            return;
        }
        self.bytes += size;
        if self.bytes > self.half {
            self.old = std::mem::take(&mut self.young);
            self.bytes = size;
        }
        self.young.insert(key, entry);
    }

    fn copy(&mut self, key: K, out: &mut Vec<u8>) -> Option<(Kind, usize)> {
        let entry = match self.young.get(&key) {
            Some(entry) => entry,
            None => {
                let found = self.old.remove(&key)?;
                copy(&found, out);
                let said = (found.kind, found.packed);
                self.add(key, found);
                return Some(said);
            }
        };
        copy(entry, out);
        Some((entry.kind, entry.packed))
    }
}

fn copy(entry: &Entry, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&entry.data);
}

impl DecodeEntry for Recent<Place> {
    fn put(&mut self, pack: u32, offset: u64, data: &[u8], kind: Kind, packed: usize) {
        let data = data.to_vec();
        self.add((pack, offset), Entry { data, kind, packed });
    }

    fn get(&mut self, pack: u32, offset: u64, out: &mut Vec<u8>) -> Option<(Kind, usize)> {
        self.copy((pack, offset), out)
    }
}

impl Object for Recent<ObjectId> {
    fn put(&mut self, id: ObjectId, kind: Kind, data: &[u8]) {
        let data = data.to_vec();
        let packed = 0;
        self.add(id, Entry { data, kind, packed });
    }

    fn get(&mut self, id: &ObjectId, out: &mut Vec<u8>) -> Option<Kind> {
        self.copy(*id, out).map(|(kind, _)| kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_memory_is_bounded() {
        let mut recent = Recent::<Place>::new(100 << 10);
        let mut out = vec![7; 3];
        let data = |n: u64| vec![n as u8; 1 << 10];
        for n in 0..1_000 {
            recent.put(0, n, &data(n), Kind::Blob, 5);
            assert_eq!(recent.get(0, 0, &mut out), Some((Kind::Blob, 5)), "{n}");
            assert_eq!(out, data(0));
        }
        assert_eq!(recent.get(1, 999, &mut out), None, "another pack");
        assert_eq!(recent.get(0, 10, &mut out), None, "long ago");
        let held = recent.young.len() + recent.old.len();
        assert!((40..=100).contains(&held), "{held}");
        recent.put(0, 5_000, &vec![0; 60 << 10], Kind::Blob, 5);
        assert_eq!(recent.get(0, 5_000, &mut out), None, "larger than the rest");
    }
}
