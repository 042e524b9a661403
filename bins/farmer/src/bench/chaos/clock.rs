//! A clock that is wrong by a fixed time, as after a dead battery.

use build_core::clock::{Clock, SystemClock, Timestamp};

/// The variable with the seconds by which the farm's clock is wrong.
pub(super) const SHIFT: &str = "FARMER_CLOCK_SHIFT";

struct Shifted(i64);

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        let micros = SystemClock.now().as_micros();
        Timestamp::from_micros(micros.saturating_add(self.0.saturating_mul(1_000_000)))
    }
}

/// The clock of a farm: the machine's, wrong by what the environment says.
pub(crate) fn shifted() -> impl Clock {
    let shift = std::env::var(SHIFT).ok();
    Shifted(shift.and_then(|text| text.parse().ok()).unwrap_or(0))
}
