//! Capacities that machines of several kinds share: the cores of a cloud, the instances of a
//! cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::shapes::KindAt;
use crate::ids::{AccountName, HolderId};

/// A capacity that machines share, of one pool or of several. It says how many of them may be
/// held at once: those whose [`Draw`]s together are within it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What pools and people call it.
    pub name: AccountName,
    /// How much there is.
    pub units: u32,
    /// What a unit is, for people, in the plural: `cores`.
    pub unit: String,
}

impl Account {
    /// What a unit is called when nobody says.
    pub const UNIT: &str = "units";

    /// A capacity of so many units.
    pub fn new(name: AccountName, units: u32) -> Self {
        Self {
            name,
            units,
            unit: Self::UNIT.to_owned(),
        }
    }
}

/// What a machine takes of an account while somebody holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Draw {
    /// Of which one. Of an account that no pool has named there is nothing.
    pub account: AccountName,
    /// How much.
    pub units: NonZeroU32,
}

/// An account, and how much of it is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountUse {
    /// The account.
    #[serde(flatten)]
    pub account: Account,
    /// What machines that are held take of it. It may be more than there is when that became less.
    pub used: u32,
}

/// A capacity of which too little is left for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Shortage {
    /// The account, and what is taken of it.
    #[serde(flatten)]
    pub of: AccountUse,
    /// How much a machine takes that would do.
    pub wanted: u32,
    /// How many builds and sessions hold machines that draw from it.
    pub builds: usize,
    /// The first of them.
    pub holders: Vec<HolderId>,
    /// There would be enough, but it is kept for somebody who is ahead and needs more.
    #[serde(default)]
    pub kept: bool,
    /// For whom, when that may be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_for: Option<HolderId>,
}

impl Shortage {
    /// Whether the account is too small, whoever gives back what.
    pub fn is_for_ever(&self) -> bool {
        self.wanted > self.of.account.units
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Account { name, units, unit }, used) = (&self.of.account, self.of.used);
        let unit = match self.wanted {
            1 => unit.strip_suffix('s').unwrap_or(unit),
            _ => unit,
        };
        write!(f, "{} {unit} of account {name}: ", self.wanted)?;
        match (self.is_for_ever(), self.kept, &self.kept_for) {
            (true, ..) => write!(f, "it has {units}"),
            (_, false, _) => write!(f, "{used} of {units} are in use"),
            (_, true, Some(first)) => {
                write!(
                    f,
                    "{used} of {units} are in use, the rest is kept for {first}"
                )
            }
            (_, true, None) => write!(
                f,
                "{used} of {units} are in use, the rest is kept for somebody ahead"
            ),
        }
    }
}

/// How much there is of each account, and how much is taken.
#[derive(Default)]
pub(super) struct Capacity {
    known: BTreeMap<AccountName, AccountUse>,
    /// Kinds of machines that draw from some account.
    pub(super) kinds: Vec<KindAt>,
}

impl Capacity {
    /// These are the accounts from now on; what is taken stays taken.
    pub(super) fn set(&mut self, accounts: Vec<Account>) {
        for known in self.known.values_mut() {
            known.account.units = 0;
        }
        for account in accounts {
            let known = self.entry(&account.name);
            known.account = account;
        }
        self.known
            .retain(|_, known| known.used > 0 || known.account.units > 0);
    }

    /// There is a kind of machines that draws this; whether that is news.
    pub(super) fn know(&mut self, kind: KindAt, draws: &[Draw]) -> bool {
        let is_new = !draws.is_empty() && !self.kinds.contains(&kind);
        if is_new {
            self.kinds.push(kind);
        }
        is_new
    }

    fn entry(&mut self, name: &AccountName) -> &mut AccountUse {
        // The name is copied for new ones alone.
        if !self.known.contains_key(name) {
            let account = Account::new(name.clone(), 0);
            let unknown = AccountUse { account, used: 0 };
            self.known.insert(name.clone(), unknown);
        }
        self.known.get_mut(name).expect("it was just put there")
    }

    /// The accounts, by name.
    pub(super) fn all(&self) -> impl Iterator<Item = &AccountUse> {
        self.known.values()
    }

    /// An account; one that nobody has named has nothing.
    pub(super) fn of(&self, draw: &Draw) -> AccountUse {
        let known = self.known.get(&draw.account).cloned();
        known.unwrap_or_else(|| AccountUse {
            account: Account::new(draw.account.clone(), 0),
            used: 0,
        })
    }

    /// Whether there would be enough if nobody held anything.
    pub(super) fn could_cover(&self, draws: &[Draw]) -> bool {
        self.each_within(draws, |known| known.account.units)
    }

    /// Whether enough is left.
    pub(super) fn covers(&self, draws: &[Draw]) -> bool {
        self.each_within(draws, |known| {
            known.account.units.saturating_sub(known.used)
        })
    }

    fn each_within(&self, draws: &[Draw], has: impl Fn(&AccountUse) -> u32) -> bool {
        let wanted = sums(draws);
        wanted.iter().all(|(name, units)| {
            let known = self.known.get(*name);
            known.is_some_and(|known| has(known) >= *units)
        })
    }

    /// Somebody holds a machine that takes this.
    pub(super) fn take(&mut self, draws: &[Draw]) {
        for draw in draws {
            let known = self.entry(&draw.account);
            known.used = known.used.saturating_add(draw.units.get());
        }
    }

    /// Nobody does any more.
    pub(super) fn give_back(&mut self, draws: &[Draw]) {
        for draw in draws {
            let known = self.entry(&draw.account);
            known.used = known.used.saturating_sub(draw.units.get());
        }
    }
}

/// How much is taken of each account: one may be named twice.
fn sums(draws: &[Draw]) -> BTreeMap<&AccountName, u32> {
    let mut sums: BTreeMap<&AccountName, u32> = BTreeMap::new();
    for draw in draws {
        let sum = sums.entry(&draw.account).or_default();
        *sum = sum.saturating_add(draw.units.get());
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AccountName {
        AccountName::new(text).unwrap()
    }

    fn draw(account: &str, units: u32) -> Draw {
        Draw {
            account: name(account),
            units: NonZeroU32::new(units).unwrap(),
        }
    }

    #[test]
    fn what_is_taken_of_an_account_is_counted_once_for_each_draw() {
        let mut capacity = Capacity::default();
        capacity.set(vec![
            Account::new(name("cores"), 8),
            Account::new(name("disks"), 2),
        ]);
        let both = [draw("cores", 4), draw("disks", 1)];
        assert!(capacity.covers(&both));
        capacity.take(&both);
        capacity.take(&both);
        assert!(!capacity.covers(&both) && capacity.could_cover(&both));
        assert!(!capacity.covers(&[draw("disks", 1)]));
        capacity.give_back(&both);
        assert!(capacity.covers(&[draw("cores", 4)]));
        assert!(!capacity.covers(&[draw("cores", 4), draw("cores", 1)]));
        assert!(!capacity.could_cover(&[draw("cores", 9)]));
    }

    #[test]
    fn an_account_that_nobody_names_has_nothing_and_what_it_lent_is_not_forgotten() {
        let mut capacity = Capacity::default();
        assert!(!capacity.could_cover(&[draw("cores", 1)]));
        capacity.set(vec![Account::new(name("cores"), 2)]);
        capacity.take(&[draw("cores", 2)]);
        capacity.set(Vec::new());
        let left: Vec<_> = capacity.all().map(|known| known.used).collect();
        assert_eq!(left, [2]);
        capacity.set(vec![Account::new(name("cores"), 3)]);
        assert!(!capacity.covers(&[draw("cores", 2)]) && capacity.covers(&[draw("cores", 1)]));
        capacity.give_back(&[draw("cores", 2)]);
        capacity.set(Vec::new());
        assert_eq!(capacity.all().count(), 0);
    }
}
