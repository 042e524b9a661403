//! What must hold.

use std::collections::BTreeMap;

use build_core::engine::{BuildState, Command, UnitState, UnitStatus};
use build_core::event::{BuildEvent, Recorded, SessionEvent, StreamId, UnitEnd};
use build_core::ids::HolderId;
use build_core::schedule::MachineState;

use super::workload;
use super::world::{Held, World};

/// What happened to a build, or to a session as it does to a build.
pub(super) fn told(recorded: &Recorded) -> Option<BuildEvent> {
    match recorded.stream {
        StreamId::Session(_) => recorded.read().and_then(SessionEvent::into_build),
        _ => recorded.read(),
    }
}

impl World {
    /// A machine has one owner, and what a command printed is in the log to the last byte.
    pub(super) fn check_event(&self, recorded: &Recorded) -> Held {
        let (Some(holder), Some(event)) = (recorded.stream.holder(), told(recorded)) else {
            return Ok(());
        };
        match &event {
            BuildEvent::Leased { machine, lease, .. } => {
                let mut leases = self
                    .folds
                    .values()
                    .filter(|f| !f.is_closed())
                    .flat_map(BuildState::leases);
                match leases.find(|other| other.record().machine == *machine) {
                    Some(other) => Err(format!(
                        "{machine} is given to {lease}, but {} has it",
                        other.record().lease
                    )),
                    None => {
                        self.check_account(machine)?;
                        self.check_quotas(&holder)
                    }
                }
            }
            BuildEvent::Started { .. } => match holder.build() {
                Some(build) => self.check_wanted(build),
                None => Ok(()),
            },
            BuildEvent::Ended {
                unit,
                end: UnitEnd::Exited(outcome),
                output_bytes,
                ..
            } => {
                let state = self.folds.get(&holder).and_then(|fold| fold.unit(unit));
                let Some(UnitStatus::Running { exec, .. }) = state.map(UnitState::status) else {
                    return Err(format!("{unit} of {holder} ended, but did not run"));
                };
                let is_fate = |may_hang| {
                    let (fate, bytes, _) = workload::fate(self.seed, exec, unit.part, may_hang);
                    *output_bytes == bytes && (fate == *outcome || !outcome.is_ok())
                };
                let is_true = is_fate(true) || is_fate(false);
                is_true.then_some(()).ok_or(format!(
                    "{exec} did not end with {outcome} after {output_bytes} bytes"
                ))
            }
            BuildEvent::Finished { outcome } => match holder.session() {
                Some(session) => self.check_session_end(session, outcome),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// An effect comes after the events that justify it are durable.
    pub(super) fn check_justified(&self, command: &Command) -> Held {
        let fold = self.folds.get(command.key().build());
        let lease = |lease| fold.and_then(|fold| fold.lease(lease));
        let is_justified = match command {
            Command::Plan { .. } => fold.is_some(),
            Command::Acquire { request, .. } => lease(&request.lease).is_some(),
            Command::Adopt { record, .. } => lease(&record.lease).is_some(),
            Command::Prepare { lease: id, .. } => lease(id).is_some(),
            Command::Run {
                lease: id, unit, ..
            } => lease(id).is_some_and(|lease| lease.running() == Some(unit)),
            // These end things: the lease they are about may have ended before.
            _ => fold.is_some(),
        };
        is_justified
            .then_some(())
            .ok_or_else(|| format!("{:?} comes before its events are durable", command.key()))
    }

    /// When nothing is on its way into the log, the process knows what the log says.
    pub(super) fn check_state(&self) -> Held {
        let Some(coordinator) = &self.coordinator else {
            return Ok(());
        };
        if !coordinator.dispatcher.is_durable() {
            return Ok(());
        }
        for build in coordinator.dispatcher.builds() {
            if self.folds.get(build.id()) != Some(build) {
                return Err(format!(
                    "the log contradicts what the process knows of {}",
                    build.id()
                ));
            }
        }
        Ok(())
    }

    pub(super) fn is_over(&self) -> bool {
        self.coordinator
            .as_ref()
            .is_some_and(|c| c.dispatcher.is_idle() && c.reader.machine.is_caught_up())
            && self.is_read()
            && self
                .wanted
                .keys()
                .all(|build| self.folds.contains_key(&HolderId::from(build)))
            && self.folds.values().all(BuildState::is_closed)
            && self.all_wishes_are_over()
    }

    /// The builds and sessions that have not ended, each with the last that is known of it.
    pub(super) fn open_builds(&self) -> String {
        let open = |build: &HolderId| self.folds.get(build).is_none_or(|fold| !fold.is_closed());
        let last = |build: &HolderId| {
            let stream = StreamId::from(build);
            let event = self.log.written().iter().rev().find(|r| r.stream == stream);
            event.map_or_else(
                || format!("{build} (never recorded)"),
                |r| format!("{build} ({:?})", r.kind),
            )
        };
        let sessions = self.folds.keys().filter(|id| id.session().is_some());
        let wanted = self.wanted.keys().map(HolderId::from);
        let all = wanted.chain(sessions.cloned());
        let builds: Vec<_> = all.filter(open).map(|id| last(&id)).collect();
        let why = self.coordinator.iter().flat_map(|c| {
            c.dispatcher
                .builds()
                .flat_map(|b| c.dispatcher.explain(b.id(), self.now()))
                .map(|(_, why)| why.to_string())
        });
        let why: Vec<_> = why.collect();
        format!("{}; {}", builds.join(", "), why.join(", "))
    }

    /// A build that failed by tests is run again once, any other never.
    fn check_reruns(&self) -> Held {
        let mut found: BTreeMap<HolderId, usize> = BTreeMap::new();
        for recorded in self.log.written() {
            if let Some(BuildEvent::Queued { item, .. }) = recorded.read() {
                let of = item.rerun_of.into_iter();
                of.for_each(|build| *found.entry(build.into()).or_default() += 1);
            }
        }
        for id in self.folds.keys() {
            let due = id.build().and_then(|build| self.rerun_of(build));
            let due = usize::from(due.is_some());
            let reruns = found.get(id).copied().unwrap_or_default();
            if reruns != due {
                return Err(format!("{id} was run again {reruns} times, not {due}"));
            }
        }
        Ok(())
    }

    pub(super) fn check_end(&self) -> Held {
        self.check_state()?;
        for build in self.folds.keys() {
            let events = self.log.of_stream(&build.into());
            let is_end = |r: &&Recorded| r.kind.as_str() == "finished";
            let ends = events.iter().filter(is_end).count();
            if ends != 1 {
                return Err(format!("{build} ended {ends} times"));
            }
        }
        self.check_told()?;
        self.check_reruns()?;
        let Some(coordinator) = &self.coordinator else {
            return Err("the coordinator is gone".into());
        };
        match coordinator
            .dispatcher
            .scheduler()
            .machines()
            .find(|(_, state)| *state == MachineState::Held)
        {
            Some((machine, _)) => Err(format!("{} is held by nobody", machine.id())),
            None => Ok(()),
        }
    }
}
