//! The hashes that one piece of the log mentions, each once: the sequential part of loading,
//! where a look-up is a cache miss, looks each of them up once, too.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::super::chunk::hash_bytes;
use crate::GitHash;

/// A distinct hash of one piece of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalHash {
    pub(crate) hash: GitHash,
    /// Its hash in tables that do not outlive the process.
    pub(crate) key: u64,
    /// Named as a commit or parent, not by refs alone.
    pub(crate) named: bool,
}

/// Distinct hashes of one piece of the log, numbered from 0 in order of appearance.
#[derive(Debug, Default)]
pub(crate) struct LocalHashes {
    table: HashTable<u32>,
    list: Vec<LocalHash>,
    /// Those first named by the record that is being read.
    fresh: Vec<u32>,
}

impl LocalHashes {
    /// The number of a hash that a ref points to, and whether a commit was named so before.
    pub(crate) fn target(&mut self, hash: GitHash) -> (u32, bool) {
        let number = self.number(hash);
        (number, self.list[number as usize].named)
    }

    /// The number of a commit or parent.
    pub(crate) fn name(&mut self, hash: GitHash) -> u32 {
        let number = self.number(hash);
        let known = &mut self.list[number as usize];
        if !known.named {
            known.named = true;
            self.fresh.push(number);
        }
        number
    }

    /// The record was read to its end, or it was damaged: then it named nothing.
    pub(crate) fn end_record(&mut self, whole: bool) {
        if !whole {
            let list = &mut self.list;
            let fresh = self.fresh.iter();
            fresh.for_each(|&number| list[number as usize].named = false);
        }
        self.fresh.clear();
    }

    pub(crate) fn into_list(self) -> Vec<LocalHash> {
        self.list
    }

    fn number(&mut self, hash: GitHash) -> u32 {
        let list = &mut self.list;
        let key = hash_bytes(hash.as_bytes());
        let found = self.table.entry(
            key,
            |&number| list[number as usize].hash == hash,
            |&number| list[number as usize].key,
        );
        match found {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let number = u32::try_from(list.len()).expect("a piece has less than 4 G hashes");
                entry.insert(number);
                let named = false;
                list.push(LocalHash { hash, key, named });
                number
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_record_names_nothing() {
        let [a, b, c] = [1, 2, 3].map(|byte| GitHash::new([byte; 20]));
        let mut hashes = LocalHashes::default();
        assert_eq!(hashes.target(a), (0, false));
        assert_eq!((hashes.name(b), hashes.name(b)), (1, 1));
        hashes.end_record(true);
        assert_eq!([hashes.name(a), hashes.name(b), hashes.name(c)], [0, 1, 2]);
        hashes.end_record(false);
        assert_eq!(hashes.target(a), (0, false));
        assert_eq!(hashes.target(b), (1, true));
        assert_eq!(hashes.target(c), (2, false));
        assert_eq!(hashes.into_list().len(), 3);
    }
}
