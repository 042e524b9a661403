//! The whole farm under a seed: the real scheduler, engine and dispatcher with a log, machines,
//! recipes and a clock in memory, in one thread, while things go wrong.
//!
//! ```
//! use build_core::schedule::DefaultPolicy;
//! use build_server::sim::{Faults, HOUR, Sim};
//! # fn main() -> Result<(), build_server::sim::Violation> {
//! let report = Sim::seed(7).policy(DefaultPolicy).machines(5).faults(Faults::ALL).run_for(2 * HOUR).check()?;
//! assert!(report.builds() > 0);
//! # Ok(()) }
//! ```
//!
//! What must hold, whatever happens: a machine has one owner, a build or a session; each build
//! that was asked for ends once, in bounded time; no recorded event is lost or contradicted; an effect comes
//! after its event is durable; a step finds the work of the steps it needs; no machine is
//! leaked; a reader of the log acts once for each end of a build; no author and no repository holds more machines than its quota; what machines
//! that are held take of an account is within it; of several who write
//! to one stream each sees what the others wrote; packing loses nothing; what every source has
//! withdrawn is not begun. The same seed gives
//! the same log, byte for byte.

mod check;
mod commands;
mod faults;
mod happenings;
mod log;
mod machine;
mod quotas;
mod reader;
mod rng;
mod roads;
mod sessions;
mod sharing;
mod tally;
mod wishes;
mod workload;
mod world;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use build_core::event::{BuildEvent, Recorded};
use build_core::plant::Plant;
use build_core::schedule::{DefaultPolicy, Policy, Quotas};

use check::told;
pub use faults::Faults;
use world::World;

/// An hour.
pub const HOUR: Duration = Duration::from_secs(60 * 60);

/// A simulation to be run.
#[must_use = "a simulation does nothing until it is checked"]
pub struct Sim {
    seed: u64,
    policy: Arc<dyn Policy>,
    machines: u32,
    faults: Faults,
    time: Duration,
    quotas: Quotas,
    units: Option<u32>,
    plant: Option<Plant>,
}

impl Sim {
    /// The simulation that this number stands for: five machines for an hour, without faults.
    pub fn seed(seed: u64) -> Self {
        Self {
            seed,
            policy: Arc::new(DefaultPolicy),
            machines: 5,
            faults: Faults::NONE,
            time: HOUR,
            quotas: Quotas::default(),
            units: None,
            plant: None,
        }
    }

    /// Sets the rule by which machines are given out. A machine that nothing fits is a build
    /// that never ends.
    pub fn policy(mut self, policy: impl Policy + 'static) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// Sets how many machines there are; at least one.
    pub fn machines(mut self, machines: u32) -> Self {
        self.machines = machines.max(1);
        self
    }

    /// Sets what may go wrong.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Sets how long builds come in and things go wrong. Afterwards everything works, until
    /// the last build has ended.
    pub fn run_for(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Sets how many machines the work of one author, and that of one repository, may hold at
    /// once. Builds are by five authors, for two repositories.
    pub fn quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// Makes machines of three kinds of them that share an account of so many units, at least 8:
    /// a machine takes 1, 2 or 8 of it while it is held. Of twenty builds one needs a machine that
    /// takes 8, five one that takes 2.
    pub fn sharing(mut self, units: u32) -> Self {
        self.units = Some(units.max(8));
        self
    }

    /// Plants a bug, to show that it is found.
    #[doc(hidden)]
    pub fn plant(mut self, plant: Plant) -> Self {
        self.plant = Some(plant);
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// The first thing that must not happen and did. Its text has the seed.
    pub fn check(self) -> Result<Report, Violation> {
        let seed = self.seed;
        World::new(self)
            .run()
            .map_err(|what| Violation { seed, what })
    }
}

/// Something that must not happen and did.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}: {what}")]
pub struct Violation {
    seed: u64,
    what: String,
}

impl Violation {
    /// The seed that shows it again.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// What happened in a simulation in which everything held.
#[derive(Debug)]
pub struct Report {
    log: Vec<Recorded>,
    crashes: u32,
}

impl Report {
    /// The event log.
    pub fn log(&self) -> &[Recorded] {
        &self.log
    }

    /// How many builds ended.
    pub fn builds(&self) -> usize {
        self.ends().filter(|r| r.stream.build().is_some()).count()
    }

    /// How many sessions ended.
    pub fn sessions(&self) -> usize {
        self.ends().filter(|r| r.stream.session().is_some()).count()
    }

    fn ends(&self) -> impl Iterator<Item = &Recorded> {
        let is_end = |r: &&Recorded| r.stream.holder().is_some() && r.kind.as_str() == "finished";
        self.log.iter().filter(is_end)
    }

    /// The longest time that a build waited for its first machine, of those on machines that take
    /// so many units of a shared account.
    pub fn longest_wait(&self, units: u32) -> Duration {
        sharing::longest_wait(&self.log, units)
    }

    /// How often the coordinator died.
    pub fn crashes(&self) -> u32 {
        self.crashes
    }

    /// How many events of builds and sessions there were of a sort.
    pub fn count(&self, of_sort: impl Fn(&BuildEvent) -> bool) -> usize {
        self.log.iter().filter_map(told).filter(of_sort).count()
    }
}

impl fmt::Display for Report {
    /// One event in JSON per line: equal for equal seeds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for recorded in &self.log {
            let line = serde_json::to_string(recorded).map_err(|_| fmt::Error)?;
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
