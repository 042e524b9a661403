//! Machines: who waits for one, who gets one, and what becomes of those that fail.

use std::collections::BTreeSet;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Dispatcher;
use super::input::Effect;
use crate::clock::Timestamp;
use crate::engine::{Command, UnitState};
use crate::event::{BuildEvent, LeaseEnd, UnitEnd};
use crate::ids::{BuildId, LeaseId, MachineId, Nonce};
use crate::plan::Unit;
use crate::pool::LEASE_TTL;
use crate::schedule::{Action, Event, Machine, Waiter, WaiterId};

/// A machine whose lease was written off ends everything on its own when the lease is not
/// renewed; this long after, it can be used again without having answered.
pub(super) const EXPIRY: Duration = Duration::from_secs(2 * LEASE_TTL.as_secs());

/// A machine whose lease was written off before its end was confirmed.
pub(super) struct Orphan {
    machine: MachineId,
    pub(super) due: Timestamp,
}

impl Dispatcher {
    pub(super) fn set_machines(&mut self, machines: Vec<Machine>, now: Timestamp) {
        let ids: BTreeSet<MachineId> = machines.iter().map(|m| m.id().clone()).collect();
        let gone: Vec<_> = self.machines.difference(&ids).cloned().collect();
        let mut actions = Vec::new();
        for id in gone {
            actions.extend(self.scheduler.step(Event::Down(id), now));
        }
        for machine in machines {
            actions.extend(self.scheduler.step(Event::Up(machine), now));
        }
        self.machines = ids;
        self.carry_out(actions, now);
    }

    /// Makes the queue agree with what the build waits for; whether the build got a machine.
    pub(super) fn sync_wants(&mut self, build: &BuildId, units: &[Unit], now: Timestamp) -> bool {
        let Some(open) = self.builds.get_mut(build) else {
            return false;
        };
        let wanted: BTreeSet<Unit> = units.iter().cloned().collect();
        if open.wants == wanted {
            return false;
        }
        let left: Vec<Unit> = open.wants.difference(&wanted).cloned().collect();
        let new: Vec<Unit> = units
            .iter()
            .filter(|unit| !open.wants.contains(unit))
            .cloned()
            .collect();
        open.wants = wanted;
        let mut actions = Vec::new();
        for unit in left {
            let id = WaiterId {
                build: build.clone(),
                unit,
            };
            actions.extend(self.scheduler.step(Event::Leave(id), now));
        }
        for unit in new {
            if let Some(waiter) = self.waiter(build, unit) {
                actions.extend(self.scheduler.step(Event::Enter(waiter), now));
            }
        }
        self.carry_out(actions, now).contains(build)
    }

    fn waiter(&self, build: &BuildId, unit: Unit) -> Option<Waiter> {
        let open = self.builds.get(build)?;
        let state = &open.state;
        let builder = self.builders.get(state.builder())?;
        let item = state.item();
        let is_first = open.wants.first() == Some(&unit) && state.leases().next().is_none();
        Some(Waiter {
            id: WaiterId {
                build: build.clone(),
                unit,
            },
            builder: builder.name.clone(),
            host_type: builder.host_type.clone(),
            needs: builder.labels.iter().cloned().collect(),
            tags: item.labels.iter().cloned().collect(),
            class: item.class,
            author: item.author.clone(),
            commit_time: item.commit_time,
            enqueued: state.queued_at(),
            helper: !is_first,
        })
    }

    /// Records what the scheduler granted; the answer is the builds that got a machine.
    pub(super) fn carry_out(&mut self, actions: Vec<Action>, now: Timestamp) -> BTreeSet<BuildId> {
        let mut served = BTreeSet::new();
        for action in actions {
            let Action::Grant { waiter, machine } = action;
            let lease = self.draw_lease();
            let leased = BuildEvent::Leased {
                lease: lease.clone(),
                nonce: self.draw_nonce(&lease),
                machine,
                unit: waiter.unit.clone(),
            };
            if self.record(&waiter.build, leased, now)
                && let Some(open) = self.builds.get_mut(&waiter.build)
            {
                open.wants.remove(&waiter.unit);
                open.attached.insert(lease);
                served.insert(waiter.build);
            }
        }
        served
    }

    /// The machine of a lease is free again, or rests when it has failed.
    pub(super) fn return_machine(&mut self, machine: MachineId, failed: bool, now: Timestamp) {
        let event = if failed {
            Event::Failed(machine)
        } else {
            Event::Free(machine)
        };
        let actions = self.scheduler.step(event, now);
        self.carry_out(actions, now);
    }

    /// Ends a lease in the log; the answer is its machine.
    pub(super) fn end_lease(
        &mut self,
        lease: &LeaseId,
        reason: LeaseEnd,
        now: Timestamp,
    ) -> Option<(BuildId, MachineId)> {
        let build = self.leases.get(lease)?.clone();
        let machine = self
            .builds
            .get(&build)?
            .state
            .lease(lease)?
            .record()
            .machine
            .clone();
        let ended = BuildEvent::LeaseEnded {
            lease: lease.clone(),
            reason,
        };
        self.record(&build, ended, now).then_some((build, machine))
    }

    /// Ends what ran on a lease, in the log.
    pub(super) fn end_unit(
        &mut self,
        lease: &LeaseId,
        end: UnitEnd,
        output_bytes: u64,
        now: Timestamp,
    ) {
        let Some(build) = self.leases.get(lease).cloned() else {
            return;
        };
        let Some(state) = self.build(&build) else {
            return;
        };
        let Some(unit) = state.lease(lease).and_then(|l| l.running()).cloned() else {
            return;
        };
        let Some(attempt) = state.unit(&unit).map(UnitState::attempts) else {
            return;
        };
        self.unit_ended(&build, unit, attempt, end, output_bytes, now);
    }

    /// A machine that is held does not work: its lease is written off. What may be left of it
    /// is given back as well as possible; expiry is the backstop.
    pub(super) fn lease_lost(
        &mut self,
        lease: &LeaseId,
        text: &str,
        output_bytes: u64,
        now: Timestamp,
    ) {
        self.end_unit(lease, UnitEnd::Lost(text.to_owned()), output_bytes, now);
        let Some((build, machine)) = self.end_lease(lease, LeaseEnd::Lost(text.to_owned()), now)
        else {
            return;
        };
        let Some(open) = self.builds.get(&build) else {
            return;
        };
        let release = Command::Release {
            item: open.state.item().clone(),
            builder: self.builders.get(open.state.builder()).cloned(),
            build,
            lease: lease.clone(),
            caches: Vec::new(),
        };
        self.outbox.hold(open.mark, Effect::Do(Box::new(release)));
        self.write_off(lease, machine, now);
    }

    pub(super) fn write_off(&mut self, lease: &LeaseId, machine: MachineId, now: Timestamp) {
        self.orphans.insert(
            lease.clone(),
            Orphan {
                machine,
                due: now + EXPIRY,
            },
        );
    }

    pub(super) fn orphan_ended(&mut self, lease: &LeaseId, now: Timestamp) {
        if let Some(orphan) = self.orphans.remove(lease) {
            self.return_machine(orphan.machine, true, now);
        }
    }

    pub(super) fn expire_orphans(&mut self, now: Timestamp) {
        let due: Vec<LeaseId> = self
            .orphans
            .iter()
            .filter(|(_, o)| o.due <= now)
            .map(|(lease, _)| lease.clone())
            .collect();
        for lease in due {
            self.orphan_ended(&lease, now);
        }
    }

    fn draw_lease(&mut self) -> LeaseId {
        self.drawn += 1;
        let digest = self.derive(&[b"lease", &self.drawn.to_be_bytes()]);
        let bits = digest
            .iter()
            .take(8)
            .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        LeaseId::from_bits(bits)
    }

    fn draw_nonce(&self, lease: &LeaseId) -> Nonce {
        let digest = self.derive(&[b"nonce", lease.as_str().as_bytes()]);
        Nonce::new(hex::encode(&digest[..16])).expect("hex digits are a plain word")
    }

    fn derive(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("any length is a key of HMAC");
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}
