//! What follows from the state of a build.

use std::collections::BTreeSet;

use super::commands::Command;
use super::exec::{exec_id, exec_of, told};
use super::progress::{Progress, StepStatus, is_unkept};
use super::session;
use super::state::{BuildState, LeaseState, Phase, UnitStatus};
use crate::event::{Base, BuildEvent, Outcome};
use crate::ids::{BuilderName, HolderId, HostType, LeaseId, StepName};
use crate::name::Name;
use crate::plan::{Part, Plan, Step, Unit};
use crate::pool::{LEASE_TTL, LeaseRequest};
use crate::retry::Blame;
use crate::work::{Builder, WorkItem};

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
    next_beside(build, builder, mode, &BTreeSet::new())
}

/// As [`next`], while these machines are being given back: that cannot be taken back.
pub(crate) fn next_beside(
    build: &BuildState,
    builder: Option<&Builder>,
    mode: Mode,
    leaving: &BTreeSet<LeaseId>,
) -> Next {
    if build.foreign().is_some() {
        return Next::default();
    }
    let Some(item) = build.item() else {
        return session::next(build, builder, mode);
    };
    let turn = Turn {
        build,
        item,
        builder,
        leaving,
    };
    if build.outcome().is_some() {
        return turn.release_all();
    }
    if let Some(by) = build.canceled_by() {
        return turn.wind_down(Some(Outcome::Canceled { by: by.clone() }));
    }
    if mode == Mode::Stop {
        return turn.wind_down(None);
    }
    match (build.plan(), builder) {
        (None, builder) => Next::command(Command::Plan {
            build: build.id().clone(),
            item: item.clone(),
            builder: builder.cloned().unwrap_or_else(|| nowhere(build.builder())),
        }),
        (Some(plan), Some(builder)) => turn.go_on(plan, builder),
        (Some(_), None) => turn.wind_down(Some(Outcome::Misconfigured {
            text: format!("there is no builder called {}", build.builder()),
            hint: format!(
                "add a [[builder]] with name = \"{}\" to the .farmer.toml of the commit, or name another one",
                build.builder()
            ),
        })),
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

    fn command(command: Command) -> Self {
        Self {
            commands: vec![command],
            ..Self::default()
        }
    }
}

struct Turn<'a> {
    build: &'a BuildState,
    item: &'a WorkItem,
    builder: Option<&'a Builder>,
    /// Machines that are being given back.
    leaving: &'a BTreeSet<LeaseId>,
}

/// A unit that can run now, and the machine it goes to.
struct Match<'a> {
    step: &'a Step,
    unit: Unit,
    lease: &'a LeaseState,
}

impl<'a> Turn<'a> {
    fn release_all(&self) -> Next {
        Next {
            commands: self
                .build
                .leases()
                .map(|lease| self.release(lease))
                .collect(),
            ..Next::default()
        }
    }

    /// Ends what runs, then gives machines back, then ends the build with `outcome`.
    fn wind_down(&self, outcome: Option<Outcome>) -> Next {
        let mut next = Next::default();
        for lease in self.build.leases() {
            match &lease.running {
                Some(unit) => {
                    let both = [self.run(lease, unit), self.kill(lease, unit)];
                    next.commands.extend(both.into_iter().flatten());
                }
                None => next.commands.push(self.release(lease)),
            }
        }
        if let (Some(outcome), None) = (outcome, self.build.running().next()) {
            next.events.push(BuildEvent::Finished { outcome });
        }
        next
    }

    fn go_on(&self, plan: &'a Plan, builder: &'a Builder) -> Next {
        let progress = Progress::of(self.build, plan);
        if progress.is_over() {
            return Next::finished(outcome(self.build, plan, &progress));
        }
        let mut next = Next::default();
        let keeping = self.keep_files(plan, &mut next);
        let mut busy = keeping.clone();
        busy.extend(self.leaving);
        let (matches, unmatched) = self.match_up(plan, &progress, &busy);
        let sources = self.carry_on(plan, builder, &matches, &busy, &mut next);
        for unit in unmatched {
            if self.may_want(plan, &unit, &busy) {
                next.wants.push(unit);
            }
        }
        for lease in self.build.leases() {
            if let Some(unit) = &lease.running {
                next.commands.extend(self.run(lease, unit));
            }
        }
        self.release_idle(plan, &progress, &matches, sources, keeping, &mut next);
        next
    }

    /// Keeps the files of steps that passed; the answer is the machines that are busy with it.
    fn keep_files(&self, plan: &Plan, next: &mut Next) -> BTreeSet<&'a LeaseId> {
        let mut busy = BTreeSet::new();
        for step in &plan.steps {
            let unkept = self
                .build
                .step(&step.name)
                .is_some_and(|state| is_unkept(step, state));
            if let (true, Some(lease)) = (unkept, self.build.holder(&step.name)) {
                busy.insert(&lease.record.lease);
                next.commands.push(Command::Keep {
                    build: self.build.id().clone(),
                    lease: lease.record.lease.clone(),
                    step: step.name.clone(),
                    artifacts: step.artifacts.clone(),
                });
            }
        }
        busy
    }

    /// Gives units to the machines of the build: first to directories they can run in, then to
    /// machines that were granted for them, then to machines granted for something else.
    fn match_up(
        &self,
        plan: &'a Plan,
        progress: &Progress<'a>,
        busy: &BTreeSet<&LeaseId>,
    ) -> (Vec<Match<'a>>, Vec<Unit>) {
        let is_idle = |l: &&LeaseState| l.running.is_none() && !busy.contains(&l.record.lease);
        let mut idle: Vec<&LeaseState> = self.build.leases().filter(is_idle).collect();
        idle.sort_by_key(|lease| lease.order);
        let mut matches = Vec::new();
        let mut waiting = progress.ready(self.build, plan);
        for round in [runs_in, granted_for, unprepared] {
            waiting.retain(|(step, unit)| {
                let Some(at) = idle.iter().position(|lease| round(lease, step, unit)) else {
                    return true;
                };
                let lease = idle.remove(at);
                matches.push(Match {
                    step,
                    unit: unit.clone(),
                    lease,
                });
                false
            });
        }
        (matches, waiting.into_iter().map(|(_, unit)| unit).collect())
    }

    /// The next command or event for each machine with a unit; the answer is the directories
    /// that are to be copied.
    fn carry_on(
        &self,
        plan: &'a Plan,
        builder: &Builder,
        matches: &[Match<'a>],
        busy: &BTreeSet<&LeaseId>,
        next: &mut Next,
    ) -> BTreeSet<&'a LeaseId> {
        let mut sources = BTreeSet::new();
        for it in matches.iter().filter(|it| it.lease.phase < Phase::Prepared) {
            let source = it
                .step
                .needs
                .first()
                .map(|need| self.idle_holder(need, busy));
            if let (Phase::Ready, Some(need)) = (it.lease.phase, it.step.needs.first()) {
                // Any of them may be the one that is being copied.
                sources.extend(self.idle_holders(need, busy).map(|l| &l.record.lease));
            }
            sources.extend(source.flatten());
            match (it.lease.phase, source) {
                (Phase::Granted, _) => {
                    let acquire = acquire(self.build.id(), builder, it.lease, Some(it.step));
                    next.commands.push(acquire);
                }

                (_, None) => {
                    next.commands
                        .push(self.prepare(plan, builder, it.lease, Base::Source));
                }
                (_, Some(Some(from))) => {
                    next.commands.push(self.prepare(
                        plan,
                        builder,
                        it.lease,
                        Base::CopyOf(from.clone()),
                    ));
                }
                // Every directory to copy from is busy.
                (_, Some(None)) => {}
            }
        }
        for it in matches
            .iter()
            .filter(|it| it.lease.phase == Phase::Prepared)
        {
            if !sources.contains(&it.lease.record.lease) {
                next.events.extend(self.start(plan, it));
            }
        }
        sources
    }

    fn idle_holder(&self, step: &StepName, busy: &BTreeSet<&LeaseId>) -> Option<&'a LeaseId> {
        let oldest = self.idle_holders(step, busy).min_by_key(|l| l.order);
        oldest.map(|l| &l.record.lease)
    }

    fn idle_holders(
        &self,
        step: &StepName,
        busy: &BTreeSet<&LeaseId>,
    ) -> impl Iterator<Item = &'a LeaseState> {
        self.build
            .leases()
            .filter(|l| l.phase == Phase::Prepared && l.running.is_none())
            .filter(move |l| l.holds.contains(step) && !busy.contains(&l.record.lease))
    }

    /// A machine is worth having if its directory can be filled at once: otherwise the unit
    /// runs where the directory is, later.
    fn may_want(&self, plan: &Plan, unit: &Unit, busy: &BTreeSet<&LeaseId>) -> bool {
        let first = plan.step(&unit.step).and_then(|step| step.needs.first());
        first.is_none_or(|need| self.idle_holder(need, busy).is_some())
    }

    /// Gives back machines without work, now or later.
    fn release_idle(
        &self,
        plan: &Plan,
        progress: &Progress<'_>,
        matches: &[Match<'a>],
        sources: BTreeSet<&'a LeaseId>,
        keeping: BTreeSet<&'a LeaseId>,
        next: &mut Next,
    ) {
        let mut kept = sources;
        kept.extend(keeping);
        kept.extend(matches.iter().map(|it| &it.lease.record.lease));
        kept.extend(self.build.running().map(|(_, lease)| &lease.record.lease));
        for step in &plan.steps {
            let is_open = matches!(
                progress.status.get(&step.name),
                Some(StepStatus::Waiting | StepStatus::Running)
            );
            // The directory it goes on from, and the one its files are kept from.
            let own = Some(&step.name).filter(|_| !step.artifacts.is_empty());
            let needed = step
                .needs
                .first()
                .into_iter()
                .chain(own)
                .filter(|_| is_open);
            for need in needed {
                let is_held = kept
                    .iter()
                    .filter_map(|id| self.build.lease(id))
                    .any(|l| l.holds.contains(need));
                if let (false, Some(holder)) = (is_held, self.build.holder(need)) {
                    kept.insert(&holder.record.lease);
                }
            }
        }
        let idle = self.build.leases().filter(|lease| {
            let id = &lease.record.lease;
            self.leaving.contains(id) || !kept.contains(id)
        });
        next.commands.extend(idle.map(|lease| self.release(lease)));
    }

    fn prepare(&self, plan: &Plan, builder: &Builder, lease: &LeaseState, base: Base) -> Command {
        let caches = match base {
            Base::Source => distinct(plan.steps.iter().flat_map(|step| &step.cache)),
            Base::CopyOf(_) => Vec::new(),
        };
        Command::Prepare {
            build: self.build.id().clone(),
            lease: lease.record.lease.clone(),
            base,
            item: self.item.clone(),
            builder: builder.clone(),
            depth: plan.depth,
            caches,
        }
    }

    fn start(&self, plan: &Plan, it: &Match<'_>) -> Option<BuildEvent> {
        let attempt = self.build.unit(&it.unit)?.attempts() + 1;
        Some(BuildEvent::Started {
            unit: it.unit.clone(),
            attempt,
            lease: it.lease.record.lease.clone(),
            exec: exec_id(self.build.id(), plan, &it.unit, attempt),
            tests: self.tests(&it.unit).to_vec(),
        })
    }

    fn tests(&self, unit: &Unit) -> &[Name] {
        let Part::Shard(n) = unit.part else {
            return &[];
        };
        let shards = self.build.step(&unit.step).and_then(|step| step.shards());
        shards
            .and_then(|shards| shards.get(n as usize))
            .map_or(&[], Vec::as_slice)
    }

    fn run(&self, lease: &LeaseState, unit: &Unit) -> Option<Command> {
        let (plan, builder) = (self.build.plan()?, self.builder?);
        let item = self.build.item()?;
        let state = self.build.unit(unit)?;
        let UnitStatus::Running { exec, .. } = state.status() else {
            return None;
        };
        let step = plan.step(&unit.step)?;
        Some(Command::Run {
            build: self.build.id().clone(),
            lease: lease.record.lease.clone(),
            unit: unit.clone(),
            attempt: state.attempts(),
            exec: exec_of(
                exec.clone(),
                (step, unit.part),
                self.tests(unit),
                &plan.limits,
                builder,
                told(self.build.id(), item, builder, unit, state.attempts()),
            ),
            tools: step.tools.clone(),
        })
    }

    fn kill(&self, lease: &LeaseState, unit: &Unit) -> Option<Command> {
        let state = self.build.unit(unit)?;
        let UnitStatus::Running { exec, .. } = state.status() else {
            return None;
        };
        Some(Command::Kill {
            build: self.build.id().clone(),
            lease: lease.record.lease.clone(),
            unit: unit.clone(),
            attempt: state.attempts(),
            exec: exec.clone(),
        })
    }

    fn release(&self, lease: &LeaseState) -> Command {
        let canceled = self.build.canceled_by().is_some();
        let ran = lease.ran.iter().filter(|_| !canceled);
        let steps = ran.filter_map(|name| self.build.plan()?.step(name));
        Command::Release {
            build: self.build.id().clone(),
            lease: lease.record.lease.clone(),
            item: Some(self.item.clone()),
            builder: self.builder.cloned(),
            caches: distinct(steps.flat_map(|step| &step.cache)),
        }
    }
}

/// Asks for a machine, as the step that runs on it first needs it.
pub(super) fn acquire(
    build: &HolderId,
    builder: &Builder,
    lease: &LeaseState,
    step: Option<&Step>,
) -> Command {
    Command::Acquire {
        build: build.clone(),
        request: LeaseRequest {
            lease: lease.record.lease.clone(),
            nonce: lease.record.nonce.clone(),
            machine: lease.record.machine.clone(),
            host_type: builder.host_type.clone(),
            builder: builder.name.clone(),
            sandbox: step.map(|step| step.sandbox).unwrap_or_default(),
            network: step.map(|step| step.network).unwrap_or_default(),
            image: step.and_then(|step| step.image.clone()),
            ttl: LEASE_TTL,
        },
    }
}

fn runs_in(lease: &LeaseState, step: &Step, _: &Unit) -> bool {
    lease.phase == Phase::Prepared
        && step
            .needs
            .first()
            .is_none_or(|need| lease.holds.contains(need))
}

fn granted_for(lease: &LeaseState, _: &Step, unit: &Unit) -> bool {
    lease.phase < Phase::Prepared && lease.unit == *unit
}

fn unprepared(lease: &LeaseState, _: &Step, _: &Unit) -> bool {
    lease.phase < Phase::Prepared
}

fn distinct<'s>(names: impl Iterator<Item = &'s String>) -> Vec<String> {
    names
        .collect::<BTreeSet<_>>()
        .into_iter()
        .cloned()
        .collect()
}

/// How a build ended in which nothing runs any more.
fn outcome(build: &BuildState, plan: &Plan, progress: &Progress<'_>) -> Outcome {
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
    match (first, progress.given_up.first()) {
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
