//! How commands are carried out on simulated machines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use build_core::buildlet::{Exec, ExecOutcome};
use build_core::dispatch::{Failure, Reply};
use build_core::engine::{Command, CommandKey};
use build_core::error::ErrorKind;
use build_core::event::Base;
use build_core::ids::{ExecId, HolderId, LeaseId, StepName};
use build_core::plan::{Part, Unit};
use build_core::pool::{LEASE_TTL, LeaseRecord, LeaseRequest};

use super::faults::Faults;
use super::happenings::Happening;
use super::machine::{Dir, Held as OnMachine, SimExec};
use super::workload;
use super::world::{Held, World, micros};

/// An answer to a command, or none yet.
type Answer = Option<Result<Reply, Failure>>;

const GONE: &str = "the machine does not answer";

impl World {
    /// A process begins to work on a command, unless it does already.
    pub(super) fn begin_command(&mut self, command: Command) -> Held {
        self.check_justified(&command)?;
        let key = command.key();
        let epoch = self.epoch;
        let Some(coordinator) = &mut self.coordinator else {
            return Ok(());
        };
        if !coordinator.working.insert(key) {
            return Ok(());
        }
        if let Command::Release { lease, .. } = &command {
            let of_lease = |key: &CommandKey| match key {
                CommandKey::Acquire(_, l)
                | CommandKey::Prepare(_, l)
                | CommandKey::Keep(_, _, l) => l == lease,
                _ => false,
            };
            coordinator.working.retain(|key| !of_lease(key));
        }
        let after = self.latency(&command);
        self.plan(
            after,
            Happening::Work {
                epoch,
                command: Box::new(command),
            },
        );
        Ok(())
    }

    fn latency(&mut self, command: &Command) -> Duration {
        let (from, to) = match command {
            Command::Plan { .. } => (10, 2_000),
            Command::Acquire { .. } => (10, 20_000),
            Command::Adopt { .. } => (1, 1_000),
            Command::Prepare { .. } => (10, 20_000),
            Command::Run { .. } => (1, 200),
            Command::Keep { .. } => (10, 5_000),
            Command::Release { .. } => (1, 2_000),
            _ => (1, 500),
        };
        self.between(from, to)
    }

    /// A command has its effect. When its process has died meanwhile, it may have it all the
    /// same; nobody is told.
    pub(super) fn work(&mut self, epoch: u64, command: Command) -> Held {
        let key = command.key();
        let current = epoch == self.epoch
            && self
                .coordinator
                .as_ref()
                .is_some_and(|c| c.working.contains(&key));
        // A process that lives ends what it abandons before it gives the machine back.
        let ended = epoch == self.epoch && self.faults == Faults::NONE;
        if !current && (ended || self.rng.chance(500)) {
            return Ok(());
        }
        if self.waits_for_its_machine(&command) {
            if current {
                self.later(epoch, command);
            }
            return Ok(());
        }
        let effect = self.effect(epoch, command);
        if !current {
            // What an abandoned command does is undone with its machine.
            return Ok(());
        }
        if let Some(answer) = effect? {
            self.answer(epoch, key, answer);
        }
        Ok(())
    }

    fn effect(&mut self, epoch: u64, command: Command) -> Held<Answer> {
        let key = command.key();
        match command {
            Command::Plan { build, .. } => {
                let plan = workload::plan(self.seed, &build);
                Ok(Some(match self.fault(Faults::START, 30) {
                    true => Err(Self::failure(
                        ErrorKind::Unavailable,
                        "the repository does not answer",
                    )),
                    false => Ok(Reply::Planned(plan)),
                }))
            }
            Command::Acquire { build, request } => Ok(Some(self.acquire(build, &request))),
            Command::Adopt { record, .. } => Ok(Some(self.adopt(&record))),
            Command::Prepare {
                build, lease, base, ..
            } => self.prepare(&build, &lease, base).map(Some),
            Command::Run {
                build,
                lease,
                unit,
                exec,
                ..
            } => self.run_exec((epoch, key), &build, &lease, unit, &exec),
            Command::Kill { lease, exec, .. } => {
                self.kill(&lease, &exec);
                Ok(Some(Ok(Reply::Killed)))
            }
            Command::Keep { lease, step, .. } => self.keep(&lease, &step).map(Some),
            Command::Release { lease, .. } => Ok(Some(self.release(&lease))),
            _ => Err("a command that the simulation does not know".into()),
        }
    }

    fn acquire(&mut self, build: HolderId, request: &LeaseRequest) -> Result<Reply, Failure> {
        let fails = self.fault(Faults::START, 50);
        let time = self.time;
        let at = self.machine_of(request.machine.as_str());
        let is_there = |at: &usize| self.machines[*at].alive && !self.machines[*at].away;
        let Some(at) = at.filter(|at| is_there(at) && !fails) else {
            return Err(Self::failure(
                ErrorKind::Unavailable,
                "the machine does not start",
            ));
        };
        let machine = &mut self.machines[at];
        match &machine.held {
            Some(held) if held.lease != request.lease => {
                return Err(Self::failure(
                    ErrorKind::Conflict,
                    "somebody else holds the machine",
                ));
            }
            Some(_) => {}
            None => {
                machine.held = Some(OnMachine {
                    build,
                    lease: request.lease.clone(),
                    nonce: request.nonce.clone(),
                    expires: time + micros(LEASE_TTL),
                    deaf_until: 0,
                    dir: None,
                    execs: BTreeMap::new(),
                });
                self.plan(LEASE_TTL, Happening::Expire { machine: at });
            }
        }
        Ok(Reply::Ready {
            place: request.machine.to_string(),
        })
    }

    fn adopt(&mut self, record: &LeaseRecord) -> Result<Reply, Failure> {
        let time = self.time;
        let Some(at) = self.machine_of(record.machine.as_str()) else {
            return Err(Self::failure(ErrorKind::NotFound, "no such machine"));
        };
        let machine = &mut self.machines[at];
        if !machine.alive {
            return Err(Self::failure(ErrorKind::Unavailable, GONE));
        }
        let is_ours = machine.is_of(record);
        match &mut machine.held {
            Some(held) if is_ours => {
                held.expires = time + micros(LEASE_TTL);
                Ok(Reply::Ready {
                    place: record.machine.to_string(),
                })
            }
            _ => Ok(Reply::Gone { output_bytes: 0 }),
        }
    }

    fn prepare(
        &mut self,
        build: &HolderId,
        lease: &LeaseId,
        base: Base,
    ) -> Held<Result<Reply, Failure>> {
        let steps = match &base {
            Base::CopyOf(from) => match self.held_by(from) {
                None => {
                    return Ok(Err(Self::failure(
                        ErrorKind::Unavailable,
                        "the directory to copy is gone",
                    )));
                }
                Some(source) if source.is_running() => {
                    return Err(format!("{from} is copied while a command runs in it"));
                }
                Some(source) => source.dir.as_ref().map(|dir| dir.steps.clone()),
            },
            _ => Some(BTreeSet::new()),
        };
        let Some(steps) = steps else {
            return Err(format!(
                "{lease} gets a copy of a directory that was never filled"
            ));
        };
        let Some(held) = self.held_by(lease) else {
            return Ok(Err(Self::failure(ErrorKind::Unavailable, GONE)));
        };
        if held.is_running() {
            return Err(format!("{lease} is filled while a command runs in it"));
        }
        held.dir = Some(Dir {
            build: build.clone(),
            steps,
        });
        Ok(Ok(Reply::Prepared {
            base,
            cache_hits: Vec::new(),
            start: None,
            tool_caches: Vec::new(),
        }))
    }

    /// Starts a command unless it was started; who follows it is told when it ends.
    fn run_exec(
        &mut self,
        follower: (u64, CommandKey),
        build: &HolderId,
        lease: &LeaseId,
        unit: Unit,
        exec: &Exec,
    ) -> Held<Answer> {
        let may_hang = self.faults.contains(Faults::STUCK_EXEC);
        let Some(id) = exec.id.clone() else {
            return Err("a command has no id".into());
        };
        let (fate, output_bytes, took) = workload::fate(self.seed, &id, unit.part, may_hang);
        let took = match fate {
            ExecOutcome::TimedOut => exec.timeout.unwrap_or_default(),
            ExecOutcome::Silent => {
                took.min(exec.timeout.unwrap_or_default()) + exec.quiet.unwrap_or_default()
            }
            _ => took,
        };
        let plan = workload::plan(self.seed, build);
        let Some(at) = self
            .machines
            .iter_mut()
            .position(|m| m.of_lease(lease).is_some())
        else {
            return Ok(Some(Err(Self::failure(ErrorKind::Unavailable, GONE))));
        };
        let took = if self.machines[at].slow {
            took * 2
        } else {
            took
        };
        let Some(held) = self.held_by(lease) else {
            return Ok(None);
        };
        let is_known = held.execs.contains_key(&id);
        if !is_known {
            let needs = plan.step(&unit.step).map(|step| &step.needs);
            check_directory(held, build, needs.and_then(|needs| needs.first()), &id)?;
        }
        let known = held.execs.entry(id.clone()).or_insert(SimExec {
            leaves_work: matches!(unit.part, Part::Whole | Part::Shard(0)),
            step: unit.step,
            outcome: None,
            fate,
            output_bytes,
            follower: None,
        });
        if known.outcome.is_some() {
            let (epoch, key) = follower;
            self.tell_follower(at, lease, &id, epoch, key);
            return Ok(None);
        }
        known.follower = Some(follower);
        if !is_known {
            self.plan(
                took,
                Happening::ExecEnd {
                    machine: at,
                    lease: lease.clone(),
                    exec: id,
                },
            );
        }
        Ok(None)
    }

    fn kill(&mut self, lease: &LeaseId, exec: &ExecId) {
        let Some(at) = self
            .machines
            .iter_mut()
            .position(|m| m.of_lease(lease).is_some())
        else {
            return;
        };
        let follower = self
            .held_by(lease)
            .and_then(|held| held.end(exec, ExecOutcome::Killed));
        if let Some((epoch, key)) = follower {
            self.tell_follower(at, lease, exec, epoch, key);
        }
    }

    fn keep(&mut self, lease: &LeaseId, step: &StepName) -> Held<Result<Reply, Failure>> {
        let Some(held) = self.held_by(lease) else {
            return Ok(Err(Self::failure(ErrorKind::Unavailable, GONE)));
        };
        match &held.dir {
            Some(dir) if dir.steps.contains(step) => Ok(Ok(Reply::Kept {
                artifacts: Vec::new(),
                snapshot: None,
            })),
            _ => Err(format!(
                "files of {step} are kept from {lease}, which has none"
            )),
        }
    }

    fn release(&mut self, lease: &LeaseId) -> Result<Reply, Failure> {
        if self.is_away(lease) {
            return Err(Self::failure(ErrorKind::Unavailable, GONE));
        }
        for machine in &mut self.machines {
            if machine.of_lease(lease).is_some() {
                machine.held = None;
                return Ok(Reply::Released);
            }
        }
        match self.fault(Faults::MACHINE_DEATH, 500) {
            true => Err(Self::failure(ErrorKind::Unavailable, GONE)),
            false => Ok(Reply::Released),
        }
    }

    fn held_by(&mut self, lease: &LeaseId) -> Option<&mut OnMachine> {
        self.machines
            .iter_mut()
            .find_map(|machine| machine.of_lease(lease))
    }
}

/// A command must find the checkout of its build and the work of the step it goes on from.
fn check_directory(
    held: &OnMachine,
    build: &HolderId,
    need: Option<&StepName>,
    exec: &ExecId,
) -> Held {
    if held.build != *build {
        return Err(format!("{exec} is started on a machine of {}", held.build));
    }
    if held.is_running() {
        return Err(format!("{exec} is started beside another command"));
    }
    match &held.dir {
        None => Err(format!("{exec} is started in an empty directory")),
        Some(dir) if dir.build != *build => {
            Err(format!("{exec} is started in a directory of {}", dir.build))
        }
        Some(dir) => match need.filter(|need| !dir.steps.contains(*need)) {
            Some(need) => Err(format!("{exec} does not find the work of {need}")),
            None => Ok(()),
        },
    }
}
