//! What follows from the state of a build: the rule, said for all of it at once.
//!
//! [`super::agenda`] keeps the same answer up to date at the cost of what changed; a test holds
//! them against each other. Cost is no matter here, being read is.

use std::collections::BTreeSet;

use super::commands::Command;
use super::lease::{LeaseState, Phase};
use super::ordered::Ordered;
use super::orders::Orders;
use super::progress::{Progress, is_unkept};
use super::session;
use super::state::BuildState;
use crate::event::{Base, BuildEvent, Outcome};
use crate::ids::{BuilderName, HostType, LeaseId, StepName};
use crate::plan::{Part, Plan, Unit};
use crate::retry::Blame;
use crate::work::{Builder, WorkItem};

/// Units of one build that stand in the queue at once. More of them would never get a machine
/// sooner: whenever one got its machine, the next one enters.
pub(super) const WANTED_AT_ONCE: usize = 16;

/// Whether builds go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They do.
    #[default]
    Run,
    /// The program is about to stop: what runs is interrupted, nothing begins.
    Stop,
}

/// What follows from the state of a build.
#[derive(Debug, Default)]
pub struct Next {
    /// Events that follow from the ones before. Once they are applied, ask again.
    pub events: Vec<BuildEvent>,
    /// The units that wait for a machine. First give them what is free, then apply `events`:
    /// a machine begins its next unit only after copies of its directory were made.
    pub wants: Vec<Unit>,
    /// What is to be carried out, everything each time.
    pub commands: Vec<Command>,
}

/// What follows from the state of a build; the same for the same state.
/// `builder` is the configuration of the build's builder, by its plan if it has one that says,
/// else by the farm; `None` when there is none.
pub fn next(build: &BuildState, builder: Option<&Builder>, mode: Mode) -> Next {
    next_beside(build, builder, mode, &Ordered::default())
}

/// As [`next`], after this was ordered.
pub(super) fn next_beside(
    build: &BuildState,
    builder: Option<&Builder>,
    mode: Mode,
    ordered: &Ordered,
) -> Next {
    if build.foreign().is_some() {
        return Next::default();
    }
    let Some(item) = build.item() else {
        return session::next(build, builder, mode);
    };
    let orders = Orders {
        build,
        item,
        builder,
    };
    match Stage::of(build, builder, mode) {
        Stage::Foreign => Next::default(),
        Stage::Over => Next {
            commands: build.leases().map(|lease| orders.release(lease)).collect(),
            ..Next::default()
        },
        Stage::WindingDown(outcome) => {
            let is_idle = build.running().next().is_none();
            let finished = outcome.filter(|_| is_idle).map(Next::finished);
            let leases = build.leases().flat_map(|lease| orders.wind_down(lease));
            Next {
                commands: leases.collect(),
                ..finished.unwrap_or_default()
            }
        }
        Stage::Planning => Next {
            commands: vec![plan(build, builder, item)],
            ..Next::default()
        },
        Stage::Building => {
            let plan = build.plan().expect("what is built has a plan");
            let progress = Progress::of(build, plan, ordered);
            let turn = Turn {
                build,
                plan,
                orders,
                ordered,
                progress: &progress,
            };
            turn.go_on()
        }
    }
}

/// What is to be done with a build as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// Nothing: it is not understood.
    Foreign,
    /// It is asked for its plan.
    Planning,
    /// Its steps are run.
    Building,
    /// What runs is ended and machines are given back, then it ends, if it has an outcome.
    WindingDown(Option<Outcome>),
    /// It has ended; machines are given back.
    Over,
}

impl Stage {
    pub(super) fn of(build: &BuildState, builder: Option<&Builder>, mode: Mode) -> Self {
        if build.foreign().is_some() {
            return Self::Foreign;
        }
        if build.outcome().is_some() {
            return Self::Over;
        }
        if let Some(by) = build.canceled_by() {
            return Self::WindingDown(Some(Outcome::Canceled { by: by.clone() }));
        }
        if mode == Mode::Stop {
            return Self::WindingDown(None);
        }
        match (build.plan(), builder) {
            (None, _) => Self::Planning,
            (Some(_), Some(_)) => Self::Building,
            (Some(_), None) => Self::WindingDown(Some(Outcome::Misconfigured {
                text: format!("there is no builder called {}", build.builder()),
                hint: format!(
                    "add a [[builder]] with name = \"{}\" to the .farmer.toml of the commit, or name another one",
                    build.builder()
                ),
            })),
        }
    }
}

/// Asks for the plan of a build.
pub(super) fn plan(build: &BuildState, builder: Option<&Builder>, item: &WorkItem) -> Command {
    Command::Plan {
        build: build.id().clone(),
        item: item.clone(),
        builder: builder.cloned().unwrap_or_else(|| nowhere(build.builder())),
    }
}

/// The host type of a builder that the farm does not know.
pub(crate) const NO_HOST: &str = "none";

/// A builder of which nothing is known but its name: the commit may know more.
fn nowhere(name: &BuilderName) -> Builder {
    let host_type = HostType::new(NO_HOST).expect("a plain word");
    Builder::new(name.clone(), host_type)
}

impl Next {
    pub(super) fn finished(outcome: Outcome) -> Self {
        Self {
            events: vec![BuildEvent::Finished { outcome }],
            ..Self::default()
        }
    }
}

struct Turn<'a> {
    build: &'a BuildState,
    plan: &'a Plan,
    orders: Orders<'a>,
    ordered: &'a Ordered,
    progress: &'a Progress,
}

/// Whether a machine can take a unit.
type Fits<'f> = &'f dyn Fn(&LeaseState, &(usize, Part)) -> bool;

/// A unit that can run now, and the machine it goes to.
struct Match<'a> {
    unit: (usize, Part),
    lease: &'a LeaseState,
}

impl<'a> Turn<'a> {
    fn go_on(&self) -> Next {
        if self.progress.is_over() {
            return Next::finished(outcome(self.build, &self.progress.given_up));
        }
        let mut next = Next::default();
        let keeping = self.keep_files(&mut next);
        let (matches, unmatched) = self.match_up(&keeping);
        let sources = self.carry_on(&matches, &keeping, &mut next);
        let wanted = unmatched.into_iter().filter(|(step, _)| {
            let base = self.build.index.base(*step);
            base.is_none_or(|need| !self.idle_holders(need, &keeping).is_empty())
        });
        next.wants = wanted
            .take(WANTED_AT_ONCE)
            .map(|unit| unit_of(self.plan, unit))
            .collect();
        for lease in self.build.leases() {
            if let Some(unit) = &lease.running {
                next.commands.extend(self.orders.run(lease, unit));
            }
        }
        self.release_idle(&matches, sources, &keeping, &mut next);
        next
    }

    fn is_leaving(&self, lease: &LeaseState) -> bool {
        self.ordered.leaving.contains(&lease.record.lease)
    }

    /// Keeps the files of steps that passed; the answer is the machines that are busy with it.
    fn keep_files(&self, next: &mut Next) -> BTreeSet<&'a LeaseId> {
        let mut busy = BTreeSet::new();
        for (at, step) in self.plan.steps.iter().enumerate() {
            let unkept = is_unkept(step, &self.build.steps[at]);
            if let (true, Some(lease)) = (unkept, self.build.holder(at, self.ordered)) {
                busy.insert(&lease.record.lease);
                next.commands.push(self.orders.keep(lease, step));
            }
        }
        busy
    }

    /// Gives units to the machines of the build: first to directories they can run in, and there
    /// first those for which no machine is being made ready; then to the machines that were
    /// granted for them, then to machines granted for something else.
    fn match_up(&self, keeping: &BTreeSet<&LeaseId>) -> (Vec<Match<'a>>, Vec<(usize, Part)>) {
        let is_idle = |l: &&LeaseState| {
            let is_busy = l.running.is_some() || keeping.contains(&l.record.lease);
            !is_busy && !self.is_leaving(l)
        };
        let mut idle: Vec<&LeaseState> = self.build.leases().filter(is_idle).collect();
        idle.sort_by_key(|lease| lease.order);
        let granted_for = |lease: &LeaseState, unit: &(usize, Part)| {
            let number = self.build.index.number(&lease.unit.step);
            lease.phase < Phase::Prepared && (number, lease.unit.part) == (Some(unit.0), unit.1)
        };
        let runs_in = |lease: &LeaseState, unit: &(usize, Part)| {
            let base = self.build.index.base(unit.0);
            lease.phase == Phase::Prepared && base.is_none_or(|need| lease.holds.contains(need))
        };
        let unprepared = |lease: &LeaseState, _: &(usize, Part)| lease.phase < Phase::Prepared;
        let mut waiting = self.progress.ready(self.build, self.ordered);
        waiting.sort_by_key(|unit| (idle.iter().any(|lease| granted_for(lease, unit)), *unit));
        let mut matches = Vec::new();
        let rounds: [Fits<'_>; 3] = [&runs_in, &granted_for, &unprepared];
        for round in rounds {
            waiting.retain(|unit| {
                let Some(at) = idle.iter().position(|lease| round(lease, unit)) else {
                    return true;
                };
                let lease = idle.remove(at);
                matches.push(Match { unit: *unit, lease });
                false
            });
        }
        (matches, waiting)
    }

    /// The next command or event for each machine with a unit; the answer is the directories
    /// that are being copied, or will be at once. A machine that has not started yet has one
    /// reserved as well, but not for long: then the directory's own machine goes on.
    fn carry_on(
        &self,
        matches: &[Match<'a>],
        keeping: &BTreeSet<&LeaseId>,
        next: &mut Next,
    ) -> BTreeSet<LeaseId> {
        let mut sources = BTreeSet::new();
        for it in matches.iter().filter(|it| it.lease.phase < Phase::Prepared) {
            let id = &it.lease.record.lease;
            let need = self.build.index.base(it.unit.0);
            let idle = need.map(|need| self.idle_holders(need, keeping));
            let idle = idle.map(|holders| holders.first().map(|l| l.record.lease.clone()));
            if it.lease.phase == Phase::Granted {
                next.commands.extend(self.orders.acquire(it.lease));
                if !self.ordered.slow.contains(id) {
                    sources.extend(idle.flatten());
                }
                continue;
            }
            let base = match (self.ordered.filling.get(id), idle) {
                (Some(base), _) => base.clone(),
                (None, None) => Base::Source,
                (None, Some(Some(from))) => Base::CopyOf(from),
                // Every directory to copy from is busy.
                (None, Some(None)) => continue,
            };
            if let Base::CopyOf(from) = &base {
                sources.insert(from.clone());
            }
            next.commands
                .extend(self.orders.prepare(self.plan, it.lease, base));
        }
        for it in matches {
            let is_prepared = it.lease.phase == Phase::Prepared;
            if is_prepared && !sources.contains(&it.lease.record.lease) {
                let (step, part) = it.unit;
                next.events.extend(self.orders.start(it.lease, step, part));
            }
        }
        sources
    }

    /// The machines whose directories have the results of a step and are not in use, the oldest
    /// first.
    fn idle_holders(&self, step: usize, keeping: &BTreeSet<&LeaseId>) -> Vec<&'a LeaseState> {
        let mut holders = self.build.holders(step, self.ordered);
        holders.retain(|l| l.running.is_none() && !keeping.contains(&l.record.lease));
        holders
    }

    /// Gives back machines without work, now or later. For later stays the oldest machine with a
    /// directory that an open step goes on from, or whose files it keeps, unless a machine that
    /// works has it too.
    fn release_idle(
        &self,
        matches: &[Match<'a>],
        sources: BTreeSet<LeaseId>,
        keeping: &BTreeSet<&'a LeaseId>,
        next: &mut Next,
    ) {
        let mut kept = sources;
        kept.extend(keeping.iter().copied().cloned());
        kept.extend(matches.iter().map(|it| it.lease.record.lease.clone()));
        let running = self.build.running();
        kept.extend(running.map(|(_, lease)| lease.record.lease.clone()));
        for (at, step) in self.plan.steps.iter().enumerate() {
            if !self.progress.status[at].is_open() {
                continue;
            }
            let own = Some(at).filter(|_| step.keeps());
            for need in self.build.index.base(at).into_iter().chain(own) {
                let holders = self.build.holders(need, self.ordered);
                let works =
                    |l: &&LeaseState| l.running.is_some() || keeping.contains(&l.record.lease);
                if !holders.iter().any(works) {
                    kept.extend(holders.first().map(|l| l.record.lease.clone()));
                }
            }
        }
        let idle = self.build.leases().filter(|lease| {
            let is_kept = kept.contains(&lease.record.lease);
            lease.running.is_none() && (self.is_leaving(lease) || !is_kept)
        });
        next.commands
            .extend(idle.map(|lease| self.orders.release(lease)));
    }
}

/// A unit by the name of its step.
pub(super) fn unit_of(plan: &Plan, (step, part): (usize, Part)) -> Unit {
    Unit {
        step: plan.steps[step].name.clone(),
        part,
    }
}

/// How a build ended in which nothing runs any more.
pub(super) fn outcome(build: &BuildState, given_up: &BTreeSet<usize>) -> Outcome {
    let Some(plan) = build.plan() else {
        return Outcome::Passed;
    };
    if plan.is_unchanged() {
        return Outcome::Passed;
    }
    if plan.steps.is_empty() {
        return Outcome::Misconfigured {
            text: format!("the plan has no steps ({})", plan.reason),
            hint: "name at least one step".into(),
        };
    }
    let troubles = build.troubles();
    // What the code did is told before what the machines did to it.
    let first = troubles
        .iter()
        .find(|(_, b)| !matches!(b, Blame::Machine(_)))
        .or(troubles.first());
    let given_up: Option<&StepName> = given_up
        .first()
        .and_then(|step| plan.steps.get(*step))
        .map(|step| &step.name);
    match (first, given_up) {
        (Some((step, Blame::Code(text))), _) => Outcome::Failed {
            step: step.clone(),
            text: text.clone(),
        },
        (Some((_, Blame::Configuration { text, hint })), _) => Outcome::Misconfigured {
            text: text.clone(),
            hint: hint.clone(),
        },
        (Some((step, Blame::Machine(text))), _) => Outcome::Infrastructure {
            text: format!("step {:?}: {text}", step.as_str()),
        },
        (_, Some(step)) => Outcome::Infrastructure {
            text: format!(
                "the machine with the work of step {:?} was lost too often",
                step.as_str()
            ),
        },
        _ => Outcome::Passed,
    }
}
