//! Answers to commands become events.

use std::time::Duration;

use super::Dispatcher;
use super::grants::EXPIRY;
use super::input::{Failure, Listing, Reply};
use crate::buildlet::ExecOutcome;
use crate::clock::Timestamp;
use crate::engine::{CommandKey, Mode, Phase, UnitState, UnitStatus};
use crate::error::ErrorKind;
use crate::event::{Artifact, BlobRef, BuildEvent, LeaseEnd, Outcome, UnitEnd};
use crate::ids::{HolderId, LeaseId, StepName};
use crate::plan::{Part, Plan, Unit};
use crate::retry::{PLAN_ATTEMPTS, classify};
use crate::shard::{parse_listing, spread};
use crate::test_lines::TestCounts;

/// What is said of a machine that did not outlive the process that held it.
pub(super) const GONE: &str = "the machine was gone when the coordinator came back";

impl Dispatcher {
    pub(super) fn done(&mut self, key: &CommandKey, reply: Reply, now: Timestamp) {
        if let Some(open) = self.builds.get_mut(key.build()) {
            if !matches!(key, CommandKey::Kill(..)) {
                open.answered(key);
            }
            self.dirty.insert(key.build().clone());
        }
        let build = key.build();
        match (key, reply) {
            (CommandKey::Plan(_), Reply::Planned(plan)) => {
                self.planned(build, plan, now);
            }
            (
                CommandKey::Acquire(_, lease) | CommandKey::Adopt(_, lease),
                Reply::Ready { place },
            ) => {
                self.ready(build, lease, place, now);
            }
            (CommandKey::Adopt(_, lease), Reply::Gone { output_bytes }) => {
                self.gone(lease, output_bytes, now);
            }
            (
                CommandKey::Prepare(_, lease),
                Reply::Prepared {
                    base,
                    cache_hits,
                    start,
                    tool_caches,
                },
            ) => {
                let prepared = BuildEvent::Prepared {
                    lease: lease.clone(),
                    base,
                    cache_hits,
                    start,
                    tool_caches,
                };
                self.record(build, prepared, now);
            }
            (
                CommandKey::Run(_, unit, attempt),
                Reply::Ran {
                    end,
                    output_bytes,
                    took,
                    tests,
                    results,
                    salvaged,
                    listing,
                },
            ) => {
                // A runner that found nothing to run is no proof of anything.
                let is_untested = tests.none_ran && unit.part != Part::List;
                let end = match end {
                    UnitEnd::Exited(ExecOutcome::Ok) if is_untested => UnitEnd::NoTests,
                    end => end,
                };
                self.tested(build, (unit, *attempt), &end, (tests, results), now);
                self.salvaged(build, (unit, *attempt), salvaged, now);
                let end = (end, took);
                self.ran(build, (unit, *attempt), end, output_bytes, listing, now);
            }
            // When this machine has gone, another one runs the step again.
            (
                CommandKey::Keep(_, step, lease),
                Reply::Kept {
                    artifacts,
                    snapshot,
                },
            ) if self.leases.contains_key(lease) => {
                let kept = BuildEvent::Kept {
                    step: step.clone(),
                    artifacts,
                    snapshot,
                };
                self.record(build, kept, now);
            }
            (CommandKey::Release(_, lease), Reply::Released) => {
                if let Some((_, machine)) = self.end_lease(lease, LeaseEnd::Released, now) {
                    self.return_machine(machine, false, now);
                }
                self.orphan_ended(lease, now);
            }
            // Its end is told where it runs. When that takes long, it is killed again.
            (CommandKey::Kill(..), Reply::Killed) => {
                if let Some(open) = self.builds.get_mut(build) {
                    let (.., again_at) = open.failed(key, now);
                    self.timers.insert((again_at, key.clone()));
                }
            }
            // No answer to this command.
            _ => {}
        }
    }

    pub(super) fn failed(&mut self, key: &CommandKey, failure: Failure, now: Timestamp) {
        self.dirty.insert(key.build().clone());
        match key {
            CommandKey::Plan(build) => self.plan_failed(key, build, failure, now),
            CommandKey::Adopt(_, lease) => self.adopt_failed(key, lease, &failure, now),
            // What the machines of a pool cannot do, none of them can.
            CommandKey::Acquire(_, lease) => {
                let failed = failure.kind != ErrorKind::Unsupported;
                // Nobody wanted it any more.
                let was_tried = failure.kind != ErrorKind::Canceled;
                let reason = match failed {
                    true => LeaseEnd::Lost(failure.text),
                    false => unusable(failure),
                };
                if let Some((_, machine)) = self.end_lease_by(lease, reason, was_tried, now) {
                    self.return_machine(machine, failed, now);
                }
            }
            // What is wrong with a commit is so on every machine.
            CommandKey::Prepare(_, lease) if failure.kind == ErrorKind::Invalid => {
                self.give_up(lease, unusable(failure), now);
            }
            CommandKey::Run(build, unit, attempt) if failure.kind == ErrorKind::Invalid => {
                if let Some(lease) = self.lease_of(build, unit, *attempt) {
                    let end = UnitEnd::Lost(failure.text.clone());
                    self.end_unit(&lease, end, failure.output_bytes, now);
                    self.give_up(&lease, unusable(failure), now);
                }
            }
            CommandKey::Prepare(_, lease) | CommandKey::Keep(_, _, lease) => {
                self.lease_lost(lease, &failure.text, 0, now);
            }
            CommandKey::Run(build, unit, attempt) | CommandKey::Kill(build, unit, attempt) => {
                if let Some(lease) = self.lease_of(build, unit, *attempt) {
                    self.lease_lost(&lease, &failure.text, failure.output_bytes, now);
                }
            }
            CommandKey::Release(_, lease) => {
                if let Some((_, machine)) = self.end_lease(lease, LeaseEnd::Lost(failure.text), now)
                {
                    self.write_off(lease, machine, true, now);
                }
            }
        }
        if let Some(open) = self.builds.get_mut(key.build())
            && !matches!(key, CommandKey::Plan(_) | CommandKey::Adopt(..))
        {
            open.answered(key);
        }
    }

    fn ready(&mut self, build: &HolderId, lease: &LeaseId, place: String, now: Timestamp) {
        let Some(open) = self.builds.get_mut(build) else {
            return;
        };
        let Some(known) = open.state.lease(lease) else {
            return;
        };
        let is_new = known.phase() == Phase::Granted;
        open.attached.insert(lease.clone());
        if is_new {
            self.record(
                build,
                BuildEvent::Ready {
                    lease: lease.clone(),
                    place,
                },
                now,
            );
        }
    }

    fn gone(&mut self, lease: &LeaseId, output_bytes: u64, now: Timestamp) {
        self.end_unit(lease, UnitEnd::Interrupted, output_bytes, now);
        if let Some((_, machine)) = self.end_lease(lease, LeaseEnd::Lost(GONE.into()), now) {
            self.return_machine(machine, false, now);
        }
    }

    /// A plan that contradicts itself is a fault of its recipe: asking again would not help.
    fn planned(&mut self, build: &HolderId, plan: Plan, now: Timestamp) {
        let event = match plan.checked() {
            Ok(plan) => BuildEvent::Planned { plan },
            Err(_) if self.build(build).is_none_or(|state| state.plan().is_some()) => return,
            Err(error) => BuildEvent::Finished {
                outcome: Outcome::Misconfigured {
                    text: error.to_string(),
                    hint: error.hint().unwrap_or_default().to_owned(),
                },
            },
        };
        self.record(build, event, now);
    }

    fn plan_failed(
        &mut self,
        key: &CommandKey,
        build: &HolderId,
        failure: Failure,
        now: Timestamp,
    ) {
        let Some(open) = self.builds.get_mut(build) else {
            return;
        };
        let (count, _, again_at) = open.failed(key, now);
        let outcome = match failure.kind {
            ErrorKind::Invalid => Outcome::Misconfigured {
                text: failure.text,
                hint: failure.hint.unwrap_or_default(),
            },
            _ if count >= PLAN_ATTEMPTS => Outcome::Infrastructure { text: failure.text },
            _ => {
                self.timers.insert((again_at, key.clone()));
                return;
            }
        };
        if open.state.plan().is_none() {
            self.record(build, BuildEvent::Finished { outcome }, now);
        }
    }

    /// Asked again until the machine must have ended on its own.
    fn adopt_failed(
        &mut self,
        key: &CommandKey,
        lease: &LeaseId,
        failure: &Failure,
        now: Timestamp,
    ) {
        let Some(open) = self.builds.get_mut(key.build()) else {
            return;
        };
        let (_, since, again_at) = open.failed(key, now);
        if now.since(since) < EXPIRY {
            self.timers.insert((again_at, key.clone()));
            return;
        }
        self.end_unit(lease, UnitEnd::Interrupted, failure.output_bytes, now);
        if let Some((_, machine)) = self.end_lease(lease, LeaseEnd::Lost(GONE.into()), now) {
            self.return_machine(machine, true, now);
        }
    }

    /// The machine on which an attempt runs.
    fn lease_of(&self, build: &HolderId, unit: &Unit, attempt: u32) -> Option<LeaseId> {
        let state = self
            .build(build)?
            .unit(unit)
            .filter(|u| u.attempts() == attempt)?;
        match state.status() {
            UnitStatus::Running { lease, .. } => Some(lease.clone()),
            _ => None,
        }
    }

    /// A listing names tests but runs none, and what was lost may run again.
    fn tested(
        &mut self,
        build: &HolderId,
        (unit, attempt): (&Unit, u32),
        end: &UnitEnd,
        (tests, results): (TestCounts, Option<BlobRef>),
        now: Timestamp,
    ) {
        let over = matches!(end, UnitEnd::Exited(ExecOutcome::Ok | ExecOutcome::Exit(_)));
        let known = self.lease_of(build, unit, attempt).is_some();
        if over && known && unit.part != Part::List && !tests.is_empty() {
            let unit = unit.clone();
            self.record(
                build,
                BuildEvent::Tested {
                    unit,
                    attempt,
                    tests,
                    results,
                },
                now,
            );
        }
    }

    fn salvaged(
        &mut self,
        build: &HolderId,
        (unit, attempt): (&Unit, u32),
        artifacts: Vec<Artifact>,
        now: Timestamp,
    ) {
        if artifacts.is_empty() || self.lease_of(build, unit, attempt).is_none() {
            return;
        }
        let salvaged = BuildEvent::Salvaged {
            unit: unit.clone(),
            attempt,
            artifacts,
        };
        self.record(build, salvaged, now);
    }

    fn ran(
        &mut self,
        build: &HolderId,
        (unit, attempt): (&Unit, u32),
        (end, took): (UnitEnd, Option<Duration>),
        output_bytes: u64,
        listing: Option<Listing>,
        now: Timestamp,
    ) {
        let Some(lease) = self.lease_of(build, unit, attempt) else {
            return;
        };
        if let UnitEnd::Lost(text) = &end {
            return self.lease_lost(&lease, text, output_bytes, now);
        }
        let passed = end == UnitEnd::Exited(ExecOutcome::Ok);
        let end = (end, took);
        self.unit_ended(build, unit.clone(), attempt, end, output_bytes, now);
        if unit.part == Part::List && passed {
            self.listed(build, &unit.step, &listing.unwrap_or_default(), now);
        }
    }

    pub(super) fn unit_ended(
        &mut self,
        build: &HolderId,
        unit: Unit,
        attempt: u32,
        (end, took): (UnitEnd, Option<Duration>),
        output_bytes: u64,
        now: Timestamp,
    ) {
        let Some(state) = self.build(build) else {
            return;
        };
        let Some(step) = state.planned_step(&unit.step) else {
            return;
        };
        let since = match state.unit(&unit).map(UnitState::status) {
            Some(UnitStatus::Running { since, .. }) => *since,
            _ => return,
        };
        let by_order = matches!(end, UnitEnd::Exited(ExecOutcome::Killed) | UnitEnd::Lost(_));
        let end = match (by_order, state.canceled_by(), self.mode) {
            (true, Some(_), _) => UnitEnd::Canceled,
            (true, None, Mode::Stop) => UnitEnd::Interrupted,
            _ => classify(end, step),
        };
        // Of what an earlier process began the clock alone tells, and it may have been set since.
        let guessed = took.is_none();
        let took = took.unwrap_or_else(|| now.since(since).min(step.timeout));
        self.record(
            build,
            BuildEvent::Ended {
                unit,
                attempt,
                end,
                output_bytes,
                took,
                guessed,
            },
            now,
        );
    }

    fn listed(&mut self, build: &HolderId, step: &StepName, listing: &Listing, now: Timestamp) {
        let planned = self.build(build).and_then(|state| state.planned_step(step));
        let Some(count) = planned.map(|planned| planned.shards) else {
            return;
        };
        let tests = parse_listing(&listing.text);
        let shards = spread(&tests, count, &listing.past);
        self.record(
            build,
            BuildEvent::Listed {
                step: step.clone(),
                tests,
                shards,
                listing: None,
            },
            now,
        );
    }
}

fn unusable(failure: Failure) -> LeaseEnd {
    LeaseEnd::Unusable {
        text: failure.text,
        hint: failure.hint.unwrap_or_default(),
    }
}
