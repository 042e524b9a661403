//! What a farm remembers of its machines, whatever pool they are of: how much they have worked, how
//! often they failed, what was said last, and whether they are set aside.
//!
//! A record is kept by what happens to leases, as the [`crate::dispatch::Dispatcher`] tells it to the
//! log; it is written with those events, so it survives a restart. A machine that fails again and
//! again, while others of its kind do not, is set aside for a time: see [`SICK_AFTER`].

mod records;

pub use records::{MACHINE_MEMOS, Records};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Timestamp, micros};
use crate::ids::{HostType, MachineId};

/// A machine that has failed so often in a row is sick, when another one of its kind is well. Where
/// all fail it is not the machines; and the only one of its kind is tried again and again, for
/// nobody else can do its work.
pub const SICK_AFTER: u32 = 3;
/// For how long it is set aside at first; twice as long each time, while it does not get well.
pub const FIRST_REST: Duration = Duration::from_secs(60 * 60);
/// Longest time that a machine is set aside for by itself.
pub const LONGEST_REST: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest text that is remembered.
const WORDS: usize = 400;

/// What is remembered of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MachineRecord {
    /// The machine.
    pub machine: MachineId,
    /// Its kind, as it was told last.
    pub host_type: HostType,
    /// When somebody held it for the first time.
    pub first: Timestamp,
    /// When it was last given back or lost.
    pub last: Timestamp,
    /// How often somebody has held it.
    pub leases: u64,
    /// For how long, all together, as far as the processes that ended the leases had seen it.
    #[serde(rename = "busy_us", with = "micros")]
    pub busy: Duration,
    /// How often it has failed.
    pub failures: u64,
    /// How often since it was last given back in order.
    pub failures_in_a_row: u32,
    /// Why it failed the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_words: Option<String>,
    /// How often it was set aside since it was last given back in order.
    #[serde(default)]
    pub rests: u32,
    /// Why and until when nobody gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<Aside>,
}

/// Why and until when a machine is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// Why, for people.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// It is tried again then.
    pub until: Timestamp,
    /// Who set it aside; `None`: the farm did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Aside {
    /// Whether that is so at a time.
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }
}

/// How a lease ended, as far as its machine is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was given back in order.
    Well,
    /// The machine failed.
    Failed,
    /// The machine is not to blame, and nobody knows whether it is well.
    Unknown,
}

impl MachineRecord {
    /// Nobody has held it yet.
    pub fn new(machine: MachineId, host_type: HostType, now: Timestamp) -> Self {
        Self {
            machine,
            host_type,
            first: now,
            last: now,
            leases: 0,
            busy: Duration::ZERO,
            failures: 0,
            failures_in_a_row: 0,
            last_words: None,
            rests: 0,
            aside: None,
        }
    }

    /// Whether it has not failed the last time.
    pub fn is_well(&self, now: Timestamp) -> bool {
        self.failures_in_a_row == 0 && self.aside.as_ref().is_none_or(|aside| !aside.holds(now))
    }

    /// A lease has ended.
    pub fn ended(&mut self, verdict: Verdict, busy: Duration, why: &str, now: Timestamp) {
        self.last = self.last.max(now);
        self.leases += 1;
        // As it is written: whole microseconds.
        let busy = Duration::from_micros(u64::try_from(busy.as_micros()).unwrap_or(u64::MAX));
        self.busy = self.busy.saturating_add(busy);
        match verdict {
            Verdict::Well => {
                self.failures_in_a_row = 0;
                self.rests = 0;
            }
            Verdict::Failed => {
                self.failures += 1;
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                self.last_words = Some(why.chars().take(WORDS).collect());
            }
            Verdict::Unknown => {}
        }
    }

    /// Whether it is to be set aside, when another one of its kind is well.
    pub fn is_sick(&self) -> bool {
        self.failures_in_a_row >= SICK_AFTER
    }

    /// Sets it aside because it is sick.
    pub fn rest(&mut self, now: Timestamp) {
        let times = self.rests.min(10);
        let rest = (FIRST_REST * (1 << times)).min(LONGEST_REST);
        self.rests = self.rests.saturating_add(1);
        let last = self.last_words.as_deref().unwrap_or("nobody knows why");
        self.aside = Some(Aside {
            why: format!(
                "it failed {} times in a row, at last: {last}",
                self.failures_in_a_row
            ),
            since: now,
            until: now + rest,
            by: None,
        });
    }

    /// Somebody sets it aside.
    pub fn put_aside(&mut self, aside: Aside) {
        self.aside = Some(Aside {
            why: aside.why.chars().take(WORDS).collect(),
            ..aside
        });
    }

    /// It may be used again: what was is forgiven.
    pub fn release(&mut self) {
        self.aside = None;
        self.failures_in_a_row = 0;
        self.rests = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_stays_sick_rests_twice_as_long_each_time() {
        let at = Timestamp::from_seconds;
        let id = MachineId::new("m1").unwrap();
        let mut record = MachineRecord::new(id, HostType::new("big").unwrap(), at(0));
        let fail = |record: &mut MachineRecord, now: i64| {
            record.ended(Verdict::Failed, Duration::from_secs(1), "no disk", at(now));
        };
        (0..2).for_each(|n| fail(&mut record, n));
        assert!(!record.is_sick());
        record.ended(Verdict::Unknown, Duration::ZERO, "", at(2));
        fail(&mut record, 3);
        assert!(record.is_sick());
        let mut rests = Vec::new();
        for _ in 0..6 {
            record.rest(at(10));
            let aside = record.aside.clone().unwrap();
            rests.push(aside.until.since(at(10)).as_secs() / 3600);
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 24]);
        let why = &record.aside.as_ref().unwrap().why;
        assert_eq!(why, "it failed 3 times in a row, at last: no disk");
        assert_eq!(
            (record.leases, record.failures, record.busy.as_secs()),
            (4, 3, 3)
        );
        record.ended(Verdict::Well, Duration::ZERO, "", at(20));
        assert_eq!(
            (record.failures, record.failures_in_a_row, record.rests),
            (3, 0, 0)
        );
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(
            serde_json::from_str::<MachineRecord>(&text).unwrap(),
            record
        );
    }
}
