//! Times as the log has them.

use std::time::{Duration, SystemTime};

use crate::corpus::github::NO_TIME;

/// Seconds since 1970, as the log stores times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(i64);

impl UnixTime {
    /// The time `seconds` after the start of 1970.
    pub const fn new(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since the start of 1970.
    pub const fn seconds(self) -> i64 {
        self.0
    }

    pub(super) fn stored(seconds: i64) -> Option<Self> {
        (seconds != NO_TIME).then_some(Self(seconds))
    }
}

impl From<UnixTime> for SystemTime {
    fn from(time: UnixTime) -> Self {
        let distance = Duration::from_secs(time.0.unsigned_abs());
        let moved = match time.0 {
            0.. => SystemTime::UNIX_EPOCH.checked_add(distance),
            _ => SystemTime::UNIX_EPOCH.checked_sub(distance),
        };
        moved.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl From<SystemTime> for UnixTime {
    /// Rounds towards 1970.
    fn from(time: SystemTime) -> Self {
        let seconds = |distance: Duration| i64::try_from(distance.as_secs()).unwrap_or(i64::MAX);
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self(seconds(after)),
            Err(before) => Self(-seconds(before.duration())),
        }
    }
}
