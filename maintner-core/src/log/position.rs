//! Where in a log something is.

use std::fmt;

/// A place in a log: the number of bytes of all segments before it.
///
/// Records carry no wall clock, so the position is also the corpus's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPosition(u64);

impl LogPosition {
    /// The start of a log.
    pub const START: Self = Self(0);

    /// The position `bytes` bytes after the start.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes before this position.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The position `bytes` bytes further on.
    pub const fn after(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
