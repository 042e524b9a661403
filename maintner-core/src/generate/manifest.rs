//! What a generated log holds, kept beside it as `manifest.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::log::LogFolder;
use crate::{Error, Result};

/// Name of the manifest's file.
pub(super) const FILE: &str = "manifest.json";

/// A description of a generated log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    profile: String,
    seed: u64,
    faults: Vec<String>,
    records: u64,
    bytes: u64,
    counts: BTreeMap<String, u64>,
    segments: Vec<String>,
}

impl Manifest {
    pub(super) fn new(
        options: &super::Generator,
        records: u64,
        counts: BTreeMap<&'static str, u64>,
        folder: &LogFolder,
    ) -> Self {
        Self {
            profile: options.profile.name().to_owned(),
            seed: options.seed,
            faults: options
                .faults
                .iter()
                .map(|fault| fault.name().to_owned())
                .collect(),
            records,
            bytes: folder.end().bytes(),
            counts: counts
                .into_iter()
                .map(|(kind, n)| (kind.to_owned(), n))
                .collect(),
            segments: folder
                .segments()
                .iter()
                .map(|s| s.name().to_string())
                .collect(),
        }
    }

    /// Records in the log, a torn one included.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of the log.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many there are of each kind of record or entry.
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// The files of the log, in order.
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let mut text = serde_json::to_string_pretty(self).expect("a manifest has string keys only");
        text.push('\n');
        fs::write(&path, text).map_err(Error::io("write", &path))
    }
}
