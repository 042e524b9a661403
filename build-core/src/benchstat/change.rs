//! Where a series changes.

use serde::Serialize;

use super::Sample;

/// Fewest values on each side of a change.
const LEAST: usize = 4;

/// A change in a series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The index of the first value after it.
    pub at: usize,
    /// The median between the change before and this one.
    pub before: f64,
    /// The median from this change to the next one.
    pub after: f64,
    /// The probability of such a change by chance, as Pettitt's test estimates it.
    pub p: f64,
}

impl Change {
    /// The change as a ratio: 0.1 is a tenth more.
    pub fn delta(&self) -> f64 {
        match self.before {
            0.0 => 0.0,
            before => self.after / before - 1.0,
        }
    }
}

/// The changes in a series of values in order of time: by halves, each half again, as long as
/// a change is less probable than `alpha` by chance and at least `least` as a ratio.
pub fn changes(values: &[f64], alpha: f64, least: f64) -> Vec<Change> {
    let mut found = Vec::new();
    split(values, 0, alpha, &mut found);
    found.sort_by_key(|(at, _)| *at);
    // A change is judged between its neighbours; a small one joins what it parted.
    loop {
        let mut ends: Vec<usize> = found.iter().map(|(at, _)| *at).collect();
        ends.insert(0, 0);
        ends.push(values.len());
        let median = |n: usize| {
            let part = &values[ends[n]..ends[n + 1]];
            Sample::new(part.iter().copied()).median().unwrap_or(0.0)
        };
        let all: Vec<Change> = found
            .iter()
            .enumerate()
            .map(|(n, (at, p))| Change {
                at: *at,
                before: median(n),
                after: median(n + 1),
                p: *p,
            })
            .collect();
        let smallest = all
            .iter()
            .enumerate()
            .min_by(|a, b| a.1.delta().abs().total_cmp(&b.1.delta().abs()));
        match smallest {
            Some((n, change)) if change.delta().abs() < least => drop(found.remove(n)),
            _ => return all,
        }
    }
}

fn split(values: &[f64], offset: usize, alpha: f64, found: &mut Vec<(usize, f64)>) {
    let Some((at, p)) = pettitt(values).filter(|(_, p)| *p < alpha) else {
        return;
    };
    found.push((offset + at, p));
    split(&values[..at], offset, alpha, found);
    split(&values[at..], offset + at, alpha, found);
}

/// The most probable place of a change, and the probability of it by chance.
fn pettitt(values: &[f64]) -> Option<(usize, f64)> {
    let n = values.len();
    if n < 2 * LEAST {
        return None;
    }
    let sign = |a: f64, b: f64| f64::from(i8::from(a > b) - i8::from(a < b));
    let (mut u, mut best) = (0.0, (0, 0.0));
    for at in 1..n {
        // U(t) grows by the order of the value that joins the left side.
        let joins = values[at - 1];
        u += values.iter().map(|value| sign(joins, *value)).sum::<f64>();
        let far = f64::abs(u);
        if at >= LEAST && n - at >= LEAST && far > best.1 {
            best = (at, far);
        }
    }
    let (at, k) = best;
    let n = n as f64;
    let p = (2.0 * (-6.0 * k * k / (n * n * n + n * n)).exp()).min(1.0);
    (at > 0).then_some((at, p))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same values on every run, between -1 and 1.
    fn noise(n: usize) -> f64 {
        let x = (n as u64 + 1)
            .wrapping_mul(6_364_136_223_846_793_005)
            .rotate_left(17);
        (x % 2001) as f64 / 1000.0 - 1.0
    }

    #[test]
    fn steps_are_found_and_noise_is_not() {
        let flat: Vec<f64> = (0..60).map(|n| 100.0 + noise(n)).collect();
        assert_eq!(changes(&flat, 0.001, 0.01), []);
        let steps: Vec<f64> = (0..60)
            .map(|n| {
                let level = match n {
                    0..20 => 100.0,
                    20..45 => 110.0,
                    _ => 95.0,
                };
                level + noise(n)
            })
            .collect();
        let found = changes(&steps, 0.01, 0.01);
        let at: Vec<_> = found.iter().map(|c| c.at).collect();
        assert_eq!(at, [20, 45]);
        assert!((found[0].delta() - 0.1).abs() < 0.02, "{found:?}");
        assert!(found[1].delta() < -0.1);
        assert!(
            changes(&steps, 0.01, 0.5).is_empty(),
            "both are smaller than a half"
        );
        assert_eq!(changes(&[], 0.01, 0.0), []);
        assert_eq!(changes(&[1.0, 2.0], 0.5, 0.0), []);
    }
}
