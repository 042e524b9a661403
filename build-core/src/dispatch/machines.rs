//! The machines: which are up, what is remembered of each, and which are set aside.

use std::collections::BTreeSet;

use super::Dispatcher;
use super::input::Effect;
use super::outbox::Pending;
use super::replies::GONE;
use crate::clock::Timestamp;
use crate::engine::Mode;
use crate::event::{BuildEvent, LeaseEnd, Memo};
use crate::ids::{HolderId, LeaseId, MachineId};
use crate::machine::{Aside, Records, Verdict};
use crate::schedule::{Event, Machine};

/// What the end of a lease says of its machine.
fn verdict(reason: &LeaseEnd) -> (Verdict, &str) {
    match reason {
        LeaseEnd::Released => (Verdict::Well, ""),
        // Nobody was there to see why.
        LeaseEnd::Lost(text) if text == GONE => (Verdict::Unknown, ""),
        LeaseEnd::Lost(text) => (Verdict::Failed, text),
        LeaseEnd::Unusable { .. } => (Verdict::Unknown, ""),
    }
}

impl Dispatcher {
    /// What is remembered of machines.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Nobody gets a machine for a time; who holds it keeps it. It is in the log once the number
    /// [is recorded](Dispatcher::is_recorded).
    pub fn set_aside(
        &mut self,
        machine: &MachineId,
        aside: Aside,
        now: Timestamp,
    ) -> (u64, Vec<Effect>) {
        let memos = self.records.put_aside(machine, aside, now);
        let mark = self.outbox.push(Pending::memos(memos));
        if self.machines.contains(machine) {
            self.keep_aside(machine, now);
        }
        (mark, self.come_to_rest(now))
    }

    /// A machine that was set aside, or that rests, may be used again, and what was is forgiven. It
    /// is in the log once the number [is recorded](Dispatcher::is_recorded).
    pub fn readmit(&mut self, machine: &MachineId, now: Timestamp) -> (u64, Vec<Effect>) {
        let memos = self.records.release(machine, now);
        let mark = self.outbox.push(Pending::memos(memos));
        let actions = self.scheduler.step(Event::Readmit(machine.clone()), now);
        self.carry_out(actions, now);
        (mark, self.come_to_rest(now))
    }

    /// Whether what was given that number is durable.
    pub fn is_recorded(&self, mark: u64) -> bool {
        self.outbox.is_recorded(mark)
    }

    fn come_to_rest(&mut self, now: Timestamp) -> Vec<Effect> {
        self.settle(now);
        self.flush(now)
    }

    /// Tells the scheduler of a machine that is set aside.
    fn keep_aside(&mut self, machine: &MachineId, now: Timestamp) {
        if let Some(aside) = self.records.aside(machine, now).cloned() {
            let actions = self
                .scheduler
                .step(Event::SetAside(machine.clone(), aside), now);
            self.carry_out(actions, now);
        }
    }

    pub(super) fn set_machines(&mut self, machines: Vec<Machine>, now: Timestamp) {
        self.know_patience(&machines);
        let kinds = machines
            .iter()
            .map(|m| (m.id().clone(), m.host_type().clone()));
        self.records.set_up(kinds);
        let ids: BTreeSet<MachineId> = machines.iter().map(|m| m.id().clone()).collect();
        let gone: Vec<_> = self.machines.difference(&ids).cloned().collect();
        let before = std::mem::replace(&mut self.machines, ids);
        let mut events: Vec<Event> = gone.into_iter().map(Event::Down).collect();
        for machine in machines {
            // First, so that nobody gets it in between.
            if !before.contains(machine.id()) {
                self.keep_aside(machine.id(), now);
            }
            events.push(Event::Up(machine));
        }
        let actions = self.scheduler.step(Event::All(events), now);
        self.carry_out(actions, now);
    }

    /// Takes over what an earlier process remembered.
    pub(super) fn restore_records<'m>(
        &mut self,
        memos: impl IntoIterator<Item = &'m Memo>,
        now: Timestamp,
    ) {
        memos
            .into_iter()
            .for_each(|memo| self.records.restore(memo));
        for machine in self.machines.clone() {
            self.keep_aside(&machine, now);
        }
    }

    /// Ends a lease in the log; the answer is its machine.
    pub(super) fn end_lease(
        &mut self,
        lease: &LeaseId,
        reason: LeaseEnd,
        now: Timestamp,
    ) -> Option<(HolderId, MachineId)> {
        self.end_lease_by(lease, reason, true, now)
    }

    /// The same; when nobody has tried the machine it is not to blame.
    pub(super) fn end_lease_by(
        &mut self,
        lease: &LeaseId,
        reason: LeaseEnd,
        was_tried: bool,
        now: Timestamp,
    ) -> Option<(HolderId, MachineId)> {
        let build = self.leases.get(lease)?.clone();
        let state = &self.builds.get(&build)?.state;
        let machine = state.lease(lease)?.record().machine.clone();
        let (verdict, why) = match verdict(&reason) {
            // What is interrupted says nothing of where it ran.
            (Verdict::Failed, _) if self.mode == Mode::Stop || !was_tried => (Verdict::Unknown, ""),
            known => known,
        };
        let since = self.scheduler.held_since(&machine).unwrap_or(now);
        let (busy, why) = (now.since(since), why.to_owned());
        let (memos, aside) = self.records.ended(&machine, verdict, busy, &why, now);
        let ended = BuildEvent::LeaseEnded {
            lease: lease.clone(),
            reason,
        };
        if !self.record_with(&build, ended, now, memos) {
            return None;
        }
        if aside.is_some() {
            self.keep_aside(&machine, now);
        }
        Some((build, machine))
    }
}
