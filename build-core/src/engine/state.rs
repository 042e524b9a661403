//! What the recorded events say of one build, or of one session.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{
    Base, BuildEvent, LeaseEnd, Outcome, Principal, Recorded, SessionEvent, StreamId, UnitEnd,
};
use crate::ids::{BuildId, BuilderName, ExecId, HolderId, LeaseId, Nonce, SessionId, StepName};
use crate::name::Name;
use crate::plan::{Part, Plan, Step, Unit};
use crate::pool::LeaseRecord;
use crate::retry::{Blame, CREATION_ATTEMPTS, blame};
use crate::work::{Class, WorkItem};

/// One build, folded from its events. A session is a build without steps of its own: it holds
/// one machine until it is closed.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildState {
    id: HolderId,
    wish: Wish,
    builder: BuilderName,
    queued_at: Timestamp,
    plan: Option<Plan>,
    steps: BTreeMap<StepName, StepState>,
    leases: BTreeMap<LeaseId, LeaseState>,
    /// Directories of ended leases: a copy may be reported after its source has ended.
    ended: BTreeMap<LeaseId, BTreeSet<StepName>>,
    leases_granted: u32,
    troubles: Vec<(StepName, Blame)>,
    canceled_by: Option<Principal>,
    /// The first event that must be understood and is not: nothing follows from this state.
    foreign: Option<String>,
    outcome: Option<Outcome>,
}

/// What a machine is wanted for.
#[derive(Clone, Debug, PartialEq)]
enum Wish {
    /// To build a commit.
    Commit(Box<WorkItem>),
    /// To be used by this person or tool.
    Session(Principal),
}

/// One step of a build.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepState {
    pub(super) shards: Option<Vec<Vec<Name>>>,
    pub(super) units: BTreeMap<Part, UnitState>,
    pub(super) kept: bool,
    pub(super) reruns: u32,
}

/// One unit of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitState {
    attempts: u32,
    lost: u32,
    never_started: u32,
    status: UnitStatus,
}

/// Where a unit stands.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum UnitStatus {
    /// It is to be run, for the first time or again.
    #[default]
    Waiting,
    /// It runs.
    Running {
        /// On which machine.
        lease: LeaseId,
        /// As which command.
        exec: ExecId,
        /// Since when.
        since: Timestamp,
    },
    /// It passed.
    Passed,
    /// It will not be run again.
    Failed,
}

/// How far a machine of a build is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is being started.
    Granted,
    /// It answers.
    Ready,
    /// Its work directory is filled.
    Prepared,
}

/// One machine of a build.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseState {
    pub(super) record: LeaseRecord,
    pub(super) unit: Unit,
    pub(super) order: u32,
    pub(super) phase: Phase,
    /// Steps whose results are in its work directory.
    pub(super) holds: BTreeSet<StepName>,
    /// Those of them that ran here.
    pub(super) ran: BTreeSet<StepName>,
    pub(super) running: Option<Unit>,
}

impl LeaseState {
    /// What is written down of it.
    pub fn record(&self) -> &LeaseRecord {
        &self.record
    }

    /// The unit it was granted for.
    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What runs on it.
    pub fn running(&self) -> Option<&Unit> {
        self.running.as_ref()
    }
}

impl UnitState {
    /// How often it was started.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Where it stands.
    pub fn status(&self) -> &UnitStatus {
        &self.status
    }

    /// Machines that failed under it, or never came to run it.
    pub fn machine_failures(&self) -> u32 {
        self.lost + self.never_started
    }
}

impl StepState {
    /// The tests of each shard, once they are listed.
    pub fn shards(&self) -> Option<&[Vec<Name>]> {
        self.shards.as_deref()
    }

    /// Its units, as far as they are known.
    pub fn units(&self) -> impl Iterator<Item = (Part, &UnitState)> {
        self.units.iter().map(|(part, unit)| (*part, unit))
    }
}

impl BuildState {
    /// The state after the first event of a build.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when it is neither [`BuildEvent::Queued`] nor
    /// [`SessionEvent::Opened`], [`ErrorKind::Unsupported`] when it was written by a newer
    /// version that says it differently.
    pub fn new(first: &Recorded) -> Result<Self> {
        let (stream, at) = (&first.stream, first.at);
        match stream {
            StreamId::Build(id) => match first.read() {
                Some(BuildEvent::Queued { item, builder }) => {
                    Ok(Self::queued(id, at, item, builder))
                }
                Some(_) => Err(bad_beginning(stream)),
                None => Err(foreign_beginning(first)),
            },
            StreamId::Session(id) => match first.read() {
                Some(SessionEvent::Opened { builder, by, .. }) => {
                    Ok(Self::opened(id, at, by, builder))
                }
                Some(_) => Err(bad_beginning(stream)),
                None => Err(foreign_beginning(first)),
            },
            _ => Err(bad_beginning(stream)),
        }
    }

    pub(crate) fn queued(
        build: &BuildId,
        at: Timestamp,
        item: WorkItem,
        builder: BuilderName,
    ) -> Self {
        let wish = Wish::Commit(Box::new(item));
        Self::begin(build.clone().into(), at, wish, builder, BTreeMap::new())
    }

    pub(crate) fn opened(
        session: &SessionId,
        at: Timestamp,
        by: Principal,
        builder: BuilderName,
    ) -> Self {
        let unit = session_unit();
        let step = StepState {
            units: BTreeMap::from([(unit.part, UnitState::default())]),
            ..StepState::default()
        };
        let steps = BTreeMap::from([(unit.step, step)]);
        let wish = Wish::Session(by);
        Self::begin(session.clone().into(), at, wish, builder, steps)
    }

    fn begin(
        id: HolderId,
        at: Timestamp,
        wish: Wish,
        builder: BuilderName,
        steps: BTreeMap<StepName, StepState>,
    ) -> Self {
        Self {
            id,
            wish,
            builder,
            queued_at: at,
            plan: None,
            steps,
            leases: BTreeMap::new(),
            ended: BTreeMap::new(),
            leases_granted: 0,
            troubles: Vec::new(),
            canceled_by: None,
            foreign: None,
            outcome: None,
        }
    }

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
            Some(event) => self.advance(recorded.at, &event),
            None if recorded.must => {
                self.foreign = Some(recorded.full_kind());
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn advance(&mut self, at: Timestamp, event: &BuildEvent) -> Result<()> {
        let known = self.outcome.is_none() || matches!(event, BuildEvent::LeaseEnded { .. });
        let done = match event {
            _ if !known || self.foreign.is_some() => None,
            BuildEvent::Tested { .. } => Some(()),
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

    fn planned(&mut self, plan: &Plan) -> Option<()> {
        if self.plan.is_some() || self.opened_by().is_some() {
            return None;
        }
        self.steps = plan
            .steps
            .iter()
            .map(|s| (s.name.clone(), StepState::of(s)))
            .collect();
        self.plan = Some(plan.clone());
        Some(())
    }

    fn leased(&mut self, record: LeaseRecord, unit: &Unit) -> Option<()> {
        self.steps.get(&unit.step)?;
        if self.leases.contains_key(&record.lease) || self.ended.contains_key(&record.lease) {
            return None;
        }
        self.leases_granted += 1;
        let lease = LeaseState {
            unit: unit.clone(),
            order: self.leases_granted,
            phase: Phase::Granted,
            holds: BTreeSet::new(),
            ran: BTreeSet::new(),
            running: None,
            record,
        };
        self.leases.insert(lease.record.lease.clone(), lease);
        Some(())
    }

    fn ready(&mut self, lease: &LeaseId, place: &str) -> Option<()> {
        let lease = self
            .leases
            .get_mut(lease)
            .filter(|l| l.phase == Phase::Granted)?;
        lease.phase = Phase::Ready;
        lease.record.place = place.to_owned();
        Some(())
    }

    fn prepared(&mut self, lease: &LeaseId, base: &Base) -> Option<()> {
        let holds = match base {
            Base::Source => BTreeSet::new(),
            Base::CopyOf(from) => match self.leases.get(from) {
                Some(alive) => alive.holds.clone(),
                None => self.ended.get(from)?.clone(),
            },
        };
        let lease = self
            .leases
            .get_mut(lease)
            .filter(|l| l.phase == Phase::Ready)?;
        lease.phase = Phase::Prepared;
        lease.holds = holds;
        Some(())
    }

    fn started(
        &mut self,
        unit: &Unit,
        attempt: u32,
        lease: &LeaseId,
        exec: &ExecId,
        at: Timestamp,
    ) -> Option<()> {
        let place = self.leases.get_mut(lease)?;
        let step = self.steps.get_mut(&unit.step)?;
        if place.phase != Phase::Prepared || place.running.is_some() {
            return None;
        }
        let state = step.units.get_mut(&unit.part)?;
        if attempt != state.attempts + 1 || matches!(state.status, UnitStatus::Running { .. }) {
            return None;
        }
        place.running = Some(unit.clone());
        let again = state.status == UnitStatus::Passed;
        state.attempts = attempt;
        state.status = UnitStatus::Running {
            lease: lease.clone(),
            exec: exec.clone(),
            since: at,
        };
        step.reruns += u32::from(again);
        if unit.part == Part::List {
            step.forget_shards();
        }
        step.kept = false;
        Some(())
    }

    fn unit_ended(&mut self, unit: &Unit, attempt: u32, end: &UnitEnd) -> Option<()> {
        let limits = &self.plan.as_ref()?.limits;
        let state = self.steps.get_mut(&unit.step)?.units.get_mut(&unit.part)?;
        let UnitStatus::Running { lease, .. } = &state.status else {
            return None;
        };
        let place = self.leases.get_mut(lease)?;
        if attempt != state.attempts {
            return None;
        }
        place.running = None;
        let blame = blame(end, &self.builder);
        state.status = match &blame {
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
        if blame == Blame::Nobody && matches!(unit.part, Part::Whole | Part::Shard(0)) {
            place.holds.insert(unit.step.clone());
            place.ran.insert(unit.step.clone());
        }
        if state.status == UnitStatus::Failed {
            self.troubles.push((unit.step.clone(), blame));
        }
        Some(())
    }

    fn listed(&mut self, name: &StepName, tests: &[Name], shards: &[Vec<u32>]) -> Option<()> {
        let step = self.steps.get_mut(name)?;
        let listing = step.units.get_mut(&Part::List)?;
        if listing.status != UnitStatus::Passed || step.shards.is_some() {
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
            listing.status = UnitStatus::Failed;
            self.troubles.push((name.clone(), no_tests(name)));
        }
        for (n, _) in (0u32..).zip(&shards) {
            step.units.entry(Part::Shard(n)).or_default().status = UnitStatus::Waiting;
        }
        step.shards = Some(shards);
        Some(())
    }

    /// Tests of a shard that has not begun, some but not all, become the last shard of their step.
    fn taken(&mut self, step: &StepName, shard: u32, tests: &[Name]) -> Option<()> {
        let step = self.steps.get_mut(step)?;
        let shards = step.shards.as_mut()?;
        let given = shards.get_mut(shard as usize)?;
        let begun = step.units.get(&Part::Shard(shard))?.status != UnitStatus::Waiting;
        let taken: BTreeSet<&Name> = tests.iter().collect();
        let own = taken.len() == tests.len() && tests.iter().all(|test| given.contains(test));
        if begun || tests.is_empty() || !own || tests.len() == given.len() {
            return None;
        }
        given.retain(|test| !tests.contains(test));
        let next = u32::try_from(shards.len()).ok()?;
        shards.push(tests.to_vec());
        step.units.entry(Part::Shard(next)).or_default().status = UnitStatus::Waiting;
        Some(())
    }

    fn kept(&mut self, step: &StepName) -> Option<()> {
        let step = self.steps.get_mut(step).filter(|s| !s.kept)?;
        step.kept = true;
        Some(())
    }

    fn lease_ended(&mut self, lease: &LeaseId, reason: &LeaseEnd) -> Option<()> {
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
            return Some(());
        }
        if ended.phase < Phase::Prepared {
            match reason {
                // The build goes on with the machines it has, if it has any.
                LeaseEnd::Lost(text) if self.leases.is_empty() => {
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
        }
        Some(())
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
        if let Some(state) = self.unit_mut(unit)
            && state.status == UnitStatus::Waiting
        {
            state.status = UnitStatus::Failed;
            self.troubles.push((unit.step.clone(), blame));
        }
    }

    fn unit_mut(&mut self, unit: &Unit) -> Option<&mut UnitState> {
        self.steps.get_mut(&unit.step)?.units.get_mut(&unit.part)
    }

    fn reclassed(&mut self, class: Class) -> Option<()> {
        match &mut self.wish {
            Wish::Commit(item) => {
                item.class = class;
                Some(())
            }
            Wish::Session(_) => None,
        }
    }

    fn cancel_requested(&mut self, by: &Principal) -> Option<()> {
        if self.canceled_by.is_some() {
            return None;
        }
        self.canceled_by = Some(by.clone());
        Some(())
    }

    fn finished(&mut self, outcome: &Outcome) -> Option<()> {
        if self.running().next().is_some() {
            return None;
        }
        self.outcome = Some(outcome.clone());
        Some(())
    }
}

impl StepState {
    fn of(step: &Step) -> Self {
        let first = if step.tests.is_some() {
            Part::List
        } else {
            Part::Whole
        };
        Self {
            units: BTreeMap::from([(first, UnitState::default())]),
            ..Self::default()
        }
    }

    /// The tests are listed again; how often each shard was tried stays known.
    fn forget_shards(&mut self) {
        self.shards = None;
        for (part, unit) in &mut self.units {
            if matches!(part, Part::Shard(_)) {
                unit.status = UnitStatus::Waiting;
            }
        }
    }
}

/// The unit for which the machine of a session is granted.
pub(super) fn session_unit() -> Unit {
    Unit {
        step: StepName::new("session").expect("a plain word"),
        part: Part::Whole,
    }
}

fn bad_beginning(stream: &StreamId) -> Error {
    let text = format!("the events of {stream} do not begin as those of its kind do");
    Error::new(ErrorKind::Corrupt, text)
}

fn foreign_beginning(first: &Recorded) -> Error {
    let (stream, kind, v) = (&first.stream, first.full_kind(), first.v);
    let text = format!("{stream} begins with {kind} in version {v}, which is not understood");
    Error::new(ErrorKind::Unsupported, text)
        .with_hint("run the version that wrote it, or a newer one")
}

fn no_tests(step: &StepName) -> Blame {
    Blame::Configuration {
        text: format!("step {:?} lists no tests", step.as_str()),
        hint: "its `tests` command must print their names".into(),
    }
}

/// What is known of the build.
impl BuildState {
    /// Which build or session.
    pub fn id(&self) -> &HolderId {
        &self.id
    }

    /// The commit; `None` for a session.
    pub fn item(&self) -> Option<&WorkItem> {
        match &self.wish {
            Wish::Commit(item) => Some(item),
            Wish::Session(_) => None,
        }
    }

    /// Who holds the session; `None` for a build.
    pub fn opened_by(&self) -> Option<&Principal> {
        match &self.wish {
            Wish::Commit(_) => None,
            Wish::Session(by) => Some(by),
        }
    }

    /// What it is built on.
    pub fn builder(&self) -> &BuilderName {
        &self.builder
    }

    /// When it was asked for.
    pub fn queued_at(&self) -> Timestamp {
        self.queued_at
    }

    /// What is run, once it is known.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// One of its steps, once the plan is known.
    pub fn step(&self, name: &StepName) -> Option<&StepState> {
        self.steps.get(name)
    }

    /// One of its units, as far as it is known.
    pub fn unit(&self, unit: &Unit) -> Option<&UnitState> {
        self.steps.get(&unit.step)?.units.get(&unit.part)
    }

    /// The machines that it holds.
    pub fn leases(&self) -> impl Iterator<Item = &LeaseState> {
        self.leases.values()
    }

    /// One of the machines that it holds.
    pub fn lease(&self, lease: &LeaseId) -> Option<&LeaseState> {
        self.leases.get(lease)
    }

    /// The units that run, with their machines.
    pub fn running(&self) -> impl Iterator<Item = (&Unit, &LeaseState)> {
        self.leases
            .values()
            .filter_map(|lease| Some((lease.running.as_ref()?, lease)))
    }

    /// Who asked for its end.
    pub fn canceled_by(&self) -> Option<&Principal> {
        self.canceled_by.as_ref()
    }

    /// The first event that this version must understand and does not, as `build.finished`:
    /// nothing follows from this state, and it is not written to.
    pub fn foreign(&self) -> Option<&str> {
        self.foreign.as_deref()
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Whether its result is known and all its machines are given back: nothing follows.
    pub fn is_closed(&self) -> bool {
        self.outcome.is_some() && self.leases.is_empty()
    }

    /// Why no machine worked, or the one that did is gone, for good.
    pub(super) fn machine_trouble(&self) -> Option<&str> {
        self.troubles.iter().find_map(|(_, blame)| match blame {
            Blame::Machine(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// What went wrong so far for good, in order.
    pub(super) fn troubles(&self) -> &[(StepName, Blame)] {
        &self.troubles
    }
}
