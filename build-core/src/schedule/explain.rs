//! Why something waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::capacity::Shortage;
use super::machine::Labels;
use super::machines::{MachineState, Slot};
use super::policy::{Reason, URGENT_TIER};
use super::quotas::{AccountAt, FullQuota, Owner};
use super::scheduler::{Entry, Scheduler};
use super::shapes::Need;
use super::waiter::WaiterId;
use crate::clock::{Timestamp, micros};
use crate::ids::{HolderId, HostType, MachineId};
use crate::work::Class;

/// For how many builds the time that a machine was held is remembered, for each host type.
const REMEMBERED_HOLDS: usize = 64;
/// From so many waiters ahead on, the work ahead is shared out evenly instead of one by one.
const COUNTED_AHEAD: usize = 10_000;
/// How many machines that are set aside are named.
const NAMED_ASIDE: usize = 3;
/// How many groups of waiters ahead are named.
const NAMED_GROUPS: usize = 5;

/// Why something waits, and what would let it go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// Why the build is wanted.
    pub class: Class,
    /// Its tier: 0 is served first.
    pub tier: u8,
    /// How long it has waited.
    #[serde(rename = "waited_us", with = "micros")]
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
    /// How much longer it waits: the work ahead of it, over the machines that fit. A machine is
    /// taken to be held as long as the median of `samples` builds before. `None` when that
    /// is unknown: no build has ended yet, no machine fits, or something else holds it back.
    #[serde(rename = "expected_us", with = "micros::option")]
    pub expected: Option<Duration>,
    /// How many past builds that is made of.
    pub samples: usize,
}

impl Explanation {
    /// The builds and sessions that it names.
    pub fn holders(&self) -> impl Iterator<Item = &HolderId> {
        let (holders, first) = match &self.hold {
            Hold::Quota(full) => (&full.holders[..], None),
            Hold::Account(short) => (&short.holders[..], short.kept_for.as_ref()),
            _ => (&[][..], None),
        };
        holders.iter().chain(first)
    }

    /// The same for somebody who may not know of everything: whose the waiters ahead are is left
    /// out, and of what uses up a quota or an account that alone is named which `may_know` says.
    #[must_use]
    pub fn discreet(mut self, may_know: impl Fn(&HolderId) -> bool) -> Self {
        let mut groups: Vec<Ahead> = Vec::new();
        for group in self.ahead_of {
            match groups.iter_mut().find(|known| known.class == group.class) {
                Some(known) => known.count += group.count,
                None => groups.push(Ahead {
                    author: None,
                    ..group
                }),
            }
        }
        self.ahead_of = groups;
        match &mut self.hold {
            Hold::Quota(full) => full.holders.retain(&may_know),
            Hold::Account(short) => {
                short.holders.retain(&may_know);
                // That something is kept is told; for whom is not.
                short.kept_for = short.kept_for.take().filter(&may_know);
            }
            _ => {}
        }
        self
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

/// The machines that fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supply {
    /// Held by builds.
    pub held: usize,
    /// Resting after a failure.
    pub resting: usize,
    /// Free, but reserved for more urgent work, or out of reach by a quota or an account.
    pub reserved: usize,
    /// Set aside: sick, or because somebody said so.
    #[serde(default)]
    pub set_aside: usize,
}

/// What holds a waiter back, and so what would let it go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hold {
    /// There are no machines at all.
    NoMachines,
    /// No machine fits: how many do not, for each reason.
    NoneFits(Vec<(Reason, usize)>),
    /// All that fit are held: one of them must become free.
    Busy,
    /// All that fit and are not held rest after failures, the first until then.
    Resting(Timestamp),
    /// What is free is reserved for more urgent work.
    Reserved,
    /// Its author or its repository holds as many machines as it may.
    Quota(FullQuota),
    /// Too little is left of a capacity that the free machines share with others.
    Account(Shortage),
    /// All that fit and are not held are set aside, the first of them for these reasons.
    SetAside(Vec<SetAside>),
}

/// A machine that is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// The machine.
    pub machine: MachineId,
    /// Why.
    pub why: String,
    /// Until when.
    pub until: Timestamp,
}

impl fmt::Display for FullQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match &self.owner {
            Owner::Author(name) => name.clone(),
            Owner::Repo(name) => format!("the repository {name}"),
        };
        let machines = if self.limit == 1 {
            "machine"
        } else {
            "machines"
        };
        let (held, limit) = (self.held, self.limit);
        write!(f, "quota: {whose} holds {held} of {limit} {machines}")
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hold {
            Hold::NoMachines => f.write_str(NO_MACHINES)?,
            Hold::NoneFits(reasons) => f.write_str(&none_fits(&self.host_type, reasons))?,
            Hold::Busy => write!(
                f,
                "all {} machines of {} that fit are in use",
                self.supply.held, self.host_type
            )?,
            Hold::Resting(until) => write!(
                f,
                "machines of {} failed and rest until {until}",
                self.host_type
            )?,
            Hold::Reserved => write!(
                f,
                "the {} free machines are reserved for urgent work",
                self.supply.reserved
            )?,
            Hold::Quota(full) => write!(f, "{full}")?,
            Hold::Account(short) => write!(f, "waits for {short}")?,
            Hold::SetAside(machines) => match machines.first() {
                Some(SetAside { machine, until, .. }) => {
                    write!(
                        f,
                        "{} machines of {} are set aside, {machine} until {until}",
                        self.supply.set_aside, self.host_type
                    )?;
                }
                None => write!(f, "machines of {} are set aside", self.host_type)?,
            },
        }
        write!(f, "; {} ahead", self.ahead)
    }
}

const NO_MACHINES: &str = "cannot run: there are no machines";

/// That nothing can run, and what is missing.
fn none_fits(host_type: &HostType, reasons: &[(Reason, usize)]) -> String {
    let lacking: BTreeSet<&str> = reasons
        .iter()
        .filter_map(|(reason, _)| match reason {
            Reason::MissingLabel(label) => Some(label.as_str()),
            _ => None,
        })
        .collect();
    let of_kind = reasons
        .iter()
        .filter(|(reason, _)| *reason != Reason::OtherHostType);
    match (lacking.len(), of_kind.clone().count()) {
        (_, 0) => format!("cannot run: no machine is of kind {host_type}"),
        (1, 1) => {
            let label = lacking.first().copied().unwrap_or_default();
            format!("cannot run: no machine has label {label}")
        }
        _ => {
            let each = of_kind.map(|(reason, count)| format!("of {count}, {reason}"));
            format!(
                "cannot run: no machine fits: {}",
                each.collect::<Vec<_>>().join("; ")
            )
        }
    }
}

impl Explanation {
    /// Why it can never run on the machines that there are, as one sentence; `None` when it can.
    pub fn cannot_run(&self) -> Option<String> {
        match &self.hold {
            Hold::NoMachines => Some(NO_MACHINES.to_owned()),
            Hold::NoneFits(reasons) => Some(none_fits(&self.host_type, reasons)),
            Hold::Account(short) if short.is_for_ever() => {
                Some(format!("cannot run: it needs {short}"))
            }
            _ => None,
        }
    }
}

/// How long machines were held, the latest of each host type.
#[derive(Default)]
pub(super) struct Holds(HashMap<HostType, VecDeque<Duration>>);

impl Holds {
    pub(super) fn add(&mut self, host_type: &HostType, held: Duration) {
        let holds = self.0.entry(host_type.clone()).or_default();
        if holds.len() == REMEMBERED_HOLDS {
            holds.pop_front();
        }
        holds.push_back(held);
    }

    /// The median and the number of samples.
    fn median(&self, host_type: &HostType) -> Option<(Duration, usize)> {
        let mut holds: Vec<_> = self.0.get(host_type)?.iter().copied().collect();
        let count = holds.len();
        let (_, median, _) = holds.select_nth_unstable((count - 1) / 2);
        Some((*median, count))
    }
}

/// When the next but `ahead` waiter gets one of machines that are free in `left`, each of those
/// ahead keeping it for `usual`.
fn begins_in(left: Vec<Duration>, ahead: usize, usual: Duration) -> Option<Duration> {
    let machines = u32::try_from(left.len()).ok().filter(|n| *n > 0)?;
    if ahead > COUNTED_AHEAD {
        let all: Duration = left.iter().sum();
        let work = usual.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX));
        return Some(all.saturating_add(work) / machines);
    }
    let mut free: BinaryHeap<_> = left.into_iter().map(Reverse).collect();
    for _ in 0..ahead {
        let Reverse(first) = free.pop()?;
        free.push(Reverse(first.saturating_add(usual)));
    }
    free.pop().map(|Reverse(first)| first)
}

impl Scheduler {
    /// Why something waits; `None` when it does not. Looks at every waiter in front of it.
    pub fn explain(&self, id: &WaiterId, now: Timestamp) -> Option<Explanation> {
        let (_, entry) = self.entries.find(id)?;
        let need = &self.shapes.needs[entry.need as usize];
        let blocker = self.blocker(entry);
        let (ahead, ahead_of) = self.ahead(entry, blocker);
        let waited = now.since(entry.since);
        let usual = self.holds.median(&need.example.host_type);
        let (supply, first_rested) = self.supply(entry);
        let hold = match (self.hold_of(entry, &supply, first_rested), blocker) {
            (hold @ (Hold::NoMachines | Hold::NoneFits(_)), _) | (hold, None) => hold,
            (_, Some(account)) => {
                let full = self.lanes.accounts.full(account, &self.holders(account));
                Hold::Quota(full)
            }
        };
        Some(Explanation {
            class: entry.class,
            tier: entry.order.tier,
            waited,
            ahead,
            ahead_of,
            host_type: need.example.host_type.clone(),
            labels: need.example.needs.clone(),
            expected: usual.and_then(|(usual, _)| self.expected(entry, &hold, ahead, usual, now)),
            samples: usual.map_or(0, |(_, samples)| samples),
            hold,
            supply,
        })
    }

    /// How long it takes until a machine is free for `entry`; `None` when machines alone do not
    /// decide.
    fn expected(
        &self,
        entry: &Entry,
        hold: &Hold,
        ahead: usize,
        usual: Duration,
        now: Timestamp,
    ) -> Option<Duration> {
        if !matches!(hold, Hold::Busy | Hold::Resting(_)) {
            return None;
        }
        let kinds = &self.shapes.needs[entry.need as usize].kinds;
        let fits = |slot: &&Slot| {
            let kind = slot.machine.as_ref().map(|(_, kind)| kind);
            kind.is_some_and(|kind| kinds.contains(kind))
        };
        let left = self.ledger.slots().filter(fits).map(|slot| {
            let held = slot.holder.as_ref();
            let held = held.map(|holder| usual.saturating_sub(now.since(holder.since)));
            held.unwrap_or_else(|| slot.rests_until.unwrap_or(now).since(now))
        });
        begins_in(left.collect(), ahead, usual)
    }

    /// The full account that holds a waiter back.
    pub(super) fn blocker(&self, entry: &Entry) -> Option<AccountAt> {
        let lane = self.lanes.get(entry.lane?)?;
        self.lanes.accounts.blocker(lane.owners)
    }

    /// The builds that hold machines of an account.
    fn holders(&self, account: AccountAt) -> BTreeSet<&HolderId> {
        let holders = self.ledger.slots().filter_map(|slot| slot.holder.as_ref());
        holders
            .filter(|h| h.tier != URGENT_TIER && h.owners.each().any(|at| at == account))
            .map(|h| &h.build)
            .collect()
    }

    /// The waiters that are served earlier on a machine that fits `entry` too: those that are
    /// within their quotas, and those that wait for the same quota.
    fn ahead(&self, entry: &Entry, blocker: Option<AccountAt>) -> (usize, Vec<Ahead>) {
        let needs = &self.shapes.needs;
        let kinds = &needs[entry.need as usize].kinds;
        let is_rival = |need: &Need| need.kinds.iter().any(|kind| kinds.contains(kind));
        let is_rival: Vec<bool> = needs.iter().map(is_rival).collect();
        let accounts = &self.lanes.accounts;
        let lanes = self.lanes.iter().filter(|lane| {
            let other = accounts.blocker(lane.owners);
            is_rival[lane.need as usize] && (other.is_none() || other == blocker)
        });
        let free = needs.iter().zip(&is_rival).filter(|(_, rival)| **rival);
        let queues = free.map(|(need, _)| &need.queue);
        let rivals = queues.chain(lanes.map(|lane| &lane.queue));
        let mut groups: BTreeMap<(Class, Option<AccountAt>), usize> = BTreeMap::new();
        let mut total = 0;
        for (_, at) in rivals.flat_map(|queue| queue.range(..(entry.order, 0))) {
            total += 1;
            if let Some(other) = self.entries.get(*at) {
                let author = other.owners.author();
                *groups.entry((other.class, author)).or_default() += 1;
            }
        }
        let mut groups: Vec<Ahead> = groups
            .into_iter()
            .map(|((class, author), count)| Ahead {
                author: author.map(|at| accounts.name(at).to_owned()),
                class,
                count,
            })
            .collect();
        groups.sort_by(|a, b| {
            let names = (a.class, &a.author).cmp(&(b.class, &b.author));
            b.count.cmp(&a.count).then(names)
        });
        groups.truncate(NAMED_GROUPS);
        (total, groups)
    }

    fn supply(&self, entry: &Entry) -> (Supply, Option<Timestamp>) {
        let kinds = &self.shapes.needs[entry.need as usize].kinds;
        let mut supply = Supply::default();
        let mut first_rested = None;
        for slot in self.ledger.slots() {
            if !slot
                .machine
                .as_ref()
                .is_some_and(|(_, kind)| kinds.contains(kind))
            {
                continue;
            }
            match slot.state() {
                MachineState::Held => supply.held += 1,
                MachineState::Free => supply.reserved += 1,
                MachineState::SetAside(_) => supply.set_aside += 1,
                MachineState::Resting(until) => {
                    supply.resting += 1;
                    first_rested = Some(first_rested.unwrap_or(until).min(until));
                }
            }
        }
        (supply, first_rested)
    }

    /// The machines that a waiter could have and that are set aside, those first that come back
    /// first.
    fn set_aside(&self, entry: &Entry) -> Vec<SetAside> {
        let kinds = &self.shapes.needs[entry.need as usize].kinds;
        let fits = |slot: &&Slot| {
            let kind = slot.machine.as_ref().map(|(_, kind)| kind);
            kind.is_some_and(|kind| kinds.contains(kind))
        };
        let told = |slot: &Slot| {
            let aside = slot.aside.as_ref()?;
            Some(SetAside {
                machine: slot.id.clone(),
                why: aside.why.clone(),
                until: aside.until,
            })
        };
        let mut all: Vec<_> = self.ledger.slots().filter(fits).filter_map(told).collect();
        all.sort_by(|a, b| (a.until, &a.machine).cmp(&(b.until, &b.machine)));
        all.truncate(NAMED_ASIDE);
        all
    }

    fn hold_of(&self, entry: &Entry, supply: &Supply, first_rested: Option<Timestamp>) -> Hold {
        if supply.reserved > 0 {
            return self.shortage(entry).map_or(Hold::Reserved, Hold::Account);
        }
        if let Some(until) = first_rested.filter(|_| supply.held == 0) {
            return Hold::Resting(until);
        }
        if supply.held > 0 {
            return Hold::Busy;
        }
        if supply.set_aside > 0 {
            return Hold::SetAside(self.set_aside(entry));
        }
        let mut reasons: HashMap<Reason, usize> = HashMap::new();
        for kind in self
            .ledger
            .slots()
            .filter_map(|slot| Some(slot.machine.as_ref()?.1))
        {
            if let Some(reason) = self.shapes.misfit(entry.need, kind, &*self.policy) {
                *reasons.entry(reason).or_default() += 1;
            }
        }
        if reasons.is_empty() {
            return Hold::NoMachines;
        }
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), reason.to_string()));
        Hold::NoneFits(reasons)
    }
}
