//! What waits, and why.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Build, PartName, millis, rfc3339};
use crate::clock::Timestamp;
use crate::ids::{HolderId, HostType, MachineId, StepName};
use crate::plan::Unit;
use crate::schedule::{self, Explanation, Labels, Owner, Shortage, Supply};
use crate::work::Class;

/// Open builds of which a part waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// How many builds are open.
    pub open: usize,
    /// Those of which something waits, in the order they were asked for.
    pub waiting: Vec<QueuedBuild>,
}

/// One build that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedBuild {
    /// The build.
    pub build: Build,
    /// What of it waits.
    pub units: Vec<WaitingUnit>,
}

/// Why one build waits, or that it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The build.
    pub build: Build,
    /// One sentence.
    pub why: String,
    /// What of it waits.
    pub units: Vec<WaitingUnit>,
}

/// A part of a build that waits for a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingUnit {
    /// What waits, for people.
    pub unit: String,
    /// The step.
    pub step: StepName,
    /// Which part of it.
    pub part: PartName,
    /// Why.
    pub why: Waiting,
    /// The same in one sentence.
    pub text: String,
}

impl WaitingUnit {
    /// The report of an explanation.
    pub fn new(unit: &Unit, why: Explanation) -> Self {
        Self {
            unit: unit.to_string(),
            step: unit.step.clone(),
            part: PartName(unit.part),
            text: crate::sentences::waiting(&why),
            why: why.into(),
        }
    }
}

/// Why something waits, and what would let it go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Why the build is wanted.
    pub class: Class,
    /// Its tier: 0 is served first.
    pub tier: u8,
    /// How long it has waited.
    #[serde(rename = "waited_ms", with = "millis")]
    pub waited: Duration,
    /// How many are served before it on the machines it could have.
    pub ahead: usize,
    /// Whose they are, the largest groups.
    pub ahead_of: Vec<Ahead>,
    /// The kind of machine it needs.
    pub host_type: HostType,
    /// What the machine must have.
    pub labels: Labels,
    /// The machines that fit.
    pub supply: Supply,
    /// What holds it back.
    pub hold: Hold,
    /// Until when all machines that fit rest, for [`Hold::Resting`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "rfc3339::option"
    )]
    pub until: Option<Timestamp>,
    /// Why machines do not fit, for [`Hold::NoneFits`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub misfits: Vec<Misfit>,
    /// The quota that is used up, for [`Hold::Quota`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// The capacity of which too little is left, for [`Hold::Account`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Shortage>,
    /// The machines that are set aside, for [`Hold::SetAside`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aside: Vec<AsideMachine>,
    /// How much longer it waits, if it is served like those before it.
    #[serde(rename = "expected_ms", with = "millis::option")]
    pub expected: Option<Duration>,
    /// How many past builds that is made of.
    pub samples: usize,
}

/// A machine that is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsideMachine {
    /// The machine.
    pub machine: MachineId,
    /// Why.
    pub why: String,
    /// Until when.
    #[serde(with = "rfc3339")]
    pub until: Timestamp,
}

impl From<schedule::SetAside> for AsideMachine {
    fn from(aside: schedule::SetAside) -> Self {
        Self {
            machine: aside.machine,
            why: aside.why,
            until: aside.until,
        }
    }
}

/// Some of the waiters that are ahead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    /// Who wrote the changes.
    pub author: Option<String>,
    /// Why they are built.
    pub class: Class,
    /// How many.
    pub count: usize,
}

/// What holds something back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// There are no machines at all.
    NoMachines,
    /// No machine fits.
    NoneFits,
    /// All that fit are held.
    Busy,
    /// All that fit and are not held rest after failures.
    Resting,
    /// What is free is reserved for more urgent work.
    Reserved,
    /// Its author or its repository holds as many machines as it may.
    Quota,
    /// Too little is left of a capacity that the free machines share.
    Account,
    /// All that fit and are not held are set aside.
    SetAside,
}

/// Why some machines do not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misfit {
    /// Why, one clause.
    pub text: String,
    /// How many machines.
    pub machines: usize,
}

/// A quota that is used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Whose it is, when that is an author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Whose it is, when that is a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Machines held.
    pub held: u32,
    /// Machines that may be held.
    pub limit: u32,
    /// How many builds and sessions hold them.
    pub builds: usize,
    /// The first of those builds and sessions.
    pub holders: Vec<HolderId>,
}

impl From<schedule::FullQuota> for Quota {
    fn from(full: schedule::FullQuota) -> Self {
        let (author, repo) = match full.owner {
            Owner::Author(name) => (Some(name), None),
            Owner::Repo(name) => (None, Some(name)),
        };
        Self {
            author,
            repo,
            held: full.held,
            limit: full.limit,
            builds: full.builds,
            holders: full.holders,
        }
    }
}

impl From<Explanation> for Waiting {
    fn from(why: Explanation) -> Self {
        let (mut until, mut misfits, mut quota) = (None, Vec::new(), None);
        let (mut account, mut aside) = (None, Vec::new());
        let hold = match why.hold {
            schedule::Hold::NoMachines => Hold::NoMachines,
            schedule::Hold::NoneFits(reasons) => {
                let reasons = reasons.into_iter().map(|(reason, machines)| Misfit {
                    text: reason.to_string(),
                    machines,
                });
                misfits = reasons.collect();
                Hold::NoneFits
            }
            schedule::Hold::Busy => Hold::Busy,
            schedule::Hold::Resting(at) => {
                until = Some(at);
                Hold::Resting
            }
            schedule::Hold::Reserved => Hold::Reserved,
            schedule::Hold::Quota(full) => {
                quota = Some(full.into());
                Hold::Quota
            }
            schedule::Hold::Account(short) => {
                account = Some(short);
                Hold::Account
            }
            schedule::Hold::SetAside(machines) => {
                aside = machines.into_iter().map(AsideMachine::from).collect();
                Hold::SetAside
            }
        };
        let ahead_of = why.ahead_of.into_iter().map(|ahead| Ahead {
            author: ahead.author,
            class: ahead.class,
            count: ahead.count,
        });
        Self {
            class: why.class,
            tier: why.tier,
            waited: why.waited,
            ahead: why.ahead,
            ahead_of: ahead_of.collect(),
            host_type: why.host_type,
            labels: why.labels,
            supply: why.supply,
            hold,
            until,
            misfits,
            quota,
            account,
            aside,
            expected: why.expected,
            samples: why.samples,
        }
    }
}
