//! Commands, made from what is known of a build.

use std::collections::BTreeSet;

use super::commands::Command;
use super::exec::{exec_id_at, exec_of, told};
use super::lease::LeaseState;
use super::state::BuildState;
use super::step::UnitStatus;
use crate::buildlet::Exec;
use crate::event::{Base, BuildEvent, Outcome};
use crate::ids::HolderId;
use crate::name::Name;
use crate::plan::{Part, Plan, Step, Unit};
use crate::pool::{LEASE_TTL, LeaseRequest};
use crate::work::{Builder, Trust, WorkItem};

/// Whoever makes the commands of a build.
#[derive(Clone, Copy)]
pub(super) struct Orders<'a> {
    pub(super) build: &'a BuildState,
    pub(super) item: &'a WorkItem,
    pub(super) builder: Option<&'a Builder>,
}

impl Orders<'_> {
    /// The machine starts as the unit needs it that it was granted for.
    pub(super) fn acquire(&self, lease: &LeaseState) -> Option<Command> {
        let step = self.build.planned_step(&lease.unit.step);
        let trust = self.item.trust;
        Some(acquire(self.build.id(), self.builder?, lease, step, trust))
    }

    pub(super) fn prepare(&self, plan: &Plan, lease: &LeaseState, base: Base) -> Option<Command> {
        let (inputs, caches) = match base {
            Base::Source => {
                let caches = distinct(plan.steps.iter().flat_map(|step| &step.cache));
                (plan.inputs.clone(), caches)
            }
            Base::CopyOf(_) => (Vec::new(), Vec::new()),
        };
        Some(Command::Prepare {
            build: self.build.id().clone(),
            lease: lease.record.lease.clone(),
            item: self.item.clone(),
            builder: self.builder?.clone(),
            depth: plan.depth,
            warm: !plan.warm.is_empty() && base == Base::Source,
            base,
            inputs,
            caches,
        })
    }

    pub(super) fn keep(&self, lease: &LeaseState, step: &Step) -> Command {
        Command::Keep {
            build: self.build.id().clone(),
            lease: lease.record.lease.clone(),
            step: step.name.clone(),
            artifacts: step.artifacts_of(true).to_vec(),
            snapshot: step.snapshot.clone(),
        }
    }

    pub(super) fn start(&self, lease: &LeaseState, step: usize, part: Part) -> Option<BuildEvent> {
        let planned = self.build.plan()?.steps.get(step)?;
        let unit = Unit {
            step: planned.name.clone(),
            part,
        };
        let attempt = self.build.unit(&unit)?.attempts() + 1;
        Some(BuildEvent::Started {
            attempt,
            lease: lease.record.lease.clone(),
            exec: exec_id_at(self.build.id(), step, part, attempt),
            tests: self.tests(&unit).to_vec(),
            unit,
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

    pub(super) fn run(&self, lease: &LeaseState, unit: &Unit) -> Option<Command> {
        let (plan, builder) = (self.build.plan()?, self.builder?);
        let state = self.build.unit(unit)?;
        let UnitStatus::Running { exec, .. } = state.status() else {
            return None;
        };
        let step = self.build.planned_step(&unit.step)?;
        Some(Command::Run {
            build: self.build.id().clone(),
            lease: lease.record.lease.clone(),
            unit: unit.clone(),
            attempt: state.attempts(),
            exec: Exec {
                sandbox: self.item.trust.sandboxed(step.sandbox),
                ..exec_of(
                    exec.clone(),
                    (step, unit.part),
                    self.tests(unit),
                    &plan.limits,
                    builder,
                    told(self.build.id(), self.item, builder, unit, state.attempts()),
                )
            },
            tools: step.tools.clone(),
        })
    }

    pub(super) fn kill(&self, lease: &LeaseState, unit: &Unit) -> Option<Command> {
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

    pub(super) fn release(&self, lease: &LeaseState) -> Command {
        let canceled = self.build.canceled_by().is_some();
        let ran = lease.ran.iter().filter(|_| !canceled);
        let steps = ran.filter_map(|number| self.build.plan()?.steps.get(*number));
        Command::Release {
            build: self.build.id().clone(),
            lease: lease.record.lease.clone(),
            item: Some(self.item.clone()),
            builder: self.builder.cloned(),
            caches: distinct(steps.flat_map(|step| &step.cache)),
            warm: !lease.ran.is_empty()
                && self.build.outcome().is_some_and(Outcome::is_passed)
                && self.build.plan().is_some_and(|plan| !plan.warm.is_empty()),
        }
    }

    /// What ends a machine's work: what runs first, then the machine.
    pub(super) fn wind_down(&self, lease: &LeaseState) -> Vec<Command> {
        match &lease.running {
            Some(unit) => {
                let both = [self.run(lease, unit), self.kill(lease, unit)];
                both.into_iter().flatten().collect()
            }
            None => vec![self.release(lease)],
        }
    }
}

/// Asks for a machine, as the step that runs on it first needs it.
pub(super) fn acquire(
    build: &HolderId,
    builder: &Builder,
    lease: &LeaseState,
    step: Option<&Step>,
    trust: Trust,
) -> Command {
    let wanted = step.map(|step| step.sandbox).unwrap_or_default();
    Command::Acquire {
        build: build.clone(),
        request: LeaseRequest {
            lease: lease.record.lease.clone(),
            nonce: lease.record.nonce.clone(),
            machine: lease.record.machine.clone(),
            host_type: builder.host_type.clone(),
            builder: builder.name.clone(),
            sandbox: trust.sandboxed(wanted),
            network: step.map(|step| step.network).unwrap_or_default(),
            image: step.and_then(|step| step.image.clone()),
            ttl: LEASE_TTL,
        },
    }
}

fn distinct<'s>(names: impl Iterator<Item = &'s String>) -> Vec<String> {
    names
        .collect::<BTreeSet<_>>()
        .into_iter()
        .cloned()
        .collect()
}
