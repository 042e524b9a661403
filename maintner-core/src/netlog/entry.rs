//! The index: what a server says it has.

use serde::{Deserialize, Serialize};

use crate::log::Sha224Hex;

/// The longest segment that a follower accepts: 1 GiB. Servers cut at 16 MiB.
const MAX_SEGMENT: u64 = 1 << 30;

/// One segment in an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Number of the segment, from 0.
    pub number: u32,
    /// Its length in bytes.
    pub size: u64,
    /// Hash of all of it.
    pub sha224: Sha224Hex,
    /// Where it is: absolute, or relative to the address of the index.
    pub url: String,
    /// Whether it is complete. Servers of the Go project do not say; all but the last one are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<bool>,
}

/// All segments, in order of their numbers and without a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index(Vec<Entry>);

/// Why an index was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadIndex {
    /// It is no JSON array of segments.
    #[error("the server's list of segments is malformed")]
    Json(#[from] serde_json::Error),
    /// A number is missing, or they are out of order.
    #[error("the server lists segment {found} where {wanted} should be")]
    Number {
        /// The number listed.
        found: u32,
        /// The number expected.
        wanted: u32,
    },
    /// A segment that nobody would make.
    #[error("the server lists segment {number} with {size} bytes")]
    Size {
        /// Its number.
        number: u32,
        /// The size it claims.
        size: u64,
    },
    /// Nothing, where there was something before.
    #[error("the server lists no segments at all")]
    Empty,
}

impl Index {
    /// Reads the answer of a server to `GET /logs`.
    ///
    /// # Errors
    /// When it is malformed, has gaps, does not begin at 0, or names segments of no bytes or
    /// more than 1 GiB.
    pub fn parse(json: &[u8]) -> Result<Self, BadIndex> {
        // Go encodes an empty slice that was never made as null.
        let entries: Option<Vec<Entry>> = serde_json::from_slice(json)?;
        let entries = entries.unwrap_or_default();
        for (wanted, entry) in (0..).zip(&entries) {
            if entry.number != wanted {
                let found = entry.number;
                return Err(BadIndex::Number { found, wanted });
            }
            if entry.size == 0 || entry.size > MAX_SEGMENT {
                let (number, size) = (entry.number, entry.size);
                return Err(BadIndex::Size { number, size });
            }
        }
        Ok(Self(entries))
    }

    /// An index of these segments.
    pub fn new(entries: Vec<Entry>) -> Self {
        Self(entries)
    }

    /// The segments.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The segments, to be changed.
    pub fn into_entries(self) -> Vec<Entry> {
        self.0
    }

    /// The sum of all sizes: where the log ends.
    pub fn sum(&self) -> u64 {
        self.0.iter().map(|entry| entry.size).sum()
    }

    /// Whether a segment is complete: all but the last one are, and the last one where the
    /// server says so or gives the address that Go servers give to complete ones.
    pub fn is_frozen(&self, number: u32) -> bool {
        let last = number as usize + 1 == self.0.len();
        self.0.get(number as usize).is_some_and(|entry| {
            !last
                || entry.frozen == Some(true)
                || entry.url.starts_with("https://storage.googleapis.com/")
        })
    }

    /// As servers send it: a JSON array indented with tabs.
    pub fn to_json(&self) -> Vec<u8> {
        if self.0.is_empty() {
            return b"[]".to_vec();
        }
        let mut out = Vec::with_capacity(self.0.len() * 200);
        let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut writer = serde_json::Serializer::with_formatter(&mut out, tabs);
        self.0
            .serialize(&mut writer)
            .expect("numbers and texts always serialise");
        out
    }
}

/// Fuzz entry: any answer is read or refused without a panic, and what was read is read again
/// as the same.
pub fn fuzz_index(data: &[u8]) {
    if let Ok(index) = Index::parse(data) {
        assert_eq!(Index::parse(&index.to_json()).ok(), Some(index));
    }
}
