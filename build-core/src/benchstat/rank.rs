//! The Mann-Whitney U test.

/// Up to how many values in both samples the distribution is counted out.
const EXACT: usize = 50;

/// The probability that two samples of one distribution differ in order as much as these, in
/// either direction; `None` when one of them is empty.
///
/// Counted out for up to 50 values, ties included; above, by the normal approximation with the
/// corrections for ties and continuity.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let (ranks, ties) = doubled_ranks(a, b);
    let sum: u64 = ranks[..a.len()].iter().sum();
    let n = ranks.len();
    Some(match n <= EXACT {
        true => exact(&ranks, a.len(), sum),
        false => approximate(a.len() as f64, b.len() as f64, sum as f64 / 2.0, ties),
    })
}

/// Twice the rank of each value of `a` then `b`, equal ones share theirs; and the sum of
/// `t³ - t` over groups of `t` equal values.
fn doubled_ranks(a: &[f64], b: &[f64]) -> (Vec<u64>, f64) {
    let values: Vec<f64> = a.iter().chain(b).copied().collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|x, y| values[*x].total_cmp(&values[*y]));
    let mut ranks = vec![0; values.len()];
    let (mut at, mut ties) = (0, 0.0);
    while at < order.len() {
        let same = |n: &&usize| values[**n] == values[order[at]];
        let count = order[at..].iter().take_while(same).count();
        // Ranks at+1 to at+count have the mean at + (count + 1) / 2.
        let doubled = 2 * at as u64 + count as u64 + 1;
        order[at..at + count]
            .iter()
            .for_each(|n| ranks[*n] = doubled);
        let t = count as f64;
        ties += t * t * t - t;
        at += count;
    }
    (ranks, ties)
}

/// Counts the choices of `size` ranks whose sum is as far from the middle as `sum`.
fn exact(ranks: &[u64], size: usize, sum: u64) -> f64 {
    let total: u64 = ranks.iter().sum();
    let most = total as usize;
    // ways[k][s]: choices of k ranks with sum s, among those seen so far.
    let mut ways = vec![vec![0.0f64; most + 1]; size + 1];
    ways[0][0] = 1.0;
    let mut seen = 0;
    for &rank in ranks {
        let rank = rank as usize;
        seen += rank;
        for k in (1..=size).rev() {
            let (fewer, these) = ways.split_at_mut(k);
            for s in (rank..=seen).rev() {
                these[0][s] += fewer[k - 1][s - rank];
            }
        }
    }
    // Twice everything again, so that the middle is whole.
    let middle = total * size as u64 * 2 / ranks.len() as u64;
    let distance = (2 * sum).abs_diff(middle);
    let (mut far, mut all) = (0.0, 0.0);
    for (s, ways) in ways[size].iter().enumerate() {
        all += ways;
        if (2 * s as u64).abs_diff(middle) >= distance {
            far += ways;
        }
    }
    (far / all).min(1.0)
}

fn approximate(n1: f64, n2: f64, rank_sum: f64, ties: f64) -> f64 {
    let n = n1 + n2;
    let u = rank_sum - n1 * (n1 + 1.0) / 2.0;
    let variance = n1 * n2 / 12.0 * ((n + 1.0) - ties / (n * (n - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let distance = ((u - n1 * n2 / 2.0).abs() - 0.5).max(0.0);
    erfc(distance / variance.sqrt() / std::f64::consts::SQRT_2).min(1.0)
}

/// The complementary error function, to within 1.2e-7 of its value (Chebyshev fit).
fn erfc(x: f64) -> f64 {
    const FIT: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let power = FIT.iter().rev().fold(0.0, |sum, c| sum * t + c);
    let value = t * (-x * x + power).exp();
    if x >= 0.0 { value } else { 2.0 - value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn known_probabilities() {
        let p = |a: &[f64], b: &[f64]| mann_whitney(a, b).unwrap();
        // 2 of C(10, 5) orders are as extreme.
        assert!(near(
            p(&[1., 2., 3., 4., 5.], &[6., 7., 8., 9., 10.]),
            2.0 / 252.0
        ));
        // 2 of C(6, 3).
        assert!(near(p(&[4., 5., 6.], &[1., 2., 3.]), 0.1));
        assert!(near(p(&[1., 3.], &[2., 4.]), 4.0 / 6.0));
        assert!(near(p(&[1., 1., 1.], &[1., 1.]), 1.0));
        // {1,1,2} and {2,2,2}: of the C(6,3) choices 4 have the low sum, 4 the high one.
        assert!(near(p(&[1., 1., 2.], &[2., 2., 2.]), 8.0 / 20.0));
        assert_eq!(mann_whitney(&[], &[1.0]), None);
    }

    #[test]
    fn the_approximation_meets_the_count() {
        let a: Vec<f64> = (0..26).map(|n| f64::from(n) * 1.7).collect();
        let b: Vec<f64> = (0..24).map(|n| f64::from(n) * 2.1 + 3.0).collect();
        let (ranks, ties) = doubled_ranks(&a, &b);
        let sum: u64 = ranks[..26].iter().sum();
        let counted = exact(&ranks, 26, sum);
        let approximated = approximate(26.0, 24.0, sum as f64 / 2.0, ties);
        assert!(
            (counted - approximated).abs() < 0.003,
            "{counted} {approximated}"
        );
        // At 1.96 standard deviations both tails hold one in twenty.
        assert!((erfc(1.959_964 / std::f64::consts::SQRT_2) - 0.05).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn a_probability_is_one_and_has_no_direction(
            a in prop::collection::vec(0u8..20, 1..12), b in prop::collection::vec(0u8..20, 1..12)
        ) {
            let (a, b): (Vec<_>, Vec<_>) = (a.iter().map(|x| f64::from(*x)).collect(), b.iter().map(|x| f64::from(*x)).collect());
            let p = mann_whitney(&a, &b).unwrap();
            prop_assert!(p > 0.0 && p <= 1.0);
            prop_assert!((p - mann_whitney(&b, &a).unwrap()).abs() < 1e-9);
        }
    }
}
