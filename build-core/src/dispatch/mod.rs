//! Scheduler and engine put together: inputs in, effects out.
//!
//! The [`Dispatcher`] owns the queue, the machines' ledger and the state of every open build.
//! It has no clock, no randomness and does nothing itself. Whoever drives it calls
//! [`Dispatcher::handle`] with what happened and carries out the [`Effect`]s in any order; an
//! effect appears only after the events that justify it were reported as durable.
//!
//! ```text
//! Ask, Machines, Cancel ─────┐                        ┌──> Append(events) ──> log ──> Recorded ──┐
//! Done, Failed, LeaseLost ───┼──> Dispatcher::handle ─┼──> Do(command)  ──> pool, buildlets ─────┤
//! Tick ──────────────────────┘            ^           └──> WakeAt(time) ──> clock ──> Tick ──────┤
//!                                         └──────────────────────────────────────────────────────┘
//! ```
//!
//! After a crash at any point, [`Dispatcher::restore`] with the events of the open builds goes
//! on: machines are adopted, and commands whose answers are missing are given again.

mod grants;
mod input;
mod limits;
mod machines;
mod open;
mod outbox;
mod replies;
mod restore;
mod sessions;
#[cfg(test)]
mod tests;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};

pub use input::{Effect, Failure, Input, Listing, Reply};
pub use restore::{LEASE_MEMOS, Restored};
pub use sessions::SESSION_TTL;

use crate::clock::Timestamp;
use crate::engine::{BuildState, CommandKey, Mode};
use crate::event::{
    BuildEvent, Event as _, Memo, NewEvent, Principal, SessionEnd, SessionEvent, Version,
};
use crate::ids::{BuilderName, HolderId, LeaseId, MachineId, Nonce};
use crate::machine::Records;
use crate::plan::Unit;
use crate::schedule::{Event, Explanation, Policy, Scheduler, WaiterId};
use crate::work::Builder;
use grants::Orphan;
use limits::Patiences;
use open::Open;
use outbox::{Outbox, Pending};
use restore::memo_of;
use wishes::Wishes;

/// Every open build, the queue, and who holds which machine.
pub struct Dispatcher {
    scheduler: Scheduler,
    builders: BTreeMap<BuilderName, Builder>,
    builds: BTreeMap<HolderId, Open>,
    /// Which build holds a lease.
    leases: BTreeMap<LeaseId, HolderId>,
    /// The proofs of leases.
    nonces: BTreeMap<LeaseId, Nonce>,
    wishes: Wishes,
    /// Machines of leases that were written off, until their end is known or certain.
    orphans: BTreeMap<LeaseId, Orphan>,
    /// When sessions end unless they are renewed.
    sessions: BTreeMap<HolderId, Timestamp>,
    /// Machines that are up, as last told.
    machines: BTreeSet<MachineId>,
    /// What is remembered of machines.
    records: Records,
    /// Builds to look at before the present call returns.
    dirty: BTreeSet<HolderId>,
    /// Builds that are closed, with the numbers of their last events.
    closed: BTreeSet<(u64, HolderId)>,
    timers: BTreeSet<(Timestamp, CommandKey)>,
    outbox: Outbox,
    patiences: Patiences,
    mode: Mode,
    /// Lease ids and nonces are drawn from it; see [`Dispatcher::new`].
    key: [u8; 32],
    drawn: u64,
    woken_for: Option<Timestamp>,
}

/// Whether somebody holds a machine by it, or waits for one.
fn is_open_session(state: &BuildState) -> bool {
    state.opened_by().is_some() && state.outcome().is_none()
}

impl Dispatcher {
    /// A dispatcher without builds and machines.
    ///
    /// Lease ids and nonces are derived from `key`: it must be secret and never used before,
    /// so draw it from the system's random source at each start.
    pub fn new(
        policy: impl Policy + 'static,
        builders: impl IntoIterator<Item = Builder>,
        key: [u8; 32],
    ) -> Self {
        Self {
            scheduler: Scheduler::new(policy),
            builders: builders.into_iter().map(|b| (b.name.clone(), b)).collect(),
            builds: BTreeMap::new(),
            leases: BTreeMap::new(),
            nonces: BTreeMap::new(),
            wishes: Wishes::default(),
            orphans: BTreeMap::new(),
            sessions: BTreeMap::new(),
            machines: BTreeSet::new(),
            records: Records::default(),
            dirty: BTreeSet::new(),
            closed: BTreeSet::new(),
            timers: BTreeSet::new(),
            outbox: Outbox::default(),
            patiences: Patiences::default(),
            mode: Mode::Run,
            key,
            drawn: 0,
            woken_for: None,
        }
    }

    /// Takes what happened into account and says what is to be done.
    ///
    /// Answers that come twice, late, or to commands of an earlier process change nothing.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        self.take(input, now);
        self.settle(now);
        self.flush(now)
    }

    /// One open build or session.
    pub fn build(&self, build: &HolderId) -> Option<&BuildState> {
        self.builds.get(build).map(|open| &open.state)
    }

    /// All builds and sessions that are queued, run, or still hold machines.
    pub fn builds(&self) -> impl Iterator<Item = &BuildState> {
        self.builds.values().map(|open| &open.state)
    }

    /// The queue and the machines.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Whether nothing is left to do or to write: a program that stops may end.
    pub fn is_idle(&self) -> bool {
        let done = |open: &Open| match self.mode {
            Mode::Run => false,
            // What is not understood is left as it is, and so are sessions.
            Mode::Stop => {
                open.state.foreign().is_some()
                    || is_open_session(&open.state)
                    || open.state.leases().next().is_none()
            }
        };
        self.builds.values().all(done) && self.orphans.is_empty() && self.outbox.is_empty()
    }

    /// The machines of open sessions: they stay when this process stops.
    pub fn kept(&self) -> BTreeSet<LeaseId> {
        let open = self.builds.values().map(|open| &open.state);
        let leases = open.filter(|state| is_open_session(state));
        leases
            .flat_map(|state| state.leases().map(|lease| lease.record().lease.clone()))
            .collect()
    }

    /// Whether everything that is known here is in the log.
    pub fn is_durable(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Why events cannot be recorded at present, if so: then nothing new begins.
    pub fn stalled(&self) -> Option<&str> {
        self.outbox.trouble()
    }

    /// Why the units of a build wait that do: for a machine, and for which.
    pub fn explain(&self, build: &HolderId, now: Timestamp) -> Vec<(Unit, Explanation)> {
        let wants = self
            .builds
            .get(build)
            .into_iter()
            .flat_map(|open| &open.wants);
        let explain = |unit: &Unit| {
            let id = WaiterId {
                build: build.clone(),
                unit: unit.clone(),
            };
            Some((unit.clone(), self.scheduler.explain(&id, now)?))
        };
        wants.filter_map(explain).collect()
    }

    /// Plants a bug, so that a test can show that it is found.
    #[cfg(any(test, feature = "testing"))]
    pub fn plant(&mut self, plant: Option<crate::plant::Plant>) {
        self.scheduler.plant(plant);
        self.outbox.plant(plant);
        self.wishes.plant(plant);
    }

    fn take(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::OpenSession {
                session,
                builder,
                by,
                name,
            } => {
                let state = BuildState::opened(&session, now, by.clone(), builder.clone());
                let opened = SessionEvent::Opened {
                    builder,
                    by: by.clone(),
                    name,
                };
                self.begin(state, &opened, by, now);
                self.renew_session(&session.into(), now);
            }
            Input::Ask { wish, drawn } => self.ask(*wish, drawn, now),
            Input::Withdraw { key, by } => self.withdraw(key, &by, now),
            Input::RenewSession { session } => self.renew_session(&session.into(), now),
            Input::CloseSession { session } => {
                self.close_session(&session.into(), SessionEnd::Returned, now);
            }
            Input::Cancel { build, by } => {
                self.record(&build, BuildEvent::CancelRequested { by }, now);
            }
            Input::Allot(allotment) => {
                let actions = self.scheduler.step(Event::Allot(allotment), now);
                self.carry_out(actions, now);
            }
            Input::Accounts(accounts) => {
                let actions = self.scheduler.step(Event::Accounts(accounts), now);
                self.carry_out(actions, now);
            }
            Input::Machines(machines) => self.set_machines(machines, now),
            Input::LeaseLost {
                lease,
                text,
                output_bytes,
            } => self.lease_lost(&lease, &text, output_bytes, now),
            Input::Done(key, reply) => self.done(&key, reply, now),
            Input::Failed(key, failure) => self.failed(&key, failure, now),
            Input::Recorded { batch } => {
                self.outbox.recorded(batch);
                self.forget_closed();
            }
            Input::AppendFailed { batch, text } => self.outbox.failed(batch, text, now),
            Input::Tick => {
                // It may come early, when the clock was set back: then it is asked for again.
                self.woken_for = None;
                self.tick(now);
            }
            Input::Stop => {
                self.mode = Mode::Stop;
                self.dirty.extend(self.builds.keys().cloned());
            }
        }
    }

    /// A build or a session begins, unless it has.
    fn begin(
        &mut self,
        state: BuildState,
        first: &impl crate::event::Event,
        by: Principal,
        now: Timestamp,
    ) {
        let id = state.id().clone();
        if self.builds.contains_key(&id) {
            return;
        }
        let Some(pending) = beginning(&id, first, by, now) else {
            return;
        };
        let mark = self.outbox.push(pending);
        self.open(state, mark);
    }

    /// Knows of a build or a session whose first event is number `mark`.
    fn open(&mut self, state: BuildState, mark: u64) {
        self.wishes.begun(&state);
        let id = state.id().clone();
        self.dirty.insert(id.clone());
        self.builds.insert(id, Open::new(state, mark, Version(1)));
    }

    /// Applies an event and puts it on its way into the log; `false` when it contradicts what
    /// happened before, as the second of two equal answers does.
    fn record(&mut self, build: &HolderId, event: BuildEvent, now: Timestamp) -> bool {
        self.record_with(build, event, now, Vec::new())
    }

    /// As [`Dispatcher::record`], together with memos.
    fn record_with(
        &mut self,
        build: &HolderId,
        event: BuildEvent,
        now: Timestamp,
        memos: Vec<Memo>,
    ) -> bool {
        self.record_all(build, event, now, (false, memos))
    }

    /// As [`Dispatcher::record`]; `joined` puts it into the log together with the event before it.
    fn record_as(
        &mut self,
        build: &HolderId,
        event: BuildEvent,
        now: Timestamp,
        joined: bool,
    ) -> bool {
        self.record_all(build, event, now, (joined, Vec::new()))
    }

    fn record_all(
        &mut self,
        build: &HolderId,
        event: BuildEvent,
        now: Timestamp,
        (joined, more): (bool, Vec<Memo>),
    ) -> bool {
        let Some(open) = self.builds.get_mut(build) else {
            return false;
        };
        match open.state.advance(now, &event) {
            Ok(touched) => open.agenda.touch(touched),
            Err(_) => return false,
        }
        let memos = match &event {
            BuildEvent::Leased { lease, .. } => {
                self.leases.insert(lease.clone(), build.clone());
                let nonce = self
                    .nonces
                    .get(lease)
                    .map(|nonce| String::from(nonce.clone()));
                nonce.map(|nonce| Memo::set(memo_of(lease), nonce))
            }
            BuildEvent::LeaseEnded { lease, .. } => {
                self.leases.remove(lease);
                self.nonces.remove(lease);
                open.attached.remove(lease);
                Some(Memo::removed(memo_of(lease)))
            }
            _ => None,
        };
        let by = match &event {
            BuildEvent::CancelRequested { by } => by.clone(),
            _ => Principal::farm(),
        };
        open.version = open.version.next();
        let end = match &event {
            BuildEvent::Finished { outcome } => Some(outcome.clone()),
            _ => None,
        };
        let encoded = match build {
            HolderId::Build(_) => event.encode(),
            HolderId::Session(_) => SessionEvent::of(event)
                .expect("a session takes no step that only a build takes")
                .encode(),
        };
        let encoded = encoded.expect("events of builds have a form in JSON");
        let pending = Pending {
            event: Some(NewEvent::encoded(build.clone().into(), now, by, encoded)),
            version: open.version,
            closes: open.state.is_closed(),
            memos: memos.into_iter().chain(more).collect(),
        };
        open.mark = match joined {
            true => self.outbox.push_joined(pending),
            false => self.outbox.push(pending),
        };
        self.dirty.insert(build.clone());
        if let (Some(outcome), Some(build)) = (end, build.build()) {
            self.tell_wishes(build, &outcome, now);
        }
        true
    }

    fn tick(&mut self, now: Timestamp) {
        while let Some((due, key)) = self.timers.first().cloned().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, key.clone()));
            self.dirty.insert(key.build().clone());
            if let Some(open) = self.builds.get_mut(key.build()) {
                open.overdue(&key, now);
            }
        }
        self.expire_orphans(now);
        self.expire_sessions(now);
        let actions = self.scheduler.step(Event::Tick, now);
        self.carry_out(actions, now);
    }

    /// Brings every build that changed to rest.
    fn settle(&mut self, now: Timestamp) {
        while let Some(build) = self.dirty.pop_first() {
            self.settle_one(&build, now);
        }
    }

    /// The builder of a build: as its commit configures it, else as the farm does.
    fn builder_of<'a>(&'a self, state: &'a BuildState) -> Option<&'a Builder> {
        builder_of(state, self.builders.get(state.builder()))
    }

    fn settle_one(&mut self, build: &HolderId, now: Timestamp) {
        loop {
            let Some(open) = self.builds.get_mut(build) else {
                return;
            };
            let of_farm = self.builders.get(open.state.builder());
            let due = open
                .agenda
                .due(&open.state, builder_of(&open.state, of_farm), self.mode);
            if self.sync_wants(build, &due.wants, now) {
                continue;
            }
            let mut recorded = false;
            for event in due.events {
                recorded |= self.record(build, event, now);
            }
            if !recorded {
                break;
            }
        }
        if let Some(open) = self.builds.get_mut(build) {
            let of_farm = self.builders.get(open.state.builder());
            let builder = builder_of(&open.state, of_farm);
            let orders = open.agenda.orders(&open.state, builder, self.mode);
            self.sync_commands(build, orders, now);
        }
        if let Some(open) = self.builds.get(build).filter(|open| open.state.is_closed()) {
            self.closed.insert((open.mark, build.clone()));
        }
        self.forget_closed();
    }

    /// A build is known until its last event is in the log: until then it may be submitted
    /// again by somebody who looks there.
    fn forget_closed(&mut self) {
        while let Some((mark, _)) = self.closed.first()
            && self.outbox.is_recorded(*mark)
            && let Some((_, build)) = self.closed.pop_first()
        {
            self.builds.remove(&build);
            self.sessions.remove(&build);
        }
    }

    fn flush(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = self.outbox.take(now);
        let timers = [
            self.timers.first().map(|(due, _)| *due),
            self.scheduler.wake_at(),
            self.outbox.retry_at(),
            self.orphans.values().map(|orphan| orphan.due).min(),
            self.sessions.values().min().copied(),
        ];
        let wake = timers.into_iter().flatten().min();
        if wake != self.woken_for {
            self.woken_for = wake;
            effects.extend(wake.map(Effect::WakeAt));
        }
        effects
    }
}

/// The builder of a build: as its commit configures it, else as the farm does.
fn builder_of<'a>(state: &'a BuildState, of_farm: Option<&'a Builder>) -> Option<&'a Builder> {
    let of_commit = state.plan().and_then(|plan| plan.builder.as_deref());
    of_commit.or(of_farm)
}

/// The first event of a build or a session on its way; `None` when it has no form in JSON.
fn beginning(
    id: &HolderId,
    first: &impl crate::event::Event,
    by: Principal,
    now: Timestamp,
) -> Option<Pending> {
    Some(Pending {
        event: Some(NewEvent::new(id.clone(), now, by, first).ok()?),
        version: Version(1),
        closes: false,
        memos: Vec::new(),
    })
}
