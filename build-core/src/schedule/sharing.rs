//! Machines that share a capacity: who gets the next of them, and for whom it is kept.
//!
//! They are given out together, in the order of all who wait for one of them. When too little is
//! left for the first, what is left is kept for it: nobody behind it draws from that account until
//! it has its machine. So it waits no longer than those who hold machines of the account keep them,
//! and what is idle meanwhile is the price.

use std::collections::{BTreeSet, HashMap};

use super::capacity::{Account, AccountUse, Draw, Shortage};
use super::machines::Ledger;
use super::queue::Order;
use super::quotas::NAMED_HOLDERS;
use super::scheduler::{Action, Entry, Scheduler};
use super::shapes::{Kind, KindAt};
use crate::clock::Timestamp;
use crate::ids::{AccountName, HolderId};

/// A machine that is free, and who is first for it.
struct Offer {
    order: Order,
    units: u32,
    kind: KindAt,
    machine: u32,
    waiter: u32,
}

fn units(draws: &[Draw]) -> u32 {
    let units = draws.iter().map(|draw| draw.units.get());
    units.fold(0, u32::saturating_add)
}

impl Kind {
    /// Whether its machines share a capacity with others.
    pub(super) fn is_shared(&self) -> bool {
        !self.example.draws().is_empty()
    }
}

impl Scheduler {
    /// The capacities that machines share, by name, with how much of each is taken.
    pub fn accounts(&self) -> impl Iterator<Item = &AccountUse> {
        self.capacity.all()
    }

    pub(super) fn set_accounts(&mut self, accounts: Vec<Account>) {
        self.capacity.set(accounts);
    }

    /// Counts what a machine takes, if somebody holds it. What is held and not up (any more) takes
    /// what it took before.
    pub(super) fn count_draws(&mut self, at: u32) {
        if let Some((before, now)) = self.ledger.redraw(at) {
            self.capacity.give_back(&before);
            self.capacity.take(&now);
        }
    }

    /// Counts what machines take that are held since before this process and were not up yet: as
    /// much as others of their kind.
    pub(super) fn guess_draws(&mut self) {
        let kinds = &self.shapes.kinds;
        let guessed = self.ledger.guess(|host_type| {
            let mut same = kinds.iter().map(|kind| &kind.example);
            let known = same.find(|machine| machine.host_type() == host_type);
            known.map_or_else(Vec::new, |machine| machine.draws().to_vec())
        });
        self.capacity.take(&guessed);
    }

    /// Gives machines that share capacities to the first waiters, as long as enough is left.
    pub(super) fn serve_sharing(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let mut kept = Kept::default();
        while let Some(offer) = self.first_offer(&kept) {
            let draws = self.shapes.kinds[offer.kind as usize].example.draws();
            if self.capacity.covers(draws) {
                self.grant(offer.machine, offer.kind, offer.waiter, now, actions);
                continue;
            }
            #[cfg(any(test, feature = "testing"))]
            if self.is_planted(crate::plant::Plant::NothingKept) {
                // As if its machines were busy: the next one is looked for.
                kept.kinds.insert(offer.kind);
                continue;
            }
            let accounts = draws.iter().map(|draw| draw.account.clone());
            kept.accounts.extend(accounts);
        }
    }

    /// The first of all who wait for a machine that is free, of those that do not draw from what is
    /// kept for somebody.
    fn first_offer(&mut self, kept: &Kept) -> Option<Offer> {
        let mut first: Option<Offer> = None;
        for n in 0..self.capacity.kinds.len() {
            let kind = self.capacity.kinds[n];
            let offer = self.offer(kind, kept);
            let place = |offer: &Offer| (offer.order, offer.units);
            if let Some(offer) = offer
                && first.as_ref().is_none_or(|f| place(&offer) < place(f))
            {
                first = Some(offer);
            }
        }
        first
    }

    fn offer(&mut self, kind: KindAt, kept: &Kept) -> Option<Offer> {
        let machine = self.shapes.free(kind).first().copied()?;
        let draws = self.shapes.kinds[kind as usize].example.draws();
        let units = units(draws);
        // What can never be had is kept for nobody.
        if kept.holds(kind, draws) || !self.capacity.could_cover(draws) {
            return None;
        }
        let (order, waiter) = self.lanes.first(&mut self.shapes, kind)?;
        let pool = self.ledger.pool_of(machine);
        pool.is_some_and(|pool| pool.admits(order.tier))
            .then_some(Offer {
                order,
                units,
                kind,
                machine,
                waiter,
            })
    }

    /// The account of which too little is left for a waiter, if that alone holds it back.
    pub(super) fn shortage(&self, entry: &Entry) -> Option<Shortage> {
        let mut least: Option<&[Draw]> = None;
        for kind in self.open_kinds(entry) {
            let draws = kind.example.draws();
            if draws.is_empty() {
                return None;
            }
            if least.is_none_or(|known| units(draws) < units(known)) {
                least = Some(draws);
            }
        }
        let draws = least?;
        let is_short = |draw: &&Draw| !self.capacity.covers(std::slice::from_ref(draw));
        let short = draws.iter().find(is_short);
        let draw = short.or(draws.first())?;
        let kept_for = match short {
            Some(_) => None,
            None => self.kept_for(entry, draw),
        };
        Some(self.shortage_of(draw, short.is_none(), kept_for))
    }

    fn shortage_of(&self, draw: &Draw, kept: bool, kept_for: Option<HolderId>) -> Shortage {
        let slots = self.ledger.slots().filter(|slot| {
            let mut drawn = slot.drawn.iter();
            drawn.any(|drawn| drawn.account == draw.account)
        });
        let holders = slots.filter_map(|slot| slot.holder.as_ref());
        let holders: BTreeSet<&HolderId> = holders.map(|holder| &holder.build).collect();
        Shortage {
            of: self.capacity.of(draw),
            wanted: draw.units.get(),
            builds: holders.len(),
            holders: holders.into_iter().take(NAMED_HOLDERS).cloned().collect(),
            kept,
            kept_for,
        }
    }

    /// Kinds of which a machine is free that a waiter may have, as far as shares go.
    fn open_kinds<'s>(&'s self, entry: &'s Entry) -> impl Iterator<Item = &'s Kind> {
        let kinds = &self.shapes.needs[entry.need as usize].kinds;
        let kinds = kinds.iter().map(|kind| &self.shapes.kinds[*kind as usize]);
        kinds.filter(|kind| {
            let free = kind.free.first();
            free.is_some_and(|machine| self.ledger.is_open(*machine, entry.order.tier))
        })
    }

    /// Who is ahead of a waiter and has too little of an account.
    fn kept_for(&self, entry: &Entry, draw: &Draw) -> Option<HolderId> {
        // By what they need: what equal waiters lack is asked once.
        let mut lacks: HashMap<u32, bool> = HashMap::new();
        let mut first: Option<&Entry> = None;
        for other in self.entries.iter().filter(|o| o.order < entry.order) {
            let is_first = first.is_none_or(|known| other.order < known.order);
            if !is_first || self.blocker(other).is_some() {
                continue;
            }
            let lacking = lacks.entry(other.need);
            if *lacking.or_insert_with(|| self.lacks(other, &draw.account)) {
                first = Some(other);
            }
        }
        first.map(|entry| entry.id.build.clone())
    }

    fn lacks(&self, entry: &Entry, account: &AccountName) -> bool {
        let mut kinds = self.open_kinds(entry).map(|kind| kind.example.draws());
        kinds.any(|draws| {
            draws.iter().any(|draw| draw.account == *account)
                && self.capacity.could_cover(draws)
                && !self.capacity.covers(draws)
        })
    }
}

/// What is left for those who are first.
#[derive(Default)]
struct Kept {
    accounts: BTreeSet<AccountName>,
    /// Kinds whose first waiter is passed over; by a planted bug alone.
    kinds: BTreeSet<KindAt>,
}

impl Kept {
    fn holds(&self, kind: KindAt, draws: &[Draw]) -> bool {
        let is_kept = |draw: &Draw| self.accounts.contains(&draw.account);
        self.kinds.contains(&kind) || draws.iter().any(is_kept)
    }
}

impl Ledger {
    /// Whether a machine's pool is open to a tier, as far as shares go.
    fn is_open(&self, at: u32, tier: u8) -> bool {
        let pool = self.slot(at).and_then(|slot| self.pool_at(slot));
        pool.is_some_and(|pool| pool.is_open(tier))
    }
}
