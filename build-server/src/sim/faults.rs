//! What may go wrong in a simulation.

use std::ops::{BitOr, Sub};

/// A set of faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults(u16);

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Faults {
            /// Nothing goes wrong, except that builds fail.
            pub const NONE: Self = Self(0);
            /// Everything that can go wrong does.
            pub const ALL: Self = Self($(1 << $bit)|*);
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
        }
    };
}

faults! {
    /// The coordinator dies between any two steps, or stops in order, and comes back.
    CRASH = 0;
    /// Appends to the log fail now and then.
    APPEND = 1;
    /// The disk of the log is full for minutes.
    DISK_FULL = 2;
    /// Machines die and come back empty.
    MACHINE_DEATH = 3;
    /// Machines cannot be started.
    START = 4;
    /// Some machines take twenty times as long for everything.
    SLOW_MACHINE = 5;
    /// A command is carried out but its answer is lost.
    LOST_REPLY = 6;
    /// Answers come twice.
    DUPLICATE_REPLY = 7;
    /// Answers take between no time and a minute, so that they overtake each other.
    REORDER = 8;
    /// Leases are not renewed and run out.
    LEASE_EXPIRY = 9;
    /// The coordinator's clock jumps by up to an hour, both ways.
    CLOCK_JUMP = 10;
    /// Commands hang until they are ended.
    STUCK_EXEC = 11;
    /// Machines that register are cut off, come back with what they run, were started again
    /// meanwhile, or another one has their name.
    CUT = 12;
}

impl Faults {
    /// Whether all of `other` are in this set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Faults {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Sub for Faults {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}
