//! The machines of a farm, and whether it takes work.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;
use crate::ids::HostType;
use crate::schedule::AccountUse;

/// Every kind of machine, and whether the farm takes work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pools {
    /// The kinds.
    pub pools: Vec<PoolReport>,
    /// The capacities that machines share, and how much of each is taken.
    #[serde(default)]
    pub accounts: Vec<AccountUse>,
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
