//! `[limits]` of `farmer.toml`: what each step may take at most on the farm's own machines.

use serde::Deserialize;

use super::farmer_toml::{RawSize, invalid};
use crate::error::Result;

/// What a step may take at most, whatever its commit says; `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepLimits {
    /// Bytes of memory of its processes.
    pub memory_bytes: Option<u64>,
    /// Processes.
    pub processes: Option<u64>,
    /// Bytes on the disk in the directory of its machine.
    pub disk_bytes: Option<u64>,
    /// Files and directories there.
    pub files: Option<u64>,
}

#[derive(Default, Deserialize)]
pub(super) struct RawStepLimits {
    memory: Option<RawSize>,
    processes: Option<u64>,
    quota: Option<RawSize>,
    files: Option<u64>,
}

impl RawStepLimits {
    pub(super) fn read(self) -> Result<StepLimits> {
        let size = |raw: Option<RawSize>, key: &str| {
            let read = raw.map(|size| size.read(&format!("limits.{key}")));
            positive(read.transpose()?, key)
        };
        Ok(StepLimits {
            memory_bytes: size(self.memory, "memory")?,
            processes: positive(self.processes, "processes")?,
            disk_bytes: size(self.quota, "quota")?,
            files: positive(self.files, "files")?,
        })
    }
}

fn positive(given: Option<u64>, key: &str) -> Result<Option<u64>> {
    if given == Some(0) {
        return Err(
            invalid(format!("limits.{key} is 0, with which nothing can run"))
                .with_hint("give more, or leave it out for no limit"),
        );
    }
    Ok(given)
}
