//! Random choices that are the same on every machine: ChaCha8, one stream for
//! each entity, integers only.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// What a stream is for; streams of different kinds never meet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Vocabulary,
    People,
    Project,
    Repo,
    Import,
    Issue,
    Change,
    Fault,
}

/// The random choices of one entity.
#[derive(Debug, Clone)]
pub(super) struct Rng(ChaCha8Rng);

/// Points of a distribution: at which per mille of the draws which value is
/// reached. Between two points the values are spread evenly.
pub(super) type Quantiles = [(u32, u32)];

impl Rng {
    pub(super) fn new(seed: u64, stream: Stream, index: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream((stream as u64) << 48 | index);
        Self(rng)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`; 0 when `n` is 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(n);
        u64::try_from(wide >> 64).expect("the upper half of a product of two u64 is a u64")
    }

    /// An index below `n`.
    pub(super) fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("below a usize")
    }

    /// True in `ppm` of a million draws.
    pub(super) fn chance(&mut self, ppm: u64) -> bool {
        self.below(1_000_000) < ppm
    }

    /// A number below `n`, small ones far more often (about Zipf with exponent 1).
    pub(super) fn skewed(&mut self, n: u64) -> u64 {
        let octaves = u64::from(u64::BITS - n.leading_zeros());
        let octave = self.below(octaves + 1);
        self.below(n.min(1 << octave.min(63)))
    }

    /// How often something with chance `mean / (mean + 1)` happens in a row.
    pub(super) fn geometric(&mut self, mean: u64, most: u64) -> u64 {
        let mut count = 0;
        while count < most && self.below(mean + 1) != 0 {
            count += 1;
        }
        count
    }

    pub(super) fn quantile(&mut self, points: &Quantiles) -> u32 {
        let at = u32::try_from(self.below(1000)).expect("below 1000");
        let upper = points
            .iter()
            .position(|p| p.0 > at)
            .unwrap_or(points.len() - 1)
            .max(1);
        let ((p0, v0), (p1, v1)) = (points[upper - 1], points[upper]);
        let share = u64::from(at.saturating_sub(p0)) * u64::from(v1.saturating_sub(v0));
        v0 + u32::try_from(share / u64::from(p1 - p0)).expect("at most the distance of the values")
    }

    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.index(all.len())]
    }

    /// An index into weights, by weight.
    pub(super) fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut at = self.below(weights.iter().sum());
        weights
            .iter()
            .position(|&weight| {
                let hit = at < weight;
                at = at.saturating_sub(weight);
                hit
            })
            .unwrap_or(0)
    }

    /// 40 lower-case hexadecimal digits.
    pub(super) fn hash(&mut self) -> String {
        let mut bytes = [0; 20];
        self.0.fill_bytes(&mut bytes);
        hex::encode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_fixed_and_differ() {
        let first = |stream, index| Rng::new(1, stream, index).next();
        assert_eq!(first(Stream::Issue, 3), first(Stream::Issue, 3));
        assert_ne!(first(Stream::Issue, 3), first(Stream::Issue, 4));
        assert_ne!(first(Stream::Issue, 3), first(Stream::Change, 3));
    }

    #[test]
    fn quantiles_are_met() {
        let table = [(0, 10), (500, 20), (990, 100), (1000, 1000)];
        let mut rng = Rng::new(1, Stream::Issue, 0);
        let mut drawn: Vec<u32> = (0..10_000).map(|_| rng.quantile(&table)).collect();
        drawn.sort_unstable();
        assert!(drawn[0] >= 10 && drawn[9_999] < 1000);
        assert!((19..=21).contains(&drawn[5_000]), "median {}", drawn[5_000]);
    }

    #[test]
    fn means_are_near() {
        let mut rng = Rng::new(1, Stream::Issue, 0);
        let sum: u64 = (0..20_000).map(|_| rng.geometric(6, 1000)).sum();
        assert!((110_000..130_000).contains(&sum), "{sum}");
        let heavy = (0..20_000).filter(|_| rng.weighted(&[1, 3]) == 1).count();
        assert!((14_500..15_500).contains(&heavy), "{heavy}");
    }
}
