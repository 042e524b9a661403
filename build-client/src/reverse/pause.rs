//! Pauses between attempts, drawn so that machines do not come back all at once.

use std::time::Duration;

/// Grows from attempt to attempt.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    first: Duration,
    longest: Duration,
    /// Attempts since it began.
    count: u32,
}

impl Default for Pause {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(30))
    }
}

impl Pause {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest: longest.max(first),
            count: 0,
        }
    }

    pub(super) fn reset(&mut self) {
        self.count = 0;
    }

    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        // Without random numbers every machine takes the middle.
        let random = getrandom::u32().unwrap_or(u32::MAX / 2);
        self.draw(f64::from(random) / f64::from(u32::MAX))
    }

    /// For a random number from 0 to 1: at first anything below the first limit, so that all
    /// machines of a coordinator that restarts spread over it; then at least half of a limit
    /// that doubles.
    fn draw(&mut self, random: f64) -> Duration {
        let count = self.count;
        self.count = count.saturating_add(1);
        if count == 0 {
            return self.first.mul_f64(random);
        }
        let limit = self
            .first
            .saturating_mul(1 << count.min(16))
            .min(self.longest);
        limit.mul_f64(0.5 + random / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_differ() {
        let second = Duration::from_secs(1);
        let mut pause = Pause::default();
        assert_eq!(pause.draw(0.0), Duration::ZERO);
        assert_eq!(pause.draw(1.0), 2 * second);
        assert_eq!(pause.draw(0.0), 2 * second);
        for _ in 0..100 {
            pause.draw(1.0);
        }
        assert_eq!(pause.draw(1.0), 30 * second);
        assert_eq!(pause.draw(0.0), 15 * second);
        pause.reset();
        assert!(pause.next() <= second);
    }
}
