//! The rule by which waiters are ordered and matched; the ledger is not its business.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::waiter::Waiter;
use crate::clock::Timestamp;
use crate::work::Class;

/// Place in the queue: lower is served first. Fixed when a waiter enters, so that a waiter
/// ages by others entering behind it, without being ranked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rank {
    /// Strict: nothing of a higher tier is served while something of a lower one can be.
    tier: u8,
    /// Order within the tier.
    key: i64,
}

/// The tier of batch work, where waiters age. Tiers below it are strict.
const BATCH_TIER: u8 = 3;
/// How many tiers there are.
pub(super) const TIERS: usize = BATCH_TIER as usize + 1;
/// The tier of what does not wait for quotas.
pub(super) const URGENT_TIER: u8 = 0;
/// The tier in which authors take turns.
const TRY_TIER: u8 = 2;

impl Rank {
    /// Before everything.
    pub const FIRST: Self = Self {
        tier: 0,
        key: i64::MIN,
    };

    /// A place in a strict tier (0 urgent, 1 interactive, 2 try) or in the batch tier (3 and above).
    pub fn new(tier: u8, key: i64) -> Self {
        Self {
            tier: tier.min(BATCH_TIER),
            key,
        }
    }

    /// First come, first served, among all batch work.
    pub fn fifo(item: &Waiter) -> Self {
        Self {
            tier: BATCH_TIER,
            key: item.enqueued.as_micros(),
        }
    }

    /// The strict tier.
    pub fn tier(self) -> u8 {
        self.tier
    }

    /// The order within the tier.
    pub fn key(self) -> i64 {
        self.key
    }

    /// Whether authors take turns among waiters of this rank.
    pub fn is_fair_by_author(self) -> bool {
        self.tier == TRY_TIER
    }
}

/// Why a waiter does not get a machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The machine lacks a label.
    MissingLabel(String),
    /// The machine is of another kind.
    OtherHostType,
    /// A rule of the policy, in its own words.
    Rule(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingLabel(label) => write!(f, "it lacks the label {label:?}"),
            Self::OtherHostType => f.write_str("it is of another host type"),
            Self::Rule(text) => f.write_str(text),
        }
    }
}

/// Ranks waiters and says which machines fit them.
///
/// Called by the scheduler only, synchronously; it must be a pure function of its arguments.
/// Whatever it answers, a machine has one holder and every grant is recorded.
pub trait Policy: Send + Sync {
    /// The waiter's place. Asked once, when it enters the queue.
    fn rank(&self, item: &Waiter, now: Timestamp) -> Rank;

    /// Whether `machine` can run `item`. The answer may depend on the waiter's host type,
    /// labels and tags, and on the machine; it is remembered for equal ones.
    ///
    /// # Errors
    /// Why not; shown to whoever asks why the item waits.
    fn fits(&self, item: &Waiter, machine: &Machine) -> Result<(), Reason> {
        if item.host_type != *machine.host_type() {
            return Err(Reason::OtherHostType);
        }
        machine.labels().require(item.labels())
    }
}

impl<P: Policy + ?Sized> Policy for Arc<P> {
    fn rank(&self, item: &Waiter, now: Timestamp) -> Rank {
        (**self).rank(item, now)
    }

    fn fits(&self, item: &Waiter, machine: &Machine) -> Result<(), Reason> {
        (**self).fits(item, machine)
    }
}

/// Urgent, interactive and try work first, in this order; then batch work by age, where each
/// class of less wanted work starts an hour behind.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultPolicy;

/// How far behind a batch class starts the one before it.
const CLASS_PENALTY: Duration = Duration::from_secs(60 * 60);
/// A helper starts behind the first machines of builds of its class.
const HELPER_PENALTY: Duration = Duration::from_secs(60);

impl Policy for DefaultPolicy {
    fn rank(&self, item: &Waiter, _now: Timestamp) -> Rank {
        let helper = if item.helper {
            HELPER_PENALTY
        } else {
            Duration::ZERO
        };
        let batch = |classes_behind: u32| {
            Rank::new(
                BATCH_TIER,
                (item.enqueued + CLASS_PENALTY * classes_behind + helper).as_micros(),
            )
        };
        match item.class {
            Class::Urgent => Rank::new(0, (item.enqueued + helper).as_micros()),
            Class::Interactive => Rank::new(1, (item.enqueued + helper).as_micros()),
            Class::Try => Rank::new(TRY_TIER, (item.enqueued + helper).as_micros()),
            Class::ReleaseTip => batch(0),
            Class::DefaultTip => batch(1),
            Class::BranchTip => batch(2),
            Class::Backfill => batch(3),
        }
    }
}

/// First come, first served.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fifo;

impl Policy for Fifo {
    fn rank(&self, item: &Waiter, _now: Timestamp) -> Rank {
        Rank::fifo(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BuildId, BuilderName, HostType, StepName};
    use crate::plan::{Part, Unit};
    use crate::schedule::{Labels, WaiterId};

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn rank(class: Class, enqueued: Timestamp, commit_time: Timestamp) -> Rank {
        let waiter = Waiter {
            id: WaiterId {
                build: BuildId::from_bits(1).into(),
                unit: Unit {
                    step: StepName::new("test").unwrap(),
                    part: Part::Whole,
                },
            },
            builder: BuilderName::new("b").unwrap(),
            host_type: HostType::new("h").unwrap(),
            needs: Labels::default(),
            tags: Labels::default(),
            class,
            author: None,
            repo: None,
            commit_time,
            enqueued,
            deadline: None,
            helper: false,
        };
        DefaultPolicy.rank(&waiter, enqueued)
    }

    /// Old commits are common on release branches.
    #[test]
    fn the_time_of_a_commit_starves_no_release_branch() {
        let (now, long_ago) = (Timestamp::from_seconds(1_000_000_000), Timestamp::default());
        let release = rank(Class::ReleaseTip, now, long_ago);
        assert!(release < rank(Class::DefaultTip, now, now));
        assert!(release < rank(Class::ReleaseTip, now + HOUR, now + HOUR));
    }

    #[test]
    fn every_hour_of_waiting_is_worth_a_class() {
        let then = Timestamp::from_seconds(1_000_000_000);
        let waited = |hours: u32| {
            rank(Class::Backfill, then, then) < {
                let now = then + HOUR * hours;
                rank(Class::ReleaseTip, now, now)
            }
        };
        assert_eq!([2, 4].map(waited), [false, true]);
    }
}
