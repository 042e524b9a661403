//! What the farm does at present.

use build_core::pool::MachineStatus;
use serde::Serialize;

/// What the farm does at present; the open builds are in the records.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct FarmStatus {
    /// Every machine of every pool.
    pub machines: Vec<MachineStatus>,
    /// Why nothing new begins, if so: the event log cannot be written.
    pub stalled: Option<String>,
}
