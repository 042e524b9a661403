//! The world: true time, what is to happen, the log, the machines and the coordinator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use build_core::clock::Timestamp;
use build_core::dispatch::{Dispatcher, Effect, Input};
use build_core::engine::{BuildState, CommandKey};
use build_core::event::Batch;
use build_core::ids::{BuildId, HolderId, SessionId, WishKey};
use build_core::plant::Plant;
use build_core::schedule::{Allotment, Policy, Quotas};
use build_core::work::WorkItem;

use super::faults::Faults;
use super::happenings::Happening;
use super::log::SimLog;
use super::machine::SimMachine;
use super::reader::{Hearer, Reader};
use super::rng::Rng;
use super::sessions::Holder;
use super::wishes::{Told, Wishes};
use super::{HOUR, Report, Sim, sharing};

/// How long the last builds may take after everything works again: longer than any step with
/// all its attempts, and than the slowest way to notice a lost answer.
const DRAIN: Duration = Duration::from_secs(3 * 24 * HOUR.as_secs());
/// Builds that come in per hour for ten machines.
const BUILDS_PER_HOUR: u64 = 12;

/// Something that must not happen and did.
pub(super) type Held<T = ()> = Result<T, String>;

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    /// True time in microseconds. Nothing sets it back.
    pub(super) time: i64,
    /// What the coordinator's clock is ahead of it.
    pub(super) offset: i64,
    agenda: BTreeMap<(i64, u64), Happening>,
    planned: u64,
    pub(super) policy: Arc<dyn Policy>,
    pub(super) quotas: Quotas,
    /// Of the account that its machines share, if they do.
    pub(super) units: Option<u32>,
    pub(super) plant: Option<Plant>,
    pub(super) coordinator: Option<Coordinator>,
    /// Counts the processes.
    pub(super) epoch: u64,
    pub(super) log: SimLog,
    /// The log, folded.
    pub(super) folds: BTreeMap<HolderId, BuildState>,
    pub(super) machines: Vec<SimMachine>,
    pub(super) wanted: BTreeMap<BuildId, WorkItem>,
    /// Sessions that were asked for, and what became of whoever did.
    pub(super) holders: BTreeMap<SessionId, Holder>,
    pub(super) wishes: Wishes,
    pub(super) wishes_told: BTreeMap<WishKey, Told>,
    pub(super) disk_full_until: i64,
    quiet_at: i64,
    run_for: Duration,
    pub(super) crashes: u32,
    pub(super) told: Hearer,
}

/// One process.
pub(super) struct Coordinator {
    pub(super) dispatcher: Dispatcher,
    /// Commands it is working on.
    pub(super) working: BTreeSet<CommandKey>,
    pub(super) wake: u64,
    pub(super) reader: Reader,
}

pub(super) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl World {
    pub(super) fn new(sim: Sim) -> Self {
        let mut rng = Rng::new(sim.seed);
        let machines = (0..sim.machines).map(|n| SimMachine {
            machine: sharing::machine(n, sim.units.is_some()),
            alive: true,
            slow: sim.faults.contains(Faults::SLOW_MACHINE) && rng.chance(100),
            // Every other one, so that both kinds are in each farm.
            registers: n % 2 == 1,
            away: false,
            held: None,
        });
        let machines = machines.collect();
        Self {
            seed: sim.seed,
            faults: sim.faults,
            time: 1_600_000_000_000_000,
            offset: 0,
            agenda: BTreeMap::new(),
            planned: 0,
            policy: sim.policy,
            quotas: sim.quotas,
            units: sim.units,
            plant: sim.plant,
            coordinator: None,
            epoch: 0,
            log: SimLog::new(sim.plant),
            folds: BTreeMap::new(),
            machines,
            wanted: BTreeMap::new(),
            holders: BTreeMap::new(),
            wishes: Wishes::new(),
            wishes_told: BTreeMap::new(),
            disk_full_until: 0,
            quiet_at: 0,
            run_for: sim.time,
            crashes: 0,
            told: Hearer::new(sim.seed),
            rng,
        }
    }

    /// Runs until the last build has ended.
    pub(super) fn run(mut self) -> Held<Report> {
        self.quiet_at = self.time + micros(self.run_for);
        let end = self.quiet_at + micros(DRAIN);
        self.begin()?;
        while let Some(((at, _), happening)) = self.agenda.pop_first() {
            self.time = at;
            if at > end {
                return Err(format!(
                    "builds did not end in time: {}",
                    self.open_builds()
                ));
            }
            if self.faults != Faults::NONE && at > self.quiet_at {
                self.faults = Faults::NONE;
            }
            self.happen(happening)?;
            if at > self.quiet_at && self.is_over() {
                self.check_end()?;
                return Ok(Report {
                    log: self.log.into_written(),
                    crashes: self.crashes,
                });
            }
        }
        Err("nothing is left to happen, and builds are open".into())
    }

    /// Whether builds still come in and things go wrong.
    pub(super) fn is_busy(&self) -> bool {
        self.time < self.quiet_at
    }

    pub(super) fn fault(&mut self, fault: Faults, parts: u64) -> bool {
        self.faults.contains(fault) && self.rng.chance(parts)
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.time + self.offset)
    }

    /// Plans something `after` the present.
    pub(super) fn plan(&mut self, after: Duration, happening: Happening) {
        self.planned += 1;
        let at = self.time.saturating_add(micros(after));
        self.agenda.insert((at, self.planned), happening);
    }

    /// A time between the two, in milliseconds.
    pub(super) fn between(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.below(from..to))
    }

    pub(super) fn next_arrival(&mut self) -> Duration {
        let mean = 10 * HOUR.as_millis() as u64 / BUILDS_PER_HOUR / self.machines.len() as u64;
        self.between(1, 2 * mean)
    }

    /// A process begins, with what is in the log.
    pub(super) fn start(&mut self) -> Held {
        self.epoch += 1;
        let key = self.rng.key();
        let mut dispatcher = Dispatcher::new(self.policy.clone(), self.builders(), key);
        dispatcher.plant(self.plant);
        let allotment = Allotment {
            quotas: self.quotas,
            ..Allotment::default()
        };
        let mut effects = dispatcher.handle(Input::Allot(allotment), self.now());
        if let Some(accounts) = self.accounts() {
            effects.extend(dispatcher.handle(accounts, self.now()));
        }
        if !effects.is_empty() {
            return Err("sharing out no machines has an effect".into());
        }
        let events = self.log.read_open();
        let memos = self.log.memos();
        let restored = dispatcher.restore(events, memos, self.now());
        if let Some(damage) = restored.damaged.first() {
            return Err(format!("the log is damaged: {damage}"));
        }
        let reader = self.new_reader()?;
        self.coordinator = Some(Coordinator {
            dispatcher,
            working: BTreeSet::new(),
            wake: 0,
            reader,
        });
        self.wake_reader();
        self.carry_out(restored.effects)?;
        self.announce()?;
        self.resubmit()
    }

    pub(super) fn tell(&mut self, input: Input) -> Held {
        let now = self.now();
        let Some(coordinator) = &mut self.coordinator else {
            return Ok(());
        };
        let effects = coordinator.dispatcher.handle(input, now);
        self.carry_out(effects)
    }

    /// Carries out effects in any order; between any two of them the process may die.
    fn carry_out(&mut self, mut effects: Vec<Effect>) -> Held {
        while !effects.is_empty() {
            if self.fault(Faults::CRASH, 1) {
                self.crash();
                return Ok(());
            }
            let nth = self.rng.below(0..effects.len() as u64) as usize;
            match effects.swap_remove(nth) {
                Effect::Append { batch, append } => {
                    let after = self.between(0, 20);
                    let epoch = self.epoch;
                    self.plan(
                        after,
                        Happening::Append {
                            epoch,
                            batch,
                            append,
                        },
                    );
                }
                Effect::Do(command, _) => self.begin_command(*command)?,
                Effect::WakeAt(at) => self.wake_at(at),
                _ => return Err("an effect that the simulation does not know".into()),
            }
        }
        Ok(())
    }

    fn wake_at(&mut self, at: Timestamp) {
        let after = at.since(self.now());
        let epoch = self.epoch;
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.wake += 1;
            let nth = coordinator.wake;
            self.plan(after, Happening::Tick { epoch, nth });
        }
    }

    pub(super) fn crash(&mut self) {
        self.coordinator = None;
        self.crashes += 1;
        let after = self.between(0, 180_000);
        self.plan(after, Happening::Restart);
    }

    /// Writes a batch of the coordinator; each event must be legal where it stands.
    pub(super) fn append(&mut self, batch: Batch) -> Held {
        // Nobody else writes to its streams: a conflict is a fault of its own.
        let written = self.log.append(batch).map_err(|error| error.to_string())?;
        for recorded in &written {
            self.note_wish(recorded);
            self.check_event(recorded)?;
            let Some(holder) = recorded.stream.holder() else {
                continue;
            };
            let folded = match self.folds.get_mut(&holder) {
                Some(fold) => fold.apply(recorded),
                None => BuildState::new(recorded).map(|fold| {
                    self.folds.insert(holder, fold);
                }),
            };
            folded.map_err(|error| format!("event {}: {error}", recorded.seq.0))?;
        }
        self.wake_reader();
        Ok(())
    }

    /// Packs what is older than an hour; nothing may get lost.
    pub(super) fn pack(&mut self) -> Held {
        let before = self.now() - HOUR;
        self.log.pack(before)
    }
}
