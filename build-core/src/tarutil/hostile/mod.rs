//! Archives made to do harm, with what must come of each: the tests of every unpacking program use
//! the same set. Feature `testing`.
//!
//! Generated on demand, never stored; large ones are streams that cost nothing until they are read.

mod bombs;
mod build;
mod framing;
mod links;
mod names;
#[cfg(test)]
#[cfg(unix)]
mod tests;

use std::io::Read;

use super::policy::{Limits, Policy};

/// The compressed bytes of an archive.
pub type Stream = Box<dyn Read + Send>;

/// What must come of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An error whose text contains this; nothing outside the directory changes.
    Refused(&'static str),
    /// It unpacks, within the limits, with nothing outside the directory changed and no link out.
    Harmless,
}

/// One archive.
#[derive(Clone, Copy, Debug)]
pub struct Hostile {
    name: &'static str,
    outcome: Outcome,
    make: fn() -> Stream,
}

impl Hostile {
    /// What it tries, in a few words; unique.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What must come of it.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// A new stream of its bytes.
    pub fn open(&self) -> Stream {
        (self.make)()
    }
}

/// All of them.
pub fn archives() -> Vec<Hostile> {
    [names::CASES, links::CASES, framing::CASES, bombs::CASES].concat()
}

/// The policy under which [`Hostile::outcome`] holds: the default one with small limits, so that
/// bombs are cheap to refuse, and with the names that Windows reserves refused.
pub fn policy() -> Policy {
    let limits = Limits {
        entries: 1_000,
        total_bytes: 16 << 20,
        file_bytes: 4 << 20,
        depth: 100,
        ratio: 50,
        ratio_from: 1 << 20,
        link_bytes: 256 << 10,
    };
    Policy::default().limits(limits).windows_names(true)
}

const fn refused(name: &'static str, text: &'static str, make: fn() -> Stream) -> Hostile {
    Hostile {
        name,
        outcome: Outcome::Refused(text),
        make,
    }
}

const fn harmless(name: &'static str, make: fn() -> Stream) -> Hostile {
    Hostile {
        name,
        outcome: Outcome::Harmless,
        make,
    }
}
