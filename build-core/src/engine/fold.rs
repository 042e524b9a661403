//! The fold: what each event changes.

use std::collections::BTreeSet;
use std::fmt;

use super::index::Index;
use super::lease::{Holds, LeaseState, Phase};
use super::state::{BuildState, Wish};
use super::step::{StepState, UnitState, UnitStatus};
use super::touched::Touched;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{
    Base, BuildEvent, LeaseEnd, Outcome, Principal, Recorded, SessionEvent, StreamId, UnitEnd,
};
use crate::ids::{ExecId, LeaseId, Nonce, StepName};
use crate::name::Name;
use crate::plan::{Part, Plan, Unit};
use crate::pool::LeaseRecord;
use crate::retry::{Blame, CREATION_ATTEMPTS, blame};
use crate::work::Class;

impl BuildState {
    /// Takes one more event into account. One that is not understood changes nothing, or, when
    /// it must be, ends all that follows from here: the machines count as held, and what to do
    /// with them is up to the version that wrote it.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the event contradicts the ones before it; the state is then
    /// as it was.
    pub fn apply(&mut self, recorded: &Recorded) -> Result<()> {
        if self.foreign.is_some() {
            return Ok(());
        }
        let event = match recorded.stream {
            StreamId::Session(_) => match recorded.read() {
                Some(SessionEvent::Opened { .. }) => {
                    return Err(self.contradiction(&recorded.kind));
                }
                other => other.and_then(SessionEvent::into_build),
            },
            _ => recorded.read(),
        };
        match event {
            Some(event) => self.advance(recorded.at, &event).map(drop),
            None if recorded.must => {
                self.foreign = Some(recorded.full_kind());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Takes an event into account; says what it changed.
    pub(crate) fn advance(&mut self, at: Timestamp, event: &BuildEvent) -> Result<Touched> {
        let known = self.outcome.is_none() || matches!(event, BuildEvent::LeaseEnded { .. });
        let done = match event {
            _ if !known || self.foreign.is_some() => None,
            BuildEvent::Tested { .. } | BuildEvent::Salvaged { .. } => Some(Touched::nothing()),
            BuildEvent::Queued { .. } => None,
            BuildEvent::Reclassed { class } => self.reclassed(*class),
            BuildEvent::Planned { plan } => self.planned(plan),
            BuildEvent::Leased {
                lease,
                machine,
                unit,
            } => {
                let record = LeaseRecord {
                    lease: lease.clone(),
                    // A memo, which whoever asks for the machine adds.
                    nonce: Nonce::unknown(),
                    machine: machine.clone(),
                    place: String::new(),
                };
                self.leased(record, unit)
            }
            BuildEvent::Ready { lease, place } => self.ready(lease, place),
            BuildEvent::Prepared { lease, base, .. } => self.prepared(lease, base),
            BuildEvent::Started {
                unit,
                attempt,
                lease,
                exec,
                ..
            } => self.started(unit, *attempt, lease, exec, at),
            BuildEvent::Ended {
                unit, attempt, end, ..
            } => self.unit_ended(unit, *attempt, end),
            BuildEvent::Listed {
                step,
                tests,
                shards,
                ..
            } => self.listed(step, tests, shards),
            BuildEvent::Taken {
                step, shard, tests, ..
            } => self.taken(step, *shard, tests),
            BuildEvent::Kept { step, .. } => self.kept(step),
            BuildEvent::LeaseEnded { lease, reason } => self.lease_ended(lease, reason),
            BuildEvent::CancelRequested { by } => self.cancel_requested(by),
            BuildEvent::Finished { outcome } => self.finished(outcome),
        };
        done.ok_or_else(|| self.contradiction(event))
    }

    fn contradiction(&self, event: &impl fmt::Debug) -> Error {
        let what = self.id.what();
        Error::new(
            ErrorKind::Corrupt,
            format!("{what} {} cannot have this event now: {event:?}", self.id),
        )
    }

    fn planned(&mut self, plan: &Plan) -> Option<Touched> {
        if self.plan.is_some() || self.opened_by().is_some() {
            return None;
        }
        self.index = Index::of(plan)?;
        self.steps = plan.steps.iter().map(StepState::of).collect();
        self.plan = Some(plan.clone());
        Some(Touched::plan())
    }

    fn leased(&mut self, record: LeaseRecord, unit: &Unit) -> Option<Touched> {
        self.index.number(&unit.step)?;
        if self.leases.contains_key(&record.lease) || self.ended.contains_key(&record.lease) {
            return None;
        }
        self.leases_granted += 1;
        let lease = LeaseState {
            unit: unit.clone(),
            order: self.leases_granted,
            phase: Phase::Granted,
            holds: Holds::default(),
            ran: BTreeSet::new(),
            running: None,
            record,
        };
        let touched = Touched::lease(&lease.record.lease);
        self.leases.insert(lease.record.lease.clone(), lease);
        Some(touched)
    }

    fn ready(&mut self, id: &LeaseId, place: &str) -> Option<Touched> {
        let lease = self
            .leases
            .get_mut(id)
            .filter(|l| l.phase == Phase::Granted)?;
        lease.phase = Phase::Ready;
        lease.record.place = place.to_owned();
        Some(Touched::lease(id))
    }

    fn prepared(&mut self, id: &LeaseId, base: &Base) -> Option<Touched> {
        let holds = match base {
            Base::Source => Holds::default(),
            Base::CopyOf(from) => match self.leases.get(from) {
                Some(alive) => alive.holds.clone(),
                None => self.ended.get(from)?.clone(),
            },
        };
        let lease = self
            .leases
            .get_mut(id)
            .filter(|l| l.phase == Phase::Ready)?;
        lease.phase = Phase::Prepared;
        lease.holds = holds;
        Some(Touched::lease(id))
    }

    fn started(
        &mut self,
        unit: &Unit,
        attempt: u32,
        lease: &LeaseId,
        exec: &ExecId,
        at: Timestamp,
    ) -> Option<Touched> {
        let place = self.leases.get_mut(lease)?;
        let number = self.index.number(&unit.step)?;
        let step = self.steps.get_mut(number)?;
        if place.phase != Phase::Prepared || place.running.is_some() {
            return None;
        }
        let state = step.units.get_mut(&unit.part)?;
        if attempt != state.attempts + 1 || matches!(state.status(), UnitStatus::Running { .. }) {
            return None;
        }
        place.running = Some(unit.clone());
        let again = *state.status() == UnitStatus::Passed;
        state.attempts = attempt;
        let running = UnitStatus::Running {
            lease: lease.clone(),
            exec: exec.clone(),
            since: at,
        };
        step.set(unit.part, running);
        step.reruns += u32::from(again);
        step.kept = false;
        if unit.part == Part::List {
            step.forget_shards();
            return Some(Touched::step(number).and(lease));
        }
        Some(Touched::part(number, unit.part).and(lease))
    }

    fn unit_ended(&mut self, unit: &Unit, attempt: u32, end: &UnitEnd) -> Option<Touched> {
        let limits = &self.plan.as_ref()?.limits;
        let number = self.index.number(&unit.step)?;
        let step = self.steps.get_mut(number)?;
        let state = step.units.get_mut(&unit.part)?;
        let UnitStatus::Running { lease, .. } = state.status() else {
            return None;
        };
        let lease = lease.clone();
        let place = self.leases.get_mut(&lease)?;
        if attempt != state.attempts {
            return None;
        }
        place.running = None;
        let blame = blame(end, &self.builder);
        let status = match &blame {
            Blame::Nobody => UnitStatus::Passed,
            Blame::Machine(_) => {
                state.lost += 1;
                if state.lost >= limits.attempts {
                    UnitStatus::Failed
                } else {
                    UnitStatus::Waiting
                }
            }
            Blame::Operator | Blame::Canceled => UnitStatus::Waiting,
            Blame::Code(_) | Blame::Configuration { .. } => UnitStatus::Failed,
        };
        let has_failed = status == UnitStatus::Failed;
        step.set(unit.part, status);
        if blame == Blame::Nobody && matches!(unit.part, Part::Whole | Part::Shard(0)) {
            place.holds.insert(number);
            place.ran.insert(number);
        }
        if has_failed {
            self.troubles.push((unit.step.clone(), blame));
        }
        Some(Touched::part(number, unit.part).and(&lease))
    }

    fn listed(&mut self, name: &StepName, tests: &[Name], shards: &[Vec<u32>]) -> Option<Touched> {
        let number = self.index.number(name)?;
        let step = self.steps.get_mut(number)?;
        let listing = step.units.get(&Part::List)?;
        if *listing.status() != UnitStatus::Passed || step.shards.is_some() {
            return None;
        }
        let names = |shard: &Vec<u32>| -> Option<Vec<Name>> {
            shard
                .iter()
                .map(|at| tests.get(*at as usize).cloned())
                .collect()
        };
        let shards: Vec<Vec<Name>> = shards.iter().map(names).collect::<Option<_>>()?;
        if shards.is_empty() {
            step.set(Part::List, UnitStatus::Failed);
            self.troubles.push((name.clone(), no_tests(name)));
        }
        step.split(shards);
        Some(Touched::step(number))
    }

    /// Tests of a shard that has not begun, some but not all, become the last shard of their step.
    fn taken(&mut self, step: &StepName, shard: u32, tests: &[Name]) -> Option<Touched> {
        let number = self.index.number(step)?;
        let step = self.steps.get_mut(number)?;
        let begun = step.units.get(&Part::Shard(shard))?.status() != &UnitStatus::Waiting;
        let given = step.shards.as_mut()?.get_mut(shard as usize)?;
        let taken: BTreeSet<&Name> = tests.iter().collect();
        let own = taken.len() == tests.len() && tests.iter().all(|test| given.contains(test));
        if begun || tests.is_empty() || !own || tests.len() == given.len() {
            return None;
        }
        given.retain(|test| !taken.contains(test));
        let part = step.add_shard(tests.to_vec())?;
        Some(Touched::part(number, part))
    }

    fn kept(&mut self, step: &StepName) -> Option<Touched> {
        let number = self.index.number(step)?;
        let step = self.steps.get_mut(number).filter(|s| !s.kept)?;
        step.kept = true;
        Some(Touched::step(number))
    }

    fn lease_ended(&mut self, lease: &LeaseId, reason: &LeaseEnd) -> Option<Touched> {
        if self.leases.get(lease)?.running.is_some() {
            return None;
        }
        let ended = self.leases.remove(lease)?;
        self.ended.insert(lease.clone(), ended.holds);
        if let (LeaseEnd::Lost(text), Phase::Ready, Wish::Session(_)) =
            (reason, ended.phase, &self.wish)
        {
            // Whoever used it cannot go on with another machine.
            let trouble = (ended.unit.step, Blame::Machine(text.clone()));
            self.troubles.push(trouble);
            return Some(Touched::lease(lease));
        }
        match reason {
            // The build goes on with the machines it has, if it has any.
            LeaseEnd::Lost(text) if ended.phase < Phase::Prepared && self.leases.is_empty() => {
                self.never_started(&ended.unit, text);
            }
            LeaseEnd::Unusable { text, hint } => {
                let blame = Blame::Configuration {
                    text: text.clone(),
                    hint: hint.clone(),
                };
                self.never_runs(&ended.unit, blame);
            }
            LeaseEnd::Lost(_) | LeaseEnd::Released => {}
        }
        let number = self.index.number(&ended.unit.step)?;
        Some(Touched::part(number, ended.unit.part).and(lease))
    }

    /// Counts a machine that never came to run the unit it was granted for.
    fn never_started(&mut self, unit: &Unit, text: &str) {
        let Some(state) = self.unit_mut(unit) else {
            return;
        };
        state.never_started += 1;
        if state.never_started >= CREATION_ATTEMPTS {
            self.never_runs(unit, Blame::Machine(text.to_owned()));
        }
    }

    /// Fails a unit that waits for a machine.
    fn never_runs(&mut self, unit: &Unit, blame: Blame) {
        let waits = |state: &UnitState| *state.status() == UnitStatus::Waiting;
        if self.unit(unit).is_some_and(waits)
            && let Some(step) = self
                .index
                .number(&unit.step)
                .and_then(|step| self.steps.get_mut(step))
        {
            step.set(unit.part, UnitStatus::Failed);
            self.troubles.push((unit.step.clone(), blame));
        }
    }

    fn unit_mut(&mut self, unit: &Unit) -> Option<&mut UnitState> {
        let step = self.steps.get_mut(self.index.number(&unit.step)?)?;
        step.units.get_mut(&unit.part)
    }

    fn reclassed(&mut self, class: Class) -> Option<Touched> {
        match &mut self.wish {
            Wish::Commit(item) => {
                item.class = class;
                Some(Touched::nothing())
            }
            Wish::Session(_) => None,
        }
    }

    fn cancel_requested(&mut self, by: &Principal) -> Option<Touched> {
        if self.canceled_by.is_some() {
            return None;
        }
        self.canceled_by = Some(by.clone());
        Some(Touched::nothing())
    }

    fn finished(&mut self, outcome: &Outcome) -> Option<Touched> {
        if self.running().next().is_some() {
            return None;
        }
        self.outcome = Some(outcome.clone());
        Some(Touched::nothing())
    }
}

fn no_tests(step: &StepName) -> Blame {
    Blame::Configuration {
        text: format!("step {:?} lists no tests", step.as_str()),
        hint: "its `tests` command must print their names".into(),
    }
}
