//! The machines that are there, and what is remembered of those that were.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use build_core::clock::Timestamp;
use build_core::ids::{HostType, LeaseId, MachineId, Nonce};
use tokio::time::Instant;

use super::lease::ReverseLease;
use super::machine::{Hold, Life};
use super::registration::Registration;

/// Most machines that are remembered; of more, those that were gone first are forgotten.
const REMEMBERED: usize = 10_000;
/// Most happenings of a machine that are remembered.
const TRAIL: usize = 20;
/// Most refusals that are remembered.
const REFUSALS: usize = 100;

/// What is remembered of a machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
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
    pub first: Timestamp,
    /// When it was last there: now, for those that are.
    pub last: Timestamp,
    /// How often it has registered.
    pub registrations: u64,
    /// The last things that happened to it, oldest first.
    pub trail: VecDeque<(Timestamp, String)>,
}

/// A machine that was not taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refused {
    /// When, the last time.
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

#[derive(Default)]
pub(super) struct Table {
    pub(super) lives: BTreeMap<MachineId, Arc<Life>>,
    seen: BTreeMap<MachineId, Seen>,
    refused: VecDeque<Refused>,
    /// Leases that were given back while their machines were away.
    to_end: HashMap<MachineId, (Nonce, Instant)>,
}

impl Table {
    pub(super) fn find(&self, id: &MachineId) -> Option<Arc<Life>> {
        self.lives.get(id).cloned()
    }

    /// The lease of that name, while somebody has it.
    pub(super) fn held(&self, lease: &LeaseId) -> Option<Arc<ReverseLease>> {
        self.lives
            .values()
            .find_map(|life| match &life.state().hold {
                Hold::Held(id, held) if id == lease => held.upgrade(),
                _ => None,
            })
    }

    /// Forgets lives that are over; ends those that were away until their lease had run out, and
    /// those whose holder has dropped the lease and that do not end by themselves.
    pub(super) fn sweep(&mut self) {
        let now = Instant::now();
        for life in self.lives.values() {
            let (expired, abandoned) = {
                let state = life.state();
                let is_away = state.connected.is_none();
                let is_over = state.expires.is_none_or(|end| end <= now);
                let dropped =
                    matches!(&state.hold, Hold::Held(_, held) if held.strong_count() == 0);
                (is_away && is_over, dropped && !life.is_leasable)
            };
            if expired {
                life.end("it was away until its lease had run out");
            } else if abandoned {
                life.end("its holder has dropped it");
            }
        }
        self.lives.retain(|_, life| !life.over.is_cancelled());
        self.to_end.retain(|_, (_, end)| *end > now);
    }

    pub(super) fn end_later(&mut self, life: &Life, nonce: &Nonce) {
        let Some(end) = life.state().expires else {
            return;
        };
        let id = life.registration.id.clone();
        self.to_end.insert(id, (nonce.clone(), end));
    }

    /// The lease that is to be ended when the machine comes back.
    pub(super) fn take_end(&mut self, id: &MachineId) -> Option<Nonce> {
        self.to_end.remove(id).map(|(nonce, _)| nonce)
    }

    pub(super) fn registered(&mut self, by: &Registration, address: IpAddr, now: Timestamp) {
        if self.seen.len() >= REMEMBERED && !self.seen.contains_key(&by.id) {
            let gone = self
                .seen
                .values()
                .filter(|s| !self.lives.contains_key(&s.machine));
            let oldest = gone.min_by_key(|seen| seen.last).map(|s| s.machine.clone());
            if let Some(oldest) = oldest {
                self.seen.remove(&oldest);
            }
        }
        let seen = self.seen.entry(by.id.clone()).or_insert_with(|| Seen {
            machine: by.id.clone(),
            host: by.host.clone(),
            host_type: by.host_type.clone(),
            version: by.version.clone(),
            address,
            first: now,
            last: now,
            registrations: 0,
            trail: VecDeque::new(),
        });
        seen.address = address;
        seen.version.clone_from(&by.version);
        seen.last = now;
        seen.registrations += 1;
    }

    /// Remembers something that happened to a machine.
    pub(super) fn note(&mut self, id: &MachineId, now: Timestamp, what: impl Into<String>) {
        if let Some(seen) = self.seen.get_mut(id) {
            seen.last = now;
            if seen.trail.len() == TRAIL {
                seen.trail.pop_front();
            }
            seen.trail.push_back((now, what.into()));
        }
    }

    pub(super) fn refuse(&mut self, refused: Refused) {
        let same = self.refused.back_mut().filter(|last| {
            (&last.host, &last.host_type, last.address, &last.why)
                == (
                    &refused.host,
                    &refused.host_type,
                    refused.address,
                    &refused.why,
                )
        });
        if let Some(same) = same {
            same.at = refused.at;
            same.count += 1;
            return;
        }
        if self.refused.len() == REFUSALS {
            self.refused.pop_front();
        }
        self.refused.push_back(refused);
    }

    /// Every machine that is remembered, with `now` for those that are there.
    pub(super) fn history(&self, now: Timestamp) -> Vec<Seen> {
        let there = |seen: &Seen| {
            let life = self.lives.get(&seen.machine);
            life.is_some_and(|life| life.is_connected())
        };
        let seen = self.seen.values().cloned().map(|mut seen| {
            if there(&seen) {
                seen.last = now;
            }
            seen
        });
        seen.collect()
    }

    pub(super) fn refusals(&self) -> Vec<Refused> {
        self.refused.iter().cloned().collect()
    }
}
