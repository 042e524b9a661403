//! What a seed decides.

use std::time::Duration;

/// Draws in a fixed order: the same seed is the same life, but for what the machine does itself.
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let drawn = self.next() % end.max(1) as u64;
        usize::try_from(drawn).unwrap_or(0)
    }

    /// One of several.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// All of several, in an order that is drawn.
    pub(super) fn deal<T: Copy>(&mut self, of: &[T]) -> Vec<T> {
        let mut left = of.to_vec();
        let mut dealt = Vec::with_capacity(left.len());
        while !left.is_empty() {
            dealt.push(left.swap_remove(self.below(left.len())));
        }
        dealt
    }

    /// True so many times of a hundred.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A time up to `longest`.
    pub(super) fn time(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.below(1000) as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dealt_is_everything_once_and_the_same_under_a_seed() {
        let all: Vec<u32> = (0..9).collect();
        let dealt = |seed| Draw::new(seed).deal(&all);
        for seed in 0..50 {
            let mut sorted = dealt(seed);
            assert_eq!(sorted, dealt(seed));
            sorted.sort_unstable();
            assert_eq!(sorted, all);
        }
        assert!((0..50).any(|seed| dealt(seed) != all));
    }
}
