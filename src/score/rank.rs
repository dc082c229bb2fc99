//! Do two lists have the same order?

/// Spearman's rank correlation, equal values having the mean of their ranks. None for fewer than two pairs, and where all of
/// one list are equal.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (x, y) = (ranks(&x), ranks(&y));
    // Ranks with means for ties always sum to those of 1..=n.
    let middle = (pairs.len() as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - middle) * (b - middle)).sum::<f64>();
    let spread = (product(&x, &x) * product(&y, &y)).sqrt();
    (spread > 0.0).then(|| product(&x, &y) / spread)
}

/// Ranks from 1.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal as f64 + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let pairs = |x: &[f64], y: &[f64]| x.iter().copied().zip(y.iter().copied()).collect::<Vec<_>>();
        for (x, y, expected) in [
            (&[1.0, 2.0, 3.0, 4.0][..], &[10.0, 30.0, 20.0, 40.0][..], 0.8),
            (&[1.0, 2.0, 2.0, 5.0, 0.5], &[3.0, 1.0, 2.0, 2.0, 9.0], -7.25 / 9.5),
            (&[6.0, 5.0, 4.0], &[0.1, 0.2, 0.3], -1.0),
        ] {
            let found = spearman(&pairs(x, y)).unwrap();
            assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
        }
        assert_eq!(spearman(&pairs(&[1.0, 2.0], &[3.0, 3.0])), None);
        assert_eq!((spearman(&[]), spearman(&[(1.0, 2.0)])), (None, None));
    }
}
