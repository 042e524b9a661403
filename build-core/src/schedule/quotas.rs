//! How many machines one author, or one repository, may hold at once, and who holds how many.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::lanes::LaneAt;
use super::machines::Shares;
use super::queue::Order;
use super::shapes::NeedAt;
use super::waiter::Waiter;
use crate::ids::{HolderId, RepoName};

/// How many machines of a farm the work of one author, and that of one repository, may hold at
/// once; `None`: any number. Urgent work stands outside: it is neither held back nor counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// By the work of one author, over all repositories.
    pub author: Option<NonZeroU32>,
    /// By the work of one repository, over all authors.
    pub repo: Option<NonZeroU32>,
}

/// How the machines of a farm are shared out: what is kept for whom, and who may hold how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Allotment {
    /// Parts that less urgent work never holds.
    pub shares: Shares,
    /// What one author, or one repository, may hold.
    pub quotas: Quotas,
}

/// Whose quota it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Owner {
    /// Who wrote the changes, or opened the sessions.
    Author(String),
    /// The repository.
    Repo(String),
}

impl Owner {
    /// The author's or the repository's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Author(name) | Self::Repo(name) => name,
        }
    }
}

/// A quota that is used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FullQuota {
    /// Whose.
    pub owner: Owner,
    /// Machines held.
    pub held: u32,
    /// Machines that may be held; fewer than `held` when that was changed.
    pub limit: u32,
    /// How many builds and sessions hold them.
    pub builds: usize,
    /// Those builds and sessions, the first ones: when so many of them give a machine back that
    /// fewer than `limit` are held, the next one gets one.
    pub holders: Vec<HolderId>,
}

/// How many holders of a quota are named.
pub(super) const NAMED_HOLDERS: usize = 5;

/// Position of an account in [`Accounts`].
pub(super) type AccountAt = u32;

/// Side of the accounts of authors; the other one is that of repositories.
const AUTHOR: usize = 0;

/// Who a waiter or a holder belongs to: its author's account and its repository's.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Owners([Option<AccountAt>; 2]);

impl Owners {
    pub(super) const NONE: Self = Self([None; 2]);

    pub(super) fn author(self) -> Option<AccountAt> {
        self.0[AUTHOR]
    }

    pub(super) fn each(self) -> impl Iterator<Item = AccountAt> {
        self.0.into_iter().flatten()
    }
}

/// An author or a repository, as long as something of it waits or holds a machine.
struct Account {
    name: Arc<str>,
    side: usize,
    /// Waiters and holders.
    uses: u32,
    /// Machines held by what is not urgent.
    held: u32,
    /// Lanes that wait for this account to be no longer full, by what they need.
    parked: BTreeMap<NeedAt, BTreeSet<(Order, LaneAt)>>,
}

/// The authors and repositories, each name kept once.
pub(super) struct Accounts {
    known: Vec<Account>,
    vacant: Vec<AccountAt>,
    by_name: [HashMap<Arc<str>, AccountAt>; 2],
    limits: [u32; 2],
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            vacant: Vec::new(),
            by_name: [HashMap::new(), HashMap::new()],
            limits: [u32::MAX; 2],
        }
    }
}

impl Accounts {
    pub(super) fn set_limits(&mut self, quotas: Quotas) {
        let limit = |quota: Option<NonZeroU32>| quota.map_or(u32::MAX, NonZeroU32::get);
        self.limits = [limit(quotas.author), limit(quotas.repo)];
    }

    /// Begins one more use of the accounts of a waiter.
    pub(super) fn open(&mut self, waiter: &Waiter) -> Owners {
        let repo = waiter.repo.as_ref().map(RepoName::as_str);
        let names = [waiter.author.as_deref(), repo];
        let mut owners = Owners::NONE;
        for (side, name) in names.into_iter().enumerate() {
            owners.0[side] = name.map(|name| self.open_one(side, name));
        }
        owners
    }

    fn open_one(&mut self, side: usize, name: &str) -> AccountAt {
        if let Some(at) = self.by_name[side].get(name) {
            self.known[*at as usize].uses += 1;
            return *at;
        }
        let name: Arc<str> = name.into();
        let account = Account {
            name: Arc::clone(&name),
            side,
            uses: 1,
            held: 0,
            parked: BTreeMap::new(),
        };
        let at = match self.vacant.pop() {
            Some(at) => {
                self.known[at as usize] = account;
                at
            }
            None => {
                self.known.push(account);
                (self.known.len() - 1) as AccountAt
            }
        };
        self.by_name[side].insert(name, at);
        at
    }

    /// Ends one use.
    pub(super) fn close(&mut self, owners: Owners) {
        for at in owners.each() {
            let account = &mut self.known[at as usize];
            account.uses -= 1;
            if account.uses == 0 {
                self.by_name[account.side].remove(&account.name);
                self.vacant.push(at);
            }
        }
    }

    /// One more machine is held.
    pub(super) fn charge(&mut self, owners: Owners) {
        for at in owners.each() {
            self.known[at as usize].held += 1;
        }
    }

    /// A machine was given back; whether the account was full and is no longer.
    pub(super) fn discharge(&mut self, at: AccountAt) -> bool {
        let was_full = self.is_full(at);
        self.known[at as usize].held -= 1;
        was_full && !self.is_full(at)
    }

    pub(super) fn is_full(&self, at: AccountAt) -> bool {
        let account = &self.known[at as usize];
        account.held >= self.limits[account.side]
    }

    /// The account that keeps its work from getting one more machine.
    pub(super) fn blocker(&self, owners: Owners) -> Option<AccountAt> {
        owners.each().find(|at| self.is_full(*at))
    }

    /// Those accounts that have a limit at all.
    pub(super) fn limited(&self, owners: Owners) -> Owners {
        let mut limited = owners;
        for (account, limit) in limited.0.iter_mut().zip(self.limits) {
            account.take_if(|_| limit == u32::MAX);
        }
        limited
    }

    /// The name of an author or a repository.
    pub(super) fn name(&self, at: AccountAt) -> &str {
        &self.known[at as usize].name
    }

    /// An account that is full, for people; `builds` hold its machines, of which some are named.
    pub(super) fn full(&self, at: AccountAt, builds: &BTreeSet<&HolderId>) -> FullQuota {
        let account = &self.known[at as usize];
        let name = account.name.as_ref().to_owned();
        FullQuota {
            owner: match account.side {
                AUTHOR => Owner::Author(name),
                _ => Owner::Repo(name),
            },
            held: account.held,
            limit: self.limits[account.side],
            builds: builds.len(),
            holders: builds
                .iter()
                .take(NAMED_HOLDERS)
                .map(|b| (*b).clone())
                .collect(),
        }
    }

    /// A lane waits for the account.
    pub(super) fn park(&mut self, at: AccountAt, need: NeedAt, lane: (Order, LaneAt)) {
        let parked = &mut self.known[at as usize].parked;
        parked.entry(need).or_default().insert(lane);
    }

    /// It waits for it no longer.
    pub(super) fn unpark(&mut self, at: AccountAt, need: NeedAt, lane: (Order, LaneAt)) {
        let parked = &mut self.known[at as usize].parked;
        if let Some(lanes) = parked.get_mut(&need) {
            lanes.remove(&lane);
            if lanes.is_empty() {
                parked.remove(&need);
            }
        }
    }

    /// The lane with one need that comes first among those that wait for the account.
    pub(super) fn first_parked(&self, at: AccountAt, need: NeedAt) -> Option<(Order, LaneAt)> {
        self.known[at as usize].parked.get(&need)?.first().copied()
    }

    /// What the lanes need that wait for the account.
    pub(super) fn parked_needs(&self, at: AccountAt) -> Vec<NeedAt> {
        self.known[at as usize].parked.keys().copied().collect()
    }

    /// Nobody waits for any account.
    pub(super) fn unpark_all(&mut self) {
        for account in &mut self.known {
            account.parked.clear();
        }
    }

    /// Needs have moved.
    pub(super) fn move_needs(&mut self, moved: &[Option<NeedAt>]) {
        for account in self.known.iter_mut().filter(|a| !a.parked.is_empty()) {
            let parked = std::mem::take(&mut account.parked);
            let place = |(need, lanes)| Some((moved[need as usize]?, lanes));
            account.parked = parked.into_iter().filter_map(place).collect();
        }
    }
}
