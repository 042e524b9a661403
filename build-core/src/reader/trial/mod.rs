//! One reader under a seed, with a feed, a store and receivers in memory, while things go wrong:
//! the process dies at each of the points where that can matter.
//!
//! The same seed gives the same story. What must hold is compared with the receivers' own record.

mod check;
mod facts;
mod receiver;
mod rng;
mod world;

use std::collections::BTreeMap;
use std::fmt;

use crate::plant::Plant;

pub use facts::{Fact, effects_of};
pub use receiver::{Landed, Receivers};
pub use rng::Rng;

/// After which step of a reader the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// A page was read.
    Fetched,
    /// It was looked at; nothing of that is written.
    Taken,
    /// Cursor and entries are written.
    Committed,
    /// It is written that an effect is about to be made; it is not made.
    Trying,
    /// It is made; the answer was not heard.
    Made,
    /// The answer was heard; that is not written, or just so.
    Settled,
}

impl Point {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::Fetched,
        Self::Taken,
        Self::Committed,
        Self::Trying,
        Self::Made,
        Self::Settled,
    ];
}

/// What is to be tried.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    seed: u64,
    facts: u64,
    faults: bool,
    plant: Option<Plant>,
    crash_at: Option<u64>,
}

/// How it went, when everything held.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How often the process died at each point.
    pub crashes: BTreeMap<Point, u32>,
    /// Instants at which the process could have died.
    pub instants: u64,
    /// What the receivers recorded.
    pub landed: Vec<Landed>,
    /// Effects that were given up.
    pub given_up: usize,
    /// Items that were set aside.
    pub set_aside: u64,
    /// Commits.
    pub commits: u64,
}

/// Something that must not happen and did.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}: {what}")]
pub struct Violation {
    seed: u64,
    what: String,
}

impl Trial {
    /// The trial that this number stands for: 60 facts, and everything that can go wrong.
    pub fn seed(seed: u64) -> Self {
        Self {
            seed,
            facts: 60,
            faults: true,
            plant: None,
            crash_at: None,
        }
    }

    /// Sets how many facts there are.
    #[must_use]
    pub fn facts(mut self, facts: u64) -> Self {
        self.facts = facts;
        self
    }

    /// Nothing goes wrong, except that the process dies at the `nth` instant at which it can.
    #[must_use]
    pub fn crash_at(mut self, nth: u64) -> Self {
        self.faults = false;
        self.crash_at = Some(nth);
        self
    }

    /// Plants a bug.
    #[must_use]
    pub fn plant(mut self, plant: Plant) -> Self {
        self.plant = Some(plant);
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// The first thing that must not happen and did.
    pub fn check(self) -> Result<Report, Violation> {
        let run = world::World::new(self).run();
        run.map_err(|what| Violation {
            seed: self.seed,
            what,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for landed in &self.landed {
            writeln!(f, "{} {}", landed.at.as_micros(), landed.key)?;
        }
        Ok(())
    }
}
