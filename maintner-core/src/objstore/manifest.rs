//! The list of segments that counts, and who may write the next one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::log::{SegmentName, Sha224Hex};

const PREFIX: &str = "manifest.";
const SUFFIX: &str = ".json";

/// Who writes a log, and until when others keep away without being told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    owner: String,
    nonce: u64,
    /// In milliseconds since 1970; 0 when it was given up.
    until: u64,
}

impl Held {
    pub(super) fn new(owner: &str, nonce: u64, now: SystemTime, lease: Duration) -> Self {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            owner: owner.to_owned(),
            nonce,
            until: u64::try_from((now + lease).as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn given_up(mut self) -> Self {
        self.until = 0;
        self
    }

    /// Who it is, for people.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Until when it holds the log unless it says so again.
    pub fn until(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.until)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        (&self.owner, self.nonce) == (&other.owner, other.nonce)
    }
}

/// One segment of a log in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) size: u64,
    pub(super) sha224: Sha224Hex,
}

/// The segments of a log in a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Each one has the number after its predecessor's; 0 is the absence of one.
    #[serde(skip)]
    pub(super) number: u64,
    /// Grows when the writer changes.
    pub(super) epoch: u64,
    pub(super) held: Option<Held>,
    pub(super) segments: Vec<Stored>,
}

impl Manifest {
    /// Its number; 0 when the store has none yet.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How often the writer changed.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Who writes the log.
    pub fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|stored| stored.size).sum()
    }

    /// The names of the segments' objects, in order.
    pub fn objects(&self) -> impl Iterator<Item = String> + '_ {
        (0u32..)
            .zip(&self.segments)
            .map(|(number, stored)| stored.name(number))
    }

    pub(super) fn name(number: u64) -> String {
        format!("{PREFIX}{number:016}{SUFFIX}")
    }

    pub(super) fn parse_name(name: &str) -> Option<u64> {
        let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let good = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| digits.parse().ok()).flatten()
    }
}

impl Stored {
    pub(super) fn name(&self, number: u32) -> String {
        SegmentName::Frozen {
            number,
            sha224: self.sha224,
        }
        .to_string()
    }
}
