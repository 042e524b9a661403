//! What happens in the world, one thing at a time.

use std::time::Duration;

use build_core::buildlet::ExecOutcome;
use build_core::dispatch::{Failure, Input, Reply};
use build_core::engine::{BuildState, Command, CommandKey};
use build_core::error::ErrorKind;
use build_core::event::{Batch, Principal, UnitEnd, Version};
use build_core::ids::{BuildId, ExecId, HolderId, LeaseId, SessionId, WishKey};
use build_core::pool::LEASE_TTL;
use build_core::wish::Wish;

use super::faults::Faults;
use super::reader::Reading;
use super::sessions::Holder;
use super::tally::{COUNTERS, TALLIES};
use super::workload;
use super::world::{Held, World, micros};

/// How often the coordinator looks at its leases.
const RENEW: Duration = Duration::from_secs(20);
/// How often pools say which machines they have, and sources what they want.
const ANNOUNCE: Duration = Duration::from_secs(30);

/// How often old events are packed.
const PACK: Duration = Duration::from_secs(15 * 60);

/// Something that happens at a time.
pub(super) enum Happening {
    /// A commit.
    Arrive,
    /// Somebody changes their mind.
    Cancel(HolderId),
    /// A source wants a commit built.
    Want,
    /// It does not any more.
    Withdraw(WishKey),
    /// Somebody wants a machine.
    OpenSession,
    /// Whoever has a session says that it is still used.
    UseSession(SessionId),
    /// Whoever has a session gives it back, or forgets it.
    StopUsing(SessionId, Holder),
    /// Sources and pools are asked.
    Announce,
    /// Leases are renewed.
    Renew,
    /// An answer arrives at the process that waits for it.
    Deliver { epoch: u64, input: Box<Input> },
    /// A timer of a process.
    Tick { epoch: u64, nth: u64 },
    /// An append reaches the disk.
    Append {
        epoch: u64,
        batch: u64,
        append: Batch,
    },
    /// Somebody who counts looks how far a tally is.
    LookAtTally(u64),
    /// They write the next number, as they saw it.
    WriteTally { tally: u64, seen: Version },
    /// Old events are packed.
    Pack,
    /// A step of the reader of a process.
    Reading { epoch: u64, reading: Reading },
    /// A command is carried out.
    Work { epoch: u64, command: Box<Command> },
    /// A command on a machine comes to its natural end.
    ExecEnd {
        machine: usize,
        lease: LeaseId,
        exec: ExecId,
    },
    /// A lease may have run out.
    Expire { machine: usize },
    /// The process begins again.
    Restart,
    /// The process is asked to stop.
    Stop,
    /// It has had time enough to stop.
    Stopped { epoch: u64 },
    /// Something goes wrong.
    Trouble,
    /// A machine comes back, empty.
    Revive { machine: usize },
    /// A machine that was cut off comes back.
    Return { machine: usize },
}

impl World {
    pub(super) fn begin(&mut self) -> Held {
        self.start()?;
        for tally in 0..TALLIES {
            for _ in 0..COUNTERS {
                self.plan(RENEW, Happening::LookAtTally(tally));
            }
        }
        for (after, happening) in [
            (PACK, Happening::Pack),
            (Duration::ZERO, Happening::Arrive),
            (Duration::ZERO, Happening::OpenSession),
            (Duration::ZERO, Happening::Want),
            (ANNOUNCE, Happening::Announce),
            (RENEW, Happening::Renew),
            (RENEW, Happening::Trouble),
        ] {
            self.plan(after, happening);
        }
        Ok(())
    }

    pub(super) fn happen(&mut self, happening: Happening) -> Held {
        match happening {
            Happening::Arrive => return self.arrive(),
            Happening::Cancel(build) => {
                return self.tell(Input::Cancel {
                    build,
                    by: "somebody".into(),
                });
            }
            Happening::Want => return self.want(),
            Happening::Withdraw(key) => return self.withdraw(key),
            Happening::OpenSession => return self.open_session(),
            Happening::UseSession(session) => return self.use_session(session),
            Happening::StopUsing(session, how) => return self.stop_using(session, how),
            Happening::Announce => {
                self.plan(ANNOUNCE, Happening::Announce);
                self.check_state()?;
                self.resubmit()?;
                return self.announce();
            }
            Happening::Renew => {
                self.plan(RENEW, Happening::Renew);
                return self.renew();
            }
            Happening::Deliver { epoch, input } if epoch == self.epoch => return self.tell(*input),
            Happening::Tick { epoch, nth } if epoch == self.epoch => {
                if self.coordinator.as_ref().is_some_and(|c| c.wake == nth) {
                    return self.tell(Input::Tick);
                }
            }
            Happening::Append {
                epoch,
                batch,
                append,
            } if epoch == self.epoch => {
                return self.write(batch, append);
            }
            Happening::LookAtTally(tally) => self.look_at_tally(tally),
            Happening::WriteTally { tally, seen } => return self.write_tally(tally, seen),
            Happening::Pack => {
                self.plan(PACK, Happening::Pack);
                return self.pack();
            }
            Happening::Reading { epoch, reading } if epoch == self.epoch => {
                return self.read(reading);
            }
            Happening::Work { epoch, command } => return self.work(epoch, *command),
            Happening::ExecEnd {
                machine,
                lease,
                exec,
            } => self.exec_end(machine, &lease, &exec),
            Happening::Expire { machine } => self.expire(machine),
            Happening::Restart => return self.start(),
            Happening::Stop => {
                let epoch = self.epoch;
                self.plan(Duration::from_secs(60), Happening::Stopped { epoch });
                return self.tell(Input::Stop);
            }
            Happening::Stopped { epoch } if epoch == self.epoch && self.coordinator.is_some() => {
                self.crash();
            }
            Happening::Trouble => self.trouble(),
            Happening::Revive { machine } => self.machines[machine].alive = true,
            Happening::Return { machine } => return self.comes_back(machine),
            // Of a process that is no more.
            Happening::Deliver { .. }
            | Happening::Append { .. }
            | Happening::Reading { .. }
            | Happening::Tick { .. }
            | Happening::Stopped { .. } => {}
        }
        Ok(())
    }

    fn arrive(&mut self) -> Held {
        if !self.is_busy() {
            return Ok(());
        }
        let next = self.next_arrival();
        self.plan(next, Happening::Arrive);
        let build = BuildId::from_bits(self.rng.bits());
        let now = self.now();
        let item = workload::item(&mut self.rng, now);
        self.wanted.insert(build.clone(), item);
        if self.rng.chance(50) {
            let after = self.between(1, 600_000);
            self.plan(after, Happening::Cancel(build.clone().into()));
        }
        self.submit(&build)
    }

    fn submit(&mut self, build: &BuildId) -> Held {
        let item = self.wanted[build].clone();
        let builder = self.builder_for(build);
        let key = WishKey::of(&[b"by name", build.as_str().as_bytes()]);
        let mut wish = Wish::new(key, item, vec![builder], Principal::person("ann"));
        wish.alone = true;
        self.tell(Input::Ask {
            wish: Box::new(wish),
            drawn: vec![build.clone()],
        })
    }

    /// Sources say again what they want, as far as it is not in the log.
    pub(super) fn resubmit(&mut self) -> Held {
        let missing: Vec<BuildId> = self
            .wanted
            .keys()
            .filter(|build| !self.folds.contains_key(&HolderId::from(*build)))
            .cloned()
            .collect();
        missing.iter().try_for_each(|build| self.submit(build))?;
        self.ask_again()
    }

    /// Pools say what they have: a machine that somebody unknown holds is not offered.
    pub(super) fn announce(&mut self) -> Held {
        let Some(coordinator) = &self.coordinator else {
            return Ok(());
        };
        let known = |lease: &LeaseId| {
            coordinator
                .dispatcher
                .builds()
                .any(|b| b.lease(lease).is_some())
        };
        let offered = self
            .machines
            .iter()
            .filter(|m| m.alive && !m.away)
            .filter(|m| m.held.as_ref().is_none_or(|h| known(&h.lease)));
        let machines = offered.map(|m| m.machine.clone()).collect();
        self.tell(Input::Machines(machines))
    }

    fn renew(&mut self) -> Held {
        let Some(coordinator) = &self.coordinator else {
            return Ok(());
        };
        let leases: Vec<(LeaseId, usize)> = coordinator
            .dispatcher
            .builds()
            .flat_map(BuildState::leases)
            .filter(|lease| !lease.record().place.is_empty())
            .filter_map(|lease| {
                Some((
                    lease.record().lease.clone(),
                    self.machine_of(lease.record().machine.as_str())?,
                ))
            })
            .collect();
        for (lease, at) in leases {
            if let Some(lost) = self.renew_one(lease, at) {
                let after = self.between(0, 5_000);
                let epoch = self.epoch;
                self.plan(
                    after,
                    Happening::Deliver {
                        epoch,
                        input: Box::new(lost),
                    },
                );
            }
        }
        Ok(())
    }

    fn renew_one(&mut self, lease: LeaseId, at: usize) -> Option<Input> {
        let goes_deaf = self.fault(Faults::LEASE_EXPIRY, 2);
        let time = self.time;
        if self.is_away(&lease) {
            // It may come back: until its lease has run out there nothing is lost.
            return None;
        }
        let Some(held) = self.machines[at].of_lease(&lease) else {
            return Some(Input::LeaseLost {
                lease,
                text: "the machine does not answer".into(),
                output_bytes: 0,
            });
        };
        if goes_deaf {
            held.deaf_until = time + micros(2 * LEASE_TTL);
        }
        if held.deaf_until > time {
            return None;
        }
        held.expires = time + micros(LEASE_TTL);
        None
    }

    fn write(&mut self, batch: u64, append: Batch) -> Held {
        let fails = self.disk_full_until > self.time || self.fault(Faults::APPEND, 10);
        if fails {
            let text = "no space left on device".into();
            return self.tell(Input::AppendFailed { batch, text });
        }
        // The process may die before the events are written, or before it is told.
        if self.fault(Faults::CRASH, 1) {
            self.crash();
            return Ok(());
        }
        self.append(append)?;
        if self.fault(Faults::CRASH, 1) {
            self.crash();
            return Ok(());
        }
        if self.fault(Faults::DUPLICATE_REPLY, 10) {
            self.tell(Input::Recorded { batch })?;
        }
        self.tell(Input::Recorded { batch })
    }

    fn exec_end(&mut self, machine: usize, lease: &LeaseId, exec: &ExecId) {
        let Some(held) = self.machines[machine].of_lease(lease) else {
            return;
        };
        let Some(fate) = held.execs.get(exec).map(|e| e.fate.clone()) else {
            return;
        };
        let Some((epoch, key)) = held.end(exec, fate) else {
            return;
        };
        match self.machines[machine].away {
            false => self.tell_follower(machine, lease, exec, epoch, key),
            // They hear of it when it is back.
            true => {
                let held = self.machines[machine].of_lease(lease);
                if let Some(ended) = held.and_then(|held| held.execs.get_mut(exec)) {
                    ended.follower = Some((epoch, key));
                }
            }
        }
    }

    /// Whoever follows a command that has ended is told.
    pub(super) fn tell_follower(
        &mut self,
        machine: usize,
        lease: &LeaseId,
        exec: &ExecId,
        epoch: u64,
        key: CommandKey,
    ) {
        let seed = self.seed;
        let Some(held) = self.machines[machine].of_lease(lease) else {
            return;
        };
        let Some(done) = held.execs.get(exec) else {
            return;
        };
        let Some(outcome) = done.outcome.clone() else {
            return;
        };
        let reply = Reply::Ran {
            listing: (outcome == ExecOutcome::Ok).then(|| build_core::dispatch::Listing {
                text: workload::listing(seed, key.build()).into_bytes(),
                ..Default::default()
            }),
            tests: workload::tests(exec, &outcome),
            end: UnitEnd::Exited(outcome),
            output_bytes: done.output_bytes,
            took: None,
            results: None,
            salvaged: Vec::new(),
        };
        self.answer(epoch, key, Ok(reply));
    }

    /// An answer sets out to the process that waits for it: it may be late, doubled or lost.
    pub(super) fn answer(&mut self, epoch: u64, key: CommandKey, answer: Result<Reply, Failure>) {
        if epoch != self.epoch {
            return;
        }
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.working.remove(&key);
        }
        if self.fault(Faults::LOST_REPLY, 5) {
            return;
        }
        let input = match answer {
            Ok(reply) => Input::Done(key, reply),
            Err(failure) => Input::Failed(key, failure),
        };
        let copies = if self.fault(Faults::DUPLICATE_REPLY, 30) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let late = self.fault(Faults::REORDER, 200);
            let after = if late {
                self.between(0, 60_000)
            } else {
                self.between(0, 5)
            };
            self.plan(
                after,
                Happening::Deliver {
                    epoch,
                    input: Box::new(input.clone()),
                },
            );
        }
    }

    /// A machine whose lease was not renewed ends everything, and itself.
    fn expire(&mut self, at: usize) {
        let time = self.time;
        let Some(held) = &self.machines[at].held else {
            return;
        };
        if held.expires > time {
            let after = Duration::from_micros(held.expires.abs_diff(time));
            self.plan(after, Happening::Expire { machine: at });
        } else {
            self.machines[at].held = None;
        }
    }

    fn trouble(&mut self) {
        if !self.is_busy() {
            return;
        }
        let after = self.between(1, 120_000);
        self.plan(after, Happening::Trouble);
        if self.fault(Faults::MACHINE_DEATH, 60) {
            let machine = self.rng.below(0..self.machines.len() as u64) as usize;
            self.machines[machine].alive = false;
            self.machines[machine].held = None;
            let after = self.between(1, 600_000);
            self.plan(after, Happening::Revive { machine });
        }
        self.trouble_on_roads();
        if self.fault(Faults::CLOCK_JUMP, 10) {
            let hour = 3_600_000_000;
            self.offset += self.rng.below(0..2 * hour) as i64 - hour as i64;
        }
        if self.fault(Faults::DISK_FULL, 10) {
            self.disk_full_until = self.time + micros(self.between(1, 300_000));
        }
        if self.fault(Faults::CRASH, 15) && self.coordinator.is_some() {
            if self.rng.chance(300) {
                self.plan(Duration::ZERO, Happening::Stop);
            } else {
                self.crash();
            }
        }
    }

    pub(super) fn machine_of(&self, id: &str) -> Option<usize> {
        self.machines
            .iter()
            .position(|m| m.machine.id().as_str() == id)
    }

    pub(super) fn failure(kind: ErrorKind, text: &str) -> Failure {
        let error = build_core::Error::new(kind, text);
        Failure::from(&error)
    }
}
