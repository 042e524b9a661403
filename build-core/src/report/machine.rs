//! One machine, what is remembered of it, and what may be done with it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{millis, rfc3339};
use crate::clock::Timestamp;
use crate::ids::BuildId;
use crate::machine::{self, MachineRecord};
use crate::pool::MachineStatus;

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
    /// What is remembered of it; absent when nobody has held it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wear: Option<Wear>,
    /// Why nobody gets it, when it is set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<Aside>,
}

/// How much a machine has worked, and how often it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wear {
    /// When somebody held it for the first time.
    #[serde(with = "rfc3339")]
    pub first: Timestamp,
    /// When it was last given back or lost.
    #[serde(with = "rfc3339")]
    pub last: Timestamp,
    /// How often somebody has held it.
    pub leases: u64,
    /// For how long, all together.
    #[serde(rename = "busy_ms", with = "millis")]
    pub busy: Duration,
    /// How often it has failed.
    pub failures: u64,
    /// How often since it was last given back in order.
    pub failures_in_a_row: u32,
    /// Why it failed the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_words: Option<String>,
}

/// Why and until when a machine is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// Why.
    pub why: String,
    /// Since when.
    #[serde(with = "rfc3339")]
    pub since: Timestamp,
    /// It is tried again then.
    #[serde(with = "rfc3339")]
    pub until: Timestamp,
    /// Who set it aside; absent when the farm did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What a person can do.
    pub cure: String,
}

/// That a machine is to be set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldMachine {
    /// Why, for people.
    pub why: String,
    /// For how long.
    #[serde(rename = "for_ms", with = "millis")]
    pub time: Duration,
}

impl Machine {
    /// A machine, with what is remembered of it.
    pub fn new(
        status: MachineStatus,
        build: Option<BuildId>,
        record: Option<&MachineRecord>,
        now: Timestamp,
    ) -> Self {
        let aside = record.and_then(|record| record.aside.as_ref());
        let aside = aside.filter(|aside| aside.holds(now));
        Self {
            aside: aside.map(|aside| Aside::new(status.machine.as_str(), aside)),
            wear: record.filter(|record| record.leases > 0).map(Wear::from),
            status,
            build,
        }
    }
}

impl From<&MachineRecord> for Wear {
    fn from(record: &MachineRecord) -> Self {
        Self {
            first: record.first,
            last: record.last,
            leases: record.leases,
            busy: record.busy,
            failures: record.failures,
            failures_in_a_row: record.failures_in_a_row,
            last_words: record.last_words.clone(),
        }
    }
}

impl Aside {
    fn new(machine: &str, aside: &machine::Aside) -> Self {
        Self {
            why: aside.why.clone(),
            since: aside.since,
            until: aside.until,
            by: aside.by.clone(),
            cure: format!("once it is mended: farmer machine release {machine}"),
        }
    }
}
