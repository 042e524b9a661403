//! The machines of a farm, and whether it takes work.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;
use crate::ids::{BuildId, HostType};
use crate::pool::MachineStatus;

/// Every kind of machine, and whether the farm takes work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pools {
    /// The kinds.
    pub pools: Vec<PoolReport>,
    /// Why nothing new begins, if so.
    pub stalled: Option<String>,
    /// Since when.
    #[serde(with = "rfc3339::option")]
    pub stalled_since: Option<Timestamp>,
    /// What is wrong with the settings of the farm, if so: those before go on.
    pub misconfigured: Option<String>,
    /// Sources that cannot be read at present.
    #[serde(default)]
    pub lost: Vec<LostSource>,
}

/// A source of work that cannot be read, as a repository that is away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostSource {
    /// Its name.
    pub source: String,
    /// Since when.
    #[serde(with = "rfc3339")]
    pub since: Timestamp,
    /// Why, as it was said last.
    pub why: String,
}

/// The machines of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolReport {
    /// The kind.
    pub host_type: HostType,
    /// How many there are.
    pub machines: usize,
    /// How many are held by builds.
    pub held: usize,
    /// How many cannot be used at present.
    pub troubled: usize,
}

/// Every machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machines {
    /// The machines.
    pub machines: Vec<Machine>,
    /// What no machine could get rid of, and is left alone: a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<String>,
}

/// One machine, and what runs on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The machine.
    #[serde(flatten)]
    pub status: MachineStatus,
    /// The build that holds it.
    pub build: Option<BuildId>,
}
