//! The machines that are there, and what is remembered of those that were.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use build_core::clock::Timestamp;
use build_core::ids::{LeaseId, MachineId, Nonce};
use build_core::report::RefusedMachine;
use serde::Serialize;
use tokio::time::Instant;

use super::history::{History, Seen};
use super::lease::ReverseLease;
use super::machine::{Hold, Life};
use super::registration::Registration;

/// Most refusals that are remembered.
const REFUSALS: usize = 100;

/// A machine that was not taken.
#[derive(Clone, Debug, Serialize)]
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

impl From<Refused> for RefusedMachine {
    fn from(refused: Refused) -> Self {
        Self {
            at: refused.at,
            host: refused.host,
            host_type: refused.host_type,
            address: refused.address,
            why: refused.why,
            count: refused.count,
        }
    }
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) lives: BTreeMap<MachineId, Arc<Life>>,
    pub(super) past: History,
    refused: VecDeque<Refused>,
    /// Leases that were given back while their machines were away.
    to_end: HashMap<MachineId, (Nonce, Instant)>,
}

impl Table {
    /// Nobody is there yet; this is remembered.
    pub(super) fn remembering(past: History) -> Self {
        Self {
            past,
            ..Self::default()
        }
    }

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
        let lives = &self.lives;
        let is_there = |id: &MachineId| lives.contains_key(id);
        self.past.registered(by, address, now, is_there);
    }

    /// Remembers something that happened to a machine.
    pub(super) fn note(&mut self, id: &MachineId, now: Timestamp, what: impl AsRef<str>) {
        self.past.note(id, now, what.as_ref());
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
        let is_there = |id: &MachineId| {
            let life = self.lives.get(id);
            life.is_some_and(|life| life.is_connected())
        };
        self.past.all(now, is_there)
    }

    pub(super) fn refusals(&self) -> Vec<Refused> {
        self.refused.iter().cloned().collect()
    }
}
