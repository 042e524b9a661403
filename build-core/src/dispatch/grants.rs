//! Machines: who waits for one, who gets one, and what becomes of those that fail.

use std::collections::BTreeSet;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Dispatcher;
use super::input::Effect;
use crate::clock::Timestamp;
use crate::engine::{BuildState, Command, NO_HOST, UnitState};
use crate::event::{BuildEvent, LeaseEnd, Outcome, Principal, UnitEnd};
use crate::ids::{HolderId, HostType, LeaseId, MachineId, Nonce};
use crate::plan::Unit;
use crate::pool::LEASE_TTL;
use crate::schedule::{Action, Event, Labels, Waiter, WaiterId};
use crate::work::Class;

/// A machine whose lease was written off ends everything on its own when the lease is not
/// renewed; this long after, it can be used again without having answered.
pub(super) const EXPIRY: Duration = Duration::from_secs(2 * LEASE_TTL.as_secs());

/// How long a build waits for a machine before it gives up.
const WAIT_LIMIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A machine whose lease was written off before its end was confirmed.
pub(super) struct Orphan {
    machine: MachineId,
    pub(super) due: Timestamp,
    /// Whether the machine is to blame: it is then not given out again at once.
    failed: bool,
}

impl Dispatcher {
    /// Makes the queue agree with what the build waits for; whether the build got a machine.
    pub(super) fn sync_wants(&mut self, build: &HolderId, units: &[Unit], now: Timestamp) -> bool {
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
            if let Some(open) = self.builds.get(build) {
                let is_first = open.wants.first() == Some(&unit);
                let helper = !is_first || open.state.leases().next().is_some();
                let waiter = self.waiter(&open.state, unit, helper);
                actions.extend(self.scheduler.step(Event::Enter(waiter), now));
            }
        }
        self.carry_out(actions, now).contains(build)
    }

    /// A unit of a build, or a session, as the queue sees it: a person waits for a session. A
    /// builder that is not configured any more has no machines: its builds end without waiting.
    pub(super) fn waiter(&self, state: &BuildState, unit: Unit, helper: bool) -> Waiter {
        let item = state.item();
        let builder = self.builder_of(state);
        let any_host = || HostType::new(NO_HOST).expect("a plain word");
        Waiter {
            id: WaiterId {
                build: state.id().clone(),
                unit,
            },
            builder: state.builder().clone(),
            host_type: builder.map_or_else(any_host, |b| b.host_type.clone()),
            needs: builder
                .into_iter()
                .flat_map(|b| b.labels.iter().cloned())
                .collect(),
            tags: item.map_or_else(Labels::default, |i| i.labels.iter().cloned().collect()),
            class: item.map_or(Class::Interactive, |i| i.class),
            author: match item {
                Some(item) => item.author.clone(),
                None => state.opened_by().map(Principal::text),
            },
            repo: item.map(|i| i.repo.clone()),
            commit_time: item.map_or(state.queued_at(), |i| i.commit_time),
            enqueued: state.queued_at(),
            deadline: Some(state.queued_at() + WAIT_LIMIT),
            helper,
        }
    }

    /// Records what the scheduler granted; the answer is the builds that got a machine.
    pub(super) fn carry_out(&mut self, actions: Vec<Action>, now: Timestamp) -> BTreeSet<HolderId> {
        let mut served = BTreeSet::new();
        for action in actions {
            match action {
                Action::Grant { waiter, machine } => {
                    if self.granted(&waiter, machine, now) {
                        served.insert(waiter.build);
                    }
                }
                Action::Expired(waiter) => self.waited_too_long(&waiter, now),
            }
        }
        served
    }

    fn granted(&mut self, waiter: &WaiterId, machine: MachineId, now: Timestamp) -> bool {
        let lease = self.draw_lease();
        self.nonces.insert(lease.clone(), self.draw_nonce(&lease));
        let leased = BuildEvent::Leased {
            lease: lease.clone(),
            machine: machine.clone(),
            unit: waiter.unit.clone(),
        };
        if !self.record(&waiter.build, leased, now) {
            self.nonces.remove(&lease);
            self.return_machine(machine, false, now);
            return false;
        }
        if let Some(open) = self.builds.get_mut(&waiter.build) {
            open.wants.remove(&waiter.unit);
            open.attached.insert(lease);
        }
        true
    }

    /// A build that got no machine at all in time ends; one that has some goes on with them.
    fn waited_too_long(&mut self, waiter: &WaiterId, now: Timestamp) {
        let Some(open) = self.builds.get_mut(&waiter.build) else {
            return;
        };
        open.wants.remove(&waiter.unit);
        if open.state.leases().next().is_none() {
            let builder = open.state.builder();
            let text = format!(
                "builder {builder} had no machine for {} days",
                WAIT_LIMIT.as_secs() / 86_400
            );
            let outcome = Outcome::Infrastructure { text };
            self.record(&waiter.build, BuildEvent::Finished { outcome }, now);
        }
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
        self.unit_ended(&build, unit, attempt, (end, None), output_bytes, now);
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
        self.give_up(lease, LeaseEnd::Lost(text.to_owned()), now);
    }

    pub(super) fn give_up(&mut self, lease: &LeaseId, reason: LeaseEnd, now: Timestamp) {
        // What is wrong with a commit is no machine's fault.
        let failed = !matches!(reason, LeaseEnd::Unusable { .. });
        let Some((build, machine)) = self.end_lease(lease, reason, now) else {
            return;
        };
        let Some(open) = self.builds.get(&build) else {
            return;
        };
        let mark = open.mark;
        let release = Command::Release {
            item: open.state.item().cloned(),
            builder: self.builder_of(&open.state).cloned(),
            build,
            lease: lease.clone(),
            caches: Vec::new(),
            warm: false,
        };
        let limit = self.limit_on(&release, Some(&machine));
        self.outbox.hold(mark, Effect::Do(Box::new(release), limit));
        self.write_off(lease, machine, failed, now);
    }

    pub(super) fn write_off(
        &mut self,
        lease: &LeaseId,
        machine: MachineId,
        failed: bool,
        now: Timestamp,
    ) {
        self.orphans.insert(
            lease.clone(),
            Orphan {
                machine,
                due: now + EXPIRY,
                failed,
            },
        );
    }

    pub(super) fn orphan_ended(&mut self, lease: &LeaseId, now: Timestamp) {
        if let Some(orphan) = self.orphans.remove(lease) {
            self.return_machine(orphan.machine, orphan.failed, now);
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
            if let Some(orphan) = self.orphans.get_mut(&lease) {
                orphan.failed = true;
            }
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
