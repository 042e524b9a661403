//! What the farm does at present.

use build_core::clock::Timestamp;
use build_core::machine::MachineRecord;
use build_core::plan::Unit;
use build_core::pool::MachineStatus;
use build_core::schedule::{AccountUse, Explanation};
use serde::Serialize;

/// What the farm does at present; the open builds are in the records.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct FarmStatus {
    /// Every machine of every pool.
    pub machines: Vec<MachineStatus>,
    /// The capacities that machines share, and how much of each is taken.
    pub accounts: Vec<AccountUse>,
    /// What is remembered of machines that somebody has held.
    pub records: Vec<MachineRecord>,
    /// Why nothing new begins, if so: the event log cannot be written.
    pub stalled: Option<String>,
    /// Since when.
    pub stalled_since: Option<Timestamp>,
    /// What is wrong with the settings of the farm, so that those before go on.
    pub misconfigured: Option<String>,
    /// What no machine could get rid of, and is left alone: a sentence each.
    pub set_aside: Vec<String>,
    /// Sources that cannot be read at present; each is asked again every few seconds.
    pub lost: Vec<LostSource>,
}

/// A source of work that cannot be read, as a repository that is away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostSource {
    /// Its name.
    pub source: String,
    /// Since when.
    pub since: Timestamp,
    /// Why, as it was said last.
    pub why: String,
}

impl LostSource {
    /// What is wrong, as one sentence.
    pub fn text(&self) -> String {
        let Self { source, since, why } = self;
        format!("{source} cannot be read since {since} and is asked again: {why}")
    }
}

impl FarmStatus {
    /// Why nothing new begins, and since when, as the end of a sentence: `since TIME: WHY`.
    pub fn stalled_text(&self) -> Option<String> {
        let why = self.stalled.as_ref()?;
        Some(match self.stalled_since {
            Some(since) => format!("since {since}: {why}"),
            None => format!("at present: {why}"),
        })
    }
}

/// A unit of a build that waits for a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// The unit.
    pub unit: Unit,
    /// Why it waits.
    pub why: Explanation,
}
