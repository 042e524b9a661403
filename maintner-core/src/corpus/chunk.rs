//! Columns: vectors whose versions share memory.
//!
//! A column starts as a range of a mapped snapshot and continues in blocks on the heap. Cloning
//! it costs one reference count; writing copies only a block that another clone still holds, so
//! a published view is never disturbed and never blocks the writer.

mod spine;

use std::hash::{BuildHasher as _, RandomState};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use self::spine::Spine;
use crate::map::Map;

/// What a column can hold: plain integers without padding, zero when absent.
pub(crate) trait Row:
    FromBytes + IntoBytes + Immutable + KnownLayout + Copy + Send + Sync + 'static
{
}
impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + Send + Sync + 'static> Row for T {}

/// Rows of type `T` inside a mapped file.
#[derive(Debug, Clone)]
pub(crate) struct MappedRows<T> {
    map: Arc<Map>,
    range: Range<usize>,
    rows: PhantomData<T>,
}

impl<T: Row> MappedRows<T> {
    /// The rows in `range` of `map`; `None` when the range does not hold whole, aligned rows.
    pub(crate) fn new(map: Arc<Map>, range: Range<usize>) -> Option<Self> {
        <[T]>::ref_from_bytes(map.bytes().get(range.clone())?).ok()?;
        Some(Self {
            map,
            range,
            rows: PhantomData,
        })
    }

    pub(crate) fn slice(&self) -> &[T] {
        let bytes = self.map.bytes().get(self.range.clone()).unwrap_or_default();
        // Checked when the column was opened; an empty column is the answer to the impossible.
        <[T]>::ref_from_bytes(bytes).unwrap_or_default()
    }

    fn prefetch(&self) {
        self.map.prefetch(self.range.clone());
    }
}

/// Rows per block: changing one row copies its block.
const SHIFT: u32 = 9;
const BLOCK: usize = 1 << SHIFT;

/// A growing, shareable column of rows addressed by `u32`.
#[derive(Debug, Clone)]
pub(crate) struct Column<T> {
    base: Option<MappedRows<T>>,
    blocks: Spine<[T]>,
    len: u32,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self {
            base: None,
            blocks: Spine::default(),
            len: 0,
        }
    }
}

impl<T: Row> Column<T> {
    /// A column that continues the mapped rows.
    pub(crate) fn mapped(base: MappedRows<T>) -> Option<Self> {
        let len = u32::try_from(base.slice().len()).ok()?;
        Some(Self {
            base: Some(base),
            blocks: Spine::default(),
            len,
        })
    }

    /// Has the mapped rows read from the disk ahead of their use.
    pub(crate) fn prefetch(&self) {
        self.base.iter().for_each(MappedRows::prefetch);
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The row, or zeros beyond the end.
    pub(crate) fn get(&self, row: u32) -> T {
        let index = row as usize;
        if let Some(block) = self.blocks.get(index >> SHIFT) {
            return block[index & (BLOCK - 1)];
        }
        let base = self.base.as_ref().map_or(&[][..], MappedRows::slice);
        base.get(index).copied().unwrap_or_else(T::new_zeroed)
    }

    /// All rows in order, in contiguous pieces.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[T]> {
        let base = self.base.as_ref().map_or(&[][..], MappedRows::slice);
        let len = self.len as usize;
        (0..len.div_ceil(BLOCK)).map(move |number| {
            let range = number * BLOCK..((number + 1) * BLOCK).min(len);
            match self.blocks.get(number) {
                Some(block) => &block[..range.len()],
                None => base.get(range).unwrap_or_default(),
            }
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = T> {
        self.slices().flatten().copied()
    }

    /// Appends a row and returns its number.
    pub(crate) fn push(&mut self, value: T) -> u32 {
        let row = self.len;
        self.len += 1;
        self.block(row)[row as usize & (BLOCK - 1)] = value;
        row
    }

    /// Appends rows, block by block.
    pub(crate) fn append(&mut self, mut rows: &[T]) {
        while !rows.is_empty() {
            let start = self.len as usize & (BLOCK - 1);
            let (now, later) = rows.split_at(rows.len().min(BLOCK - start));
            self.block(self.len)[start..start + now.len()].copy_from_slice(now);
            self.len += now.len() as u32;
            rows = later;
        }
    }

    pub(crate) fn set(&mut self, row: u32, value: T) {
        self.update(row, |place| *place = value);
    }

    /// Changes one row in place. Others than existing ones, which only the index of a damaged
    /// snapshot names, stay as they are.
    pub(crate) fn update(&mut self, row: u32, change: impl FnOnce(&mut T)) {
        if row < self.len {
            change(&mut self.block(row)[row as usize & (BLOCK - 1)]);
        }
    }

    /// Appends zero rows up to `len`.
    pub(crate) fn extend_to(&mut self, len: u32) {
        let first = self.len as usize >> SHIFT;
        self.len = self.len.max(len);
        for number in first..(self.len as usize).div_ceil(BLOCK) {
            if self.blocks.get(number).is_none() {
                self.block((number << SHIFT) as u32);
            }
        }
    }

    /// The block of `row`, owned by this column alone.
    fn block(&mut self, row: u32) -> &mut [T] {
        let number = row as usize >> SHIFT;
        let base = &self.base;
        let block = self.blocks.block(number, || {
            let mapped = base.as_ref().map_or(&[][..], MappedRows::slice);
            let start = number << SHIFT;
            let mapped = mapped
                .get(start..mapped.len().min(start + BLOCK))
                .unwrap_or_default();
            let zeros = std::iter::repeat_n(T::new_zeroed(), BLOCK - mapped.len());
            mapped.iter().copied().chain(zeros).collect()
        });
        Arc::make_mut(block)
    }
}

/// Rows per block of lists: small, because changing one list copies its block.
const LISTS: usize = 64;

#[derive(Debug, Clone)]
struct ListBlock<T> {
    /// Where each list ends in `values`.
    ends: [u32; LISTS],
    values: Vec<T>,
}

impl<T> ListBlock<T> {
    fn range(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[index] as usize
    }
}

/// A mapped column of lists: offsets (one more than lists) and values.
#[derive(Debug, Clone)]
struct MappedLists<T> {
    offsets: MappedRows<u64>,
    values: MappedRows<T>,
}

impl<T: Row> MappedLists<T> {
    fn get(&self, row: usize) -> &[T] {
        let offsets = self.offsets.slice();
        match (offsets.get(row), offsets.get(row + 1)) {
            (Some(&start), Some(&end)) => self
                .values
                .slice()
                .get(start as usize..end as usize)
                .unwrap_or_default(),
            _ => &[],
        }
    }
}

/// A column of lists, one a row.
#[derive(Debug, Clone)]
pub(crate) struct Lists<T> {
    base: Option<MappedLists<T>>,
    blocks: Spine<ListBlock<T>>,
    len: u32,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self {
            base: None,
            blocks: Spine::default(),
            len: 0,
        }
    }
}

impl<T: Row> Lists<T> {
    pub(crate) fn mapped(offsets: MappedRows<u64>, values: MappedRows<T>) -> Option<Self> {
        let len = u32::try_from(offsets.slice().len().checked_sub(1)?).ok()?;
        Some(Self {
            base: Some(MappedLists { offsets, values }),
            blocks: Spine::default(),
            len,
        })
    }

    /// Has the lengths of the mapped lists read from the disk ahead of their use.
    pub(crate) fn prefetch_lengths(&self) {
        self.base.iter().for_each(|base| base.offsets.prefetch());
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The list of `row`; empty beyond the end.
    pub(crate) fn get(&self, row: u32) -> &[T] {
        let row = row as usize;
        if let Some(block) = self.blocks.get(row / LISTS) {
            return &block.values[block.range(row % LISTS)];
        }
        self.base.as_ref().map_or(&[], |base| base.get(row))
    }

    /// Appends empty lists up to `len`.
    pub(crate) fn extend_to(&mut self, len: u32) {
        self.len = self.len.max(len);
    }

    /// Replaces the list of `row`, appending empty lists up to it.
    pub(crate) fn set(&mut self, row: u32, list: &[T]) {
        if self.get(row).as_bytes() == list.as_bytes() && row < self.len {
            return;
        }
        self.len = self.len.max(row + 1);
        let index = row as usize % LISTS;
        let block = self.block(row);
        let old = block.range(index);
        let old_len = old.len();
        block.values.splice(old, list.iter().copied());
        for end in &mut block.ends[index..] {
            *end = (*end as usize + list.len() - old_len) as u32;
        }
        // A full block is not appended to any more: give the slack back.
        if index == LISTS - 1 {
            block.values.shrink_to_fit();
        }
    }

    /// Appends a list and returns its row.
    pub(crate) fn push(&mut self, list: &[T]) -> u32 {
        let row = self.len;
        self.set(row, list);
        row
    }

    fn block(&mut self, row: u32) -> &mut ListBlock<T> {
        let number = row as usize / LISTS;
        let base = &self.base;
        let block = self.blocks.block(number, || {
            let mut block = ListBlock {
                ends: [0; LISTS],
                values: Vec::new(),
            };
            for index in 0..LISTS {
                let list = base
                    .as_ref()
                    .map_or(&[][..], |base| base.get(number * LISTS + index));
                block.values.extend_from_slice(list);
                block.ends[index] = block.values.len() as u32;
            }
            Arc::new(block)
        });
        Arc::make_mut(block)
    }
}

/// A hash table from keys stored elsewhere to rows: linear probing over a column, so that it
/// opens in place and shares memory between versions like any other column.
///
/// A slot holds the upper half of the hash beside the row: keys that differ are told apart, and
/// the table grows, without a look at the keys, which would be a cache miss each.
///
/// What is indexed is chosen by whoever writes the log, so the hash depends on a secret, which
/// the snapshot keeps with the slots.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    /// Upper half of the hash, then row + 1; 0 is free. The length is a power of two.
    slots: Column<u64>,
    used: u32,
    secret: u64,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            slots: Column::default(),
            used: 0,
            secret: secret(),
        }
    }
}

/// A number that others do not know, the same as long as the process lives.
fn secret() -> u64 {
    static SECRET: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    *SECRET
}

impl Index {
    pub(crate) fn mapped(slots: Column<u64>, used: u32, secret: u64) -> Option<Self> {
        let fits =
            slots.len() == 0 && used == 0 || slots.len().is_power_of_two() && used < slots.len();
        fits.then_some(Self {
            slots,
            used,
            secret,
        })
    }

    /// An empty index.
    pub(crate) fn with_secret(secret: u64) -> Self {
        Self {
            secret,
            ..Self::default()
        }
    }

    pub(crate) fn secret(&self) -> u64 {
        self.secret
    }

    /// Whether [`hash_bytes`] gives the hashes of this index.
    pub(crate) fn has_process_secret(&self) -> bool {
        self.secret == secret()
    }

    /// The hash of bytes in this index.
    pub(crate) fn hash_bytes(&self, bytes: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.secret)
    }

    /// The hash of a pair of numbers in this index.
    pub(crate) fn hash_pair(&self, a: impl Into<u64>, b: impl Into<u64>) -> u64 {
        self.hash_bytes([a.into(), b.into()].as_bytes())
    }

    pub(crate) fn slots(&self) -> &Column<u64> {
        &self.slots
    }

    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    /// The row with this hash for which `is` holds.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        if self.slots.len() == 0 {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut slot = (hash >> 32) as u32 & mask;
        // At least one slot in three is free, so this ends; the count guards against damage.
        for _ in 0..=mask {
            let found = self.slots.get(slot);
            if found == 0 {
                return None;
            }
            let row = (found as u32).wrapping_sub(1);
            if (found ^ hash) >> 32 == 0 && is(row) {
                return Some(row);
            }
            slot = (slot + 1) & mask;
        }
        None
    }

    /// Adds a row that is not there yet.
    pub(crate) fn insert(&mut self, hash: u64, row: u32) {
        if self.slots.len() == 0 || self.used >= self.slots.len() / 3 * 2 {
            self.grow();
        }
        self.used += 1;
        let value = hash >> 32 << 32 | u64::from(row + 1);
        // A damaged snapshot may have no free slot, whatever it says.
        if !Self::place(&mut self.slots, value) {
            self.grow();
            Self::place(&mut self.slots, value);
        }
    }

    fn grow(&mut self) {
        let mut slots = Column::default();
        slots.extend_to((self.slots.len() * 2).max(64));
        for slot in self.slots.iter().filter(|&slot| slot != 0) {
            Self::place(&mut slots, slot);
        }
        self.slots = slots;
    }

    /// Puts a value into the first free slot from its own on, if there is one.
    fn place(slots: &mut Column<u64>, value: u64) -> bool {
        let mask = slots.len() - 1;
        let mut slot = (value >> 32) as u32 & mask;
        for _ in 0..=mask {
            if slots.get(slot) == 0 {
                slots.set(slot, value);
                return true;
            }
            slot = (slot + 1) & mask;
        }
        false
    }
}

/// `rows`, which are in the order of their numbers, with fresh ones at their places. Numbers are
/// looked up where fresh rows go, not for all rows.
pub(crate) fn with_fresh(
    rows: &[u32],
    fresh: impl Iterator<Item = (i32, u32)>,
    number: impl Fn(u32) -> i32,
) -> Vec<u32> {
    let mut fresh: Vec<(i32, u32)> = fresh.collect();
    fresh.sort_by_key(|&(number, _)| number);
    let mut all = Vec::with_capacity(rows.len() + fresh.len());
    let mut rest = rows;
    for (new, row) in fresh {
        // Nearly always everything comes before what is new.
        let all_before = rest.last().is_none_or(|&last| number(last) <= new);
        let before = match all_before {
            true => rest.len(),
            false => rest.partition_point(|&row| number(row) <= new),
        };
        let (now, later) = rest.split_at(before);
        all.extend_from_slice(now);
        all.push(row);
        rest = later;
    }
    all.extend_from_slice(rest);
    all
}

/// The hash of bytes in tables that do not outlive the process.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_do_not_see_later_writes() {
        let mut column = Column::default();
        for n in 0..10_000u32 {
            column.push(n);
        }
        let view = column.clone();
        column.set(5_000, 1);
        column.push(7);
        assert_eq!(
            (view.get(5_000), view.len(), view.get(10_000)),
            (5_000, 10_000, 0)
        );
        assert_eq!((column.get(5_000), column.get(10_000)), (1, 7));
        let more: Vec<u32> = (10_001..20_000).collect();
        column.append(&more);
        assert_eq!((column.len(), view.len()), (20_000, 10_000));
        assert!(column.iter().skip(10_001).eq(more));
        assert!(view.iter().eq(0..10_000));
    }

    #[test]
    fn lists_can_be_replaced_by_longer_and_shorter_ones() {
        let mut lists = Lists::default();
        let mut model: Vec<Vec<u32>> = Vec::new();
        for row in 0..200u32 {
            let list: Vec<u32> = (0..row % 7).collect();
            assert_eq!(lists.push(&list), row);
            model.push(list);
        }
        let view = lists.clone();
        for (row, len) in [(0, 9), (63, 0), (64, 30), (199, 1), (5, 5), (5, 0)] {
            let list: Vec<u32> = (100..100 + len).collect();
            lists.set(row, &list);
            model[row as usize] = list;
        }
        for (row, list) in model.iter().enumerate() {
            assert_eq!(lists.get(row as u32), list, "row {row}");
        }
        assert_eq!(view.get(64), [0], "64 % 7 = 1 element");
        assert!(lists.get(200).is_empty());
    }

    #[test]
    fn fresh_rows_go_to_the_places_of_their_numbers() {
        let numbers = [5, 1, 9, 3, 7, 9, 2, 11];
        let number = |row: u32| numbers[row as usize];
        let fresh = |rows: &[u32]| {
            let fresh: Vec<_> = rows.iter().map(|&row| (number(row), row)).collect();
            fresh.into_iter()
        };
        assert_eq!(with_fresh(&[], fresh(&[1, 0]), number), [1, 0]);
        assert_eq!(with_fresh(&[1, 0], fresh(&[]), number), [1, 0]);
        let all = with_fresh(&[1, 0, 2], fresh(&[6, 3, 4, 5, 7]), number);
        assert_eq!(all, [1, 6, 3, 0, 4, 2, 5, 7]);
    }

    #[test]
    fn the_index_finds_what_was_put_in() {
        let mut index = Index::default();
        for row in 0..20_000u32 {
            index.insert(index.hash_pair(row, 3u32), row);
        }
        let find = |row: u32| index.find(index.hash_pair(row, 3u32), |r| r == row);
        assert!((0..20_000).all(|row| find(row) == Some(row)));
        assert_eq!(find(20_000), None);
    }

    #[test]
    fn keys_that_hardly_differ_are_as_good_as_others() {
        use std::cell::Cell;
        for place in [0, 8, 16] {
            let key = |row: u32| {
                let mut key = [7; 20];
                key[place..place + 4].copy_from_slice(&row.to_le_bytes());
                key
            };
            let mut index = Index::default();
            for row in 0..30_000 {
                index.insert(index.hash_bytes(&key(row)), row);
            }
            let slots: Vec<u64> = index.slots.iter().collect();
            let longest = slots.split(|&slot| slot == 0).map(<[u64]>::len).max();
            // About 60 at two slots in three taken; all in one run is what must not be.
            assert!(longest < Some(600), "differing at {place}: {longest:?}");
            let compared = Cell::new(0);
            for row in 0..30_000 {
                let is = |found| {
                    compared.set(compared.get() + 1);
                    found == row
                };
                assert_eq!(index.find(index.hash_bytes(&key(row)), is), Some(row));
            }
            assert!(compared.get() < 30_100, "{} comparisons", compared.get());
        }
    }

    #[test]
    fn mapped_columns_are_continued_on_the_heap() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("column");
        let rows: Vec<u32> = (0..5_000).collect();
        std::fs::write(&path, rows.as_bytes()).unwrap();
        let map = Arc::new(Map::open(&path, 20_000).unwrap());
        let mut column = Column::mapped(MappedRows::<u32>::new(map, 0..20_000).unwrap()).unwrap();
        let view = column.clone();
        column.set(1, 42);
        column.push(5_000);
        column.extend_to(9_000);
        assert_eq!(
            (column.get(1), column.get(4_999), column.get(5_000)),
            (42, 4_999, 5_000)
        );
        assert_eq!((view.get(1), view.len()), (1, 5_000));
        assert_eq!(column.iter().count(), 9_000);
        assert_eq!(column.iter().last(), Some(0));
    }
}
