//! What the recorded events say of one build, or of one session.

use std::collections::BTreeMap;

use super::index::Index;
use super::lease::{Holds, LeaseState};
use super::step::{StepState, UnitState};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{BuildEvent, Outcome, Principal, Recorded, SessionEvent, StreamId};
use crate::ids::{BuildId, BuilderName, HolderId, LeaseId, SessionId, StepName};
use crate::plan::{Part, Plan, Step, Unit};
use crate::retry::Blame;
use crate::work::WorkItem;

/// One build, folded from its events. A session is a build without steps of its own: it holds
/// one machine until it is closed.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildState {
    pub(super) id: HolderId,
    pub(super) wish: Wish,
    pub(super) builder: BuilderName,
    queued_at: Timestamp,
    pub(super) plan: Option<Plan>,
    pub(super) index: Index,
    pub(super) steps: Vec<StepState>,
    pub(super) leases: BTreeMap<LeaseId, LeaseState>,
    /// Directories of ended leases: a copy may be reported after its source has ended.
    pub(super) ended: BTreeMap<LeaseId, Holds>,
    pub(super) leases_granted: u32,
    pub(super) troubles: Vec<(StepName, Blame)>,
    pub(super) canceled_by: Option<Principal>,
    /// The first event that must be understood and is not: nothing follows from this state.
    pub(super) foreign: Option<String>,
    pub(super) outcome: Option<Outcome>,
}

/// What a machine is wanted for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// To build a commit.
    Commit(Box<WorkItem>),
    /// To be used by this person or tool.
    Session(Principal),
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
        Self::begin(build.clone().into(), at, wish, builder)
    }

    pub(crate) fn opened(
        session: &SessionId,
        at: Timestamp,
        by: Principal,
        builder: BuilderName,
    ) -> Self {
        let wish = Wish::Session(by);
        let unit = session_unit();
        Self {
            steps: vec![StepState::beginning_with(unit.part)],
            index: Index::only(unit.step),
            ..Self::begin(session.clone().into(), at, wish, builder)
        }
    }

    fn begin(id: HolderId, at: Timestamp, wish: Wish, builder: BuilderName) -> Self {
        Self {
            id,
            wish,
            builder,
            queued_at: at,
            plan: None,
            index: Index::default(),
            steps: Vec::new(),
            leases: BTreeMap::new(),
            ended: BTreeMap::new(),
            leases_granted: 0,
            troubles: Vec::new(),
            canceled_by: None,
            foreign: None,
            outcome: None,
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
        self.steps.get(self.index.number(name)?)
    }

    /// What one of its steps runs, once the plan is known.
    pub(crate) fn planned_step(&self, name: &StepName) -> Option<&Step> {
        self.plan.as_ref()?.steps.get(self.index.number(name)?)
    }

    /// One of its units, as far as it is known.
    pub fn unit(&self, unit: &Unit) -> Option<&UnitState> {
        self.step(&unit.step)?.units.get(&unit.part)
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
