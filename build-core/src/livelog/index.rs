//! Where lines begin: for each 64 KiB block of text, how many newlines come before it.
//!
//! A block's count depends on the text alone, so the index can be checked and rebuilt at any time,
//! and finding a line is a binary search plus one block, however long lines are.
//!
//! File: 8 bytes of magic, then for block 1, 2, … one little-endian u64 (block 0 has count 0, its
//! place holds the magic).

use std::fs::File;
use std::io;

use super::text::Text;
use crate::read_at::{read_full_at, write_all_at};

/// Bytes of text per index entry.
pub(super) const BLOCK: u64 = 64 << 10;
const MAGIC: [u8; 8] = *b"lineidx1";
const SLOT: u64 = 8;

/// Where counts are kept.
#[derive(Debug)]
pub(super) enum Slots {
    /// In memory: 8 bytes per 64 KiB of text.
    Memory(Vec<u64>),
    /// In a file beside the text.
    File(File),
}

impl Slots {
    /// A new, empty index in this file.
    pub(super) fn create(file: File) -> io::Result<Self> {
        file.set_len(0)?;
        write_all_at(&file, &MAGIC, 0)?;
        Ok(Self::File(file))
    }

    /// Newlines before block `k`; the caller knows that the block was begun.
    pub(super) fn before(&self, k: u64) -> io::Result<u64> {
        if k == 0 {
            return Ok(0);
        }
        match self {
            Self::Memory(counts) => {
                let count = usize::try_from(k - 1).ok().and_then(|i| counts.get(i));
                count
                    .copied()
                    .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            Self::File(file) => {
                let mut slot = [0; 8];
                if read_full_at(file, &mut slot, k * SLOT)? < slot.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(u64::from_le_bytes(slot))
            }
        }
    }

    /// Stores the counts of blocks `first`, `first + 1`, ….
    pub(super) fn store(&mut self, first: u64, counts: &[u64]) -> io::Result<()> {
        match self {
            Self::Memory(all) => {
                all.truncate(usize::try_from(first.saturating_sub(1)).unwrap_or(usize::MAX));
                all.extend_from_slice(counts);
                Ok(())
            }
            Self::File(_) if counts.is_empty() => Ok(()),
            Self::File(file) => {
                let bytes: Vec<u8> = counts
                    .iter()
                    .flat_map(|count| count.to_le_bytes())
                    .collect();
                write_all_at(file, &bytes, first * SLOT)
            }
        }
    }

    /// The writer's index of `text[..length]` in this file, and the newlines in all. Entries that a
    /// crash left torn, missing or wrong are written again.
    pub(super) fn repaired(file: File, text: &Text, length: u64) -> io::Result<(Self, u64)> {
        let mut slots = Self::File(file);
        let good = slots.good(text, length)?;
        if let Self::File(file) = &slots {
            write_all_at(file, &MAGIC, 0)?;
            file.set_len((good + 1) * SLOT)?;
        }
        let newlines = slots.extend(good, text, length)?;
        Ok((slots, newlines))
    }

    /// A reader's index of `text[..length]`, and the newlines in all. The file is only read, because
    /// a writer may be at it: what is missing or wrong there is counted again in memory.
    pub(super) fn for_reading(
        file: Option<File>,
        text: &Text,
        length: u64,
    ) -> io::Result<(Self, u64)> {
        let mut slots = file.map_or_else(|| Self::Memory(Vec::new()), Self::File);
        let good = slots.good(text, length)?;
        if good < length / BLOCK {
            slots = Self::Memory(
                (1..=good)
                    .map(|k| slots.before(k))
                    .collect::<io::Result<_>>()?,
            );
        }
        let newlines = slots.extend(good, text, length)?;
        Ok((slots, newlines))
    }

    /// How many leading entries are right.
    fn good(&self, text: &Text, length: u64) -> io::Result<u64> {
        let mut good = self.plausible(length / BLOCK)?;
        while good > 0 && !self.agrees(text, good)? {
            good -= 1;
        }
        Ok(good)
    }

    /// Adds what follows the first `good` entries; returns the newlines in all.
    fn extend(&mut self, good: u64, text: &Text, length: u64) -> io::Result<u64> {
        let mut tally = Tally {
            newlines: self.before(good)?,
            length: good * BLOCK,
        };
        let mut buffer = vec![0; BLOCK as usize];
        while tally.length < length {
            let left = usize::try_from(length - tally.length).unwrap_or(usize::MAX);
            let most = left.min(buffer.len());
            let n = text.read_at(&mut buffer[..most], tally.length)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let first = tally.length / BLOCK + 1;
            let counts = tally.add(&buffer[..n]);
            self.store(first, &counts)?;
        }
        Ok(tally.newlines)
    }

    /// How many leading entries can be true: counts never fall and a block has no more newlines than
    /// bytes.
    fn plausible(&self, blocks: u64) -> io::Result<u64> {
        let Self::File(file) = self else { return Ok(0) };
        let mut buffer = vec![0; 64 << 10];
        if read_full_at(file, &mut buffer[..8], 0)? < 8 || buffer[..8] != MAGIC {
            return Ok(0);
        }
        let (mut good, mut last) = (0, 0);
        loop {
            let n = read_full_at(file, &mut buffer, (good + 1) * SLOT)?;
            for slot in buffer[..n].chunks_exact(8) {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(slot);
                let count = u64::from_le_bytes(bytes);
                if good == blocks || count < last || count - last > BLOCK {
                    return Ok(good);
                }
                (good, last) = (good + 1, count);
            }
            if n < buffer.len() {
                return Ok(good);
            }
        }
    }

    /// Whether entry `k` is what its block says.
    fn agrees(&self, text: &Text, k: u64) -> io::Result<bool> {
        let mut block = vec![0; BLOCK as usize];
        let n = text.read_full_at(&mut block, (k - 1) * BLOCK)?;
        Ok(n == block.len() && self.before(k)? == self.before(k - 1)? + newlines(&block))
    }
}

/// The running count of a text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) newlines: u64,
    pub(super) length: u64,
}

impl Tally {
    /// Counts `bytes`; returns the counts of the blocks that begin at their end or within them.
    pub(super) fn add(&mut self, mut bytes: &[u8]) -> Vec<u64> {
        let mut counts = Vec::new();
        while !bytes.is_empty() {
            let room = BLOCK - self.length % BLOCK;
            let n = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            self.newlines += newlines(&bytes[..n]);
            self.length += n as u64;
            if self.length.is_multiple_of(BLOCK) {
                counts.push(self.newlines);
            }
            bytes = &bytes[n..];
        }
        counts
    }
}

/// Newlines in `bytes`.
pub(super) fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
