//! Bugs on purpose, to show that the simulation and `farmer bench chaos` find such bugs.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Error, ErrorKind};

/// A bug that can be planted into a [`crate::dispatch::Dispatcher`] or a
/// [`crate::reader::Machine`]. For tests only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plant {
    /// A machine that is announced again counts as free, whoever holds it.
    DoubleGrant,
    /// A machine that rests after a failure is never looked at again.
    LostWakeUp,
    /// A machine that was given back still counts as held by its author and repository.
    KeptQuota,
    /// What is left of a capacity is kept for nobody: whoever fits into it gets it.
    NothingKept,
    /// The first event of an append that failed is taken for written.
    DroppedEvent,
    /// A batch is written whatever version its streams have.
    UncheckedVersion,
    /// The last event of a pack is not in it.
    LossyPack,
    /// A build of a wish that was withdrawn goes on.
    WithdrawnWishBuilt,
    /// A reader writes how far it has read before it writes what follows from that.
    CursorFirst,
    /// A reader acts before it is written that it is about to.
    EffectFirst,
    /// A reader that was ended while it acted acts again, without asking whether it did.
    NeverAsks,
}

/// A bug that can be planted into a whole process, for `farmer bench chaos`. For tests only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessPlant {
    /// Directories are deleted by a function that calls itself.
    RecursiveDelete,
    /// A connection to the database that has failed is used again.
    KeptConnection,
    /// Whoever says nothing may hold a connection for ever.
    PatientFront,
    /// Stored contents are not compared with their checksum.
    UncheckedContents,
    /// One damaged file of a machine ends the cleaning of all.
    EndedSweep,
    /// A stop waits for commands, however long they take.
    SlowStop,
    /// A directory of a step may be a link out of its tree.
    FollowedLinks,
}

impl ProcessPlant {
    /// Every bug that can be planted.
    pub const ALL: [Self; 7] = [
        Self::RecursiveDelete,
        Self::KeptConnection,
        Self::PatientFront,
        Self::UncheckedContents,
        Self::EndedSweep,
        Self::SlowStop,
        Self::FollowedLinks,
    ];

    /// Its name in flags and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RecursiveDelete => "recursive-delete",
            Self::KeptConnection => "kept-connection",
            Self::PatientFront => "patient-front",
            Self::UncheckedContents => "unchecked-contents",
            Self::EndedSweep => "ended-sweep",
            Self::SlowStop => "slow-stop",
            Self::FollowedLinks => "followed-links",
        }
    }

    /// All names, for messages.
    pub fn names() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl fmt::Display for ProcessPlant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProcessPlant {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let named = Self::ALL.into_iter().find(|plant| plant.as_str() == text);
        named.ok_or_else(|| {
            let names = Self::names();
            Error::new(
                ErrorKind::Invalid,
                format!("no bug {text:?}; there are: {names}"),
            )
        })
    }
}

static GROWN: AtomicU32 = AtomicU32::new(0);

/// Plants a bug into this process, for as long as it runs.
pub fn grow(plant: ProcessPlant) {
    GROWN.fetch_or(1 << plant as u32, Ordering::Relaxed);
}

/// Whether a bug was planted into this process.
pub fn grows(plant: ProcessPlant) -> bool {
    GROWN.load(Ordering::Relaxed) & (1 << plant as u32) != 0
}
