//! What a farm remembers of machines that register, for programs of its admins.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{millis, rfc3339};
use crate::clock::Timestamp;
use crate::ids::{HostType, MachineId};

/// The machines that have registered, and those that were not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachinesPast {
    /// Those that have registered, by id.
    pub machines: Vec<PastMachine>,
    /// The last ones that were not taken, or sent away; the newest last.
    pub refused: Vec<RefusedMachine>,
}

/// What is remembered of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastMachine {
    /// The machine.
    pub machine: MachineId,
    /// Its own name.
    pub host: String,
    /// Its kind.
    pub host_type: HostType,
    /// The version of its buildlet.
    pub version: String,
    /// Where it connected from the last time.
    pub address: IpAddr,
    /// When it registered for the first time.
    #[serde(with = "rfc3339")]
    pub first: Timestamp,
    /// When it was last there: now, for those that are.
    #[serde(with = "rfc3339")]
    pub last: Timestamp,
    /// How often it has registered.
    pub registrations: u64,
    /// How often somebody has held it.
    pub leases: u64,
    /// For how long somebody has held it, all together.
    #[serde(rename = "busy_ms", with = "millis")]
    pub busy: Duration,
    /// How often it was lost while somebody held it, or gave no sign of life.
    pub failures: u64,
    /// Why it left the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_words: Option<String>,
    /// The last things that happened to it, oldest first.
    pub trail: Vec<PastEvent>,
}

/// Something that happened to a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastEvent {
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// What.
    pub what: String,
}

/// A machine that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedMachine {
    /// When, the last time.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// The name that it gave.
    pub host: String,
    /// The kind that it gave.
    pub host_type: String,
    /// Where it connected from.
    pub address: IpAddr,
    /// Why.
    pub why: String,
    /// How often in a row.
    pub count: u64,
}
