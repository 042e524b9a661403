//! Pauses between attempts.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(15);

/// Pauses that double up to 15 s, each cut by chance to between a half and all of it: a
/// thousand followers do not come back in the same moment.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    failures: u32,
}

impl Pauses {
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    pub(super) fn next(&mut self) -> Duration {
        let full = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        full / 2 + full.mul_f64(f64::from(chance()) / f64::from(u16::MAX) / 2.0)
    }
}

fn chance() -> u16 {
    let mut bytes = [0; 2];
    // Without a source of chance all followers pause equally long, which is no error.
    let _ = getrandom::fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut pauses = Pauses::default();
        let all: Vec<Duration> = (0..20).map(|_| pauses.next()).collect();
        assert!(all[0] >= FIRST / 2 && all[0] <= FIRST);
        assert!(all[19] >= LONGEST / 2 && all[19] <= LONGEST);
        pauses.reset();
        assert!(pauses.next() <= FIRST);
    }
}
