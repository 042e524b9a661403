//! Repeated strings: stored once, as the place where they first occurred.

use hashbrown::HashTable;

use super::chunk::{Column, Index, hash_bytes};
use super::text::{TextRef, Texts};

/// Strings by number; number 0 is the empty string.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    /// Name `n` is in row `n - 1`.
    pub(crate) texts: Column<TextRef>,
    pub(crate) index: Index,
}

impl Names {
    /// The number of a name; `key` is its [`hash_bytes`].
    pub(crate) fn intern(
        &mut self,
        log: &Texts,
        (text, key): (TextRef, u64),
        round: &mut NameBatch,
    ) -> u32 {
        if text.is_none() {
            return 0;
        }
        let bytes = log.bytes(text);
        let hash = match self.index.has_process_secret() {
            true => key,
            false => self.index.hash_bytes(bytes),
        };
        let texts = &self.texts;
        let is = |row| match round.get(row) {
            Some(name) => name == bytes,
            None => log.bytes(texts.get(row)) == bytes,
        };
        if let Some(row) = self.index.find(hash, is) {
            return row + 1;
        }
        let row = self.texts.push(text);
        self.index.insert(hash, row);
        round.push(bytes);
        row + 1
    }

    pub(crate) fn text(&self, name: u32) -> TextRef {
        name.checked_sub(1)
            .map_or(TextRef::NONE, |row| self.texts.get(row))
    }
}

/// Copies of the names that one round of loading brought: each comparison with one in the log
/// would have its page read, from all over the log.
#[derive(Debug)]
pub(crate) struct NameBatch {
    first: u32,
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl NameBatch {
    pub(crate) fn starting(names: &Names) -> Self {
        Self {
            first: names.texts.len(),
            ends: Vec::new(),
            bytes: Vec::new(),
        }
    }

    fn get(&self, row: u32) -> Option<&[u8]> {
        let index = row.checked_sub(self.first)? as usize;
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..end)
    }

    fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
    }
}

/// Distinct strings of one piece of the log, numbered from 0 in order of appearance, so that
/// the sequential part of loading looks each of them up only once.
#[derive(Debug, Default)]
pub(crate) struct LocalNames<'a> {
    table: HashTable<u32>,
    /// With their [`hash_bytes`].
    list: Vec<(&'a [u8], u64)>,
}

impl<'a> LocalNames<'a> {
    pub(crate) fn number(&mut self, name: &'a [u8]) -> u32 {
        let list = &mut self.list;
        let key = hash_bytes(name);
        let found = self.table.entry(
            key,
            |&number| list[number as usize].0 == name,
            |&number| list[number as usize].1,
        );
        match found {
            hashbrown::hash_table::Entry::Occupied(entry) => *entry.get(),
            hashbrown::hash_table::Entry::Vacant(entry) => {
                let number = u32::try_from(list.len()).expect("a piece has less than 4 G names");
                entry.insert(number);
                list.push((name, key));
                number
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Forgets the names that were numbered last.
    pub(crate) fn truncate(&mut self, len: usize) {
        while self.list.len() > len
            && let Some((_, key)) = self.list.pop()
        {
            let last = self.list.len();
            let is_last = |&number: &u32| number as usize == last;
            if let Ok(entry) = self.table.find_entry(key, is_last) {
                entry.remove();
            }
        }
    }

    pub(crate) fn into_list(self) -> Vec<(&'a [u8], u64)> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgotten_names_get_new_numbers() {
        let mut names = LocalNames::default();
        let all = [&b"a"[..], b"b", b"a", b"c"].map(|name| names.number(name));
        assert_eq!(all, [0, 1, 0, 2]);
        names.truncate(1);
        assert_eq!(names.len(), 1);
        assert_eq!((names.number(b"c"), names.number(b"a")), (1, 0));
        let list = names.into_list();
        assert!(list.iter().map(|&(name, _)| name).eq([&b"a"[..], b"c"]));
        assert!(list.iter().all(|&(name, key)| key == hash_bytes(name)));
    }
}
