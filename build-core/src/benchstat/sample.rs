//! Samples: their summary, and how two of them differ.

use serde::Serialize;

use super::mann_whitney;

/// How sure the interval of a summary is.
const CONFIDENCE: f64 = 0.95;

/// Measured values of one benchmark and one unit, in order of size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    values: Vec<f64>,
}

/// What is said of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The median.
    pub center: f64,
    /// The interval in which the true median lies, 95 times of 100; `None` for less than six
    /// values, which are too few to say.
    pub interval: Option<(f64, f64)>,
    /// Number of values.
    pub n: usize,
}

impl Sample {
    /// A sample of the finite ones of these values.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        Self { values }
    }

    /// The values, the smallest first.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The median; `None` without values.
    pub fn median(&self) -> Option<f64> {
        let n = self.values.len();
        let (low, high) = (
            self.values.get(n.wrapping_sub(1) / 2)?,
            self.values.get(n / 2)?,
        );
        Some(low + (high - low) / 2.0)
    }

    /// The median with its interval; `None` without values.
    pub fn summary(&self) -> Option<Summary> {
        Some(Summary {
            center: self.median()?,
            interval: self.interval(),
            n: self.values.len(),
        })
    }

    /// The narrowest pair of values, counted from both ends, between which the median is with
    /// the wanted confidence: how many values are below it is binomial.
    fn interval(&self) -> Option<(f64, f64)> {
        let n = self.values.len();
        // Beyond this the binomial's first terms vanish; its normal shape is exact enough.
        let from_end = if n > 1000 {
            let half = 1.96 * (n as f64).sqrt() / 2.0;
            (n as f64 / 2.0 - half).floor() as usize
        } else {
            let mut probability = 0.5f64.powi(i32::try_from(n).ok()?);
            let (mut tail, mut k) = (0.0, 0);
            // P(less than k + 1 of n below) on one side must stay below half the doubt.
            while tail + probability <= (1.0 - CONFIDENCE) / 2.0 {
                tail += probability;
                probability *= (n - k) as f64 / (k + 1) as f64;
                k += 1;
            }
            k
        };
        let index = from_end.checked_sub(1)?;
        Some((*self.values.get(index)?, *self.values.get(n - 1 - index)?))
    }
}

/// How two samples differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Compare {
    /// The probability that they are of one distribution; `None` when one is empty.
    pub p: Option<f64>,
    /// The change of the median, as a ratio to the old one: -0.2 is a fifth less. `None` when
    /// the difference may be chance, or there is nothing to divide by.
    pub delta: Option<f64>,
}

impl Compare {
    /// Compares; differences with a probability of `alpha` or more count as chance.
    pub fn of(old: &Sample, new: &Sample, alpha: f64) -> Self {
        let p = mann_whitney(&old.values, &new.values);
        let delta = match (old.median(), new.median()) {
            (Some(a), Some(b)) if p.is_some_and(|p| p < alpha) && a != 0.0 => Some(b / a - 1.0),
            _ => None,
        };
        Self { p, delta }
    }
}

/// The geometric mean; `None` when there are no values, or one is not above zero.
pub fn geomean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0u32);
    for value in values {
        if value <= 0.0 || !value.is_finite() {
            return None;
        }
        sum += value.ln();
        n += 1;
    }
    (n > 0).then(|| (sum / f64::from(n)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_their_intervals() {
        assert_eq!(Sample::new([3.0, 1.0, f64::NAN, 2.0]).median(), Some(2.0));
        assert_eq!(Sample::new([4.0, 1.0]).median(), Some(2.5));
        assert_eq!(Sample::new([]).summary(), None);
        let interval = |n: u32| {
            Sample::new((1..=n).map(f64::from))
                .summary()
                .unwrap()
                .interval
        };
        // Tables of the sign test: 6 values give the first and last, 10 the second and ninth.
        assert_eq!(interval(5), None);
        assert_eq!(interval(6), Some((1.0, 6.0)));
        assert_eq!(interval(9), Some((2.0, 8.0)));
        assert_eq!(interval(10), Some((2.0, 9.0)));
        assert_eq!(interval(20), Some((6.0, 15.0)));
        let (low, high) = interval(2000).unwrap();
        assert!(low > 950.0 && high < 1050.0);
    }

    #[test]
    fn the_geometric_mean_is_of_values_above_zero() {
        assert!((geomean([1.0, 100.0]).unwrap() - 10.0).abs() < 1e-12);
        assert_eq!(geomean([]), None);
        assert_eq!(geomean([1.0, 0.0]), None);
    }

    #[test]
    fn chance_is_no_difference() {
        let (old, new) = (Sample::new([1.0, 2.0, 3.0]), Sample::new([1.5, 2.5, 2.0]));
        let compared = Compare::of(&old, &new, 0.05);
        assert!(compared.p.unwrap() > 0.5);
        assert_eq!(compared.delta, None);
    }
}
