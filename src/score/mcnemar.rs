//! Two runs on the same questions: answers lost and gained, and the exact McNemar test.

use anyhow::{Result, ensure};
use statrs::distribution::{Binomial, DiscreteCDF};

/// Paired comparison with the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// Right in the baseline, wrong here.
    pub lost: u64,
    /// Wrong in the baseline, right here.
    pub gained: u64,
    /// Exact two-sided McNemar p.
    pub mcnemar_p: f64,
}

/// Exact two-sided McNemar p: how likely a split at least as uneven as (lost, gained) is if either way is a fair coin.
pub fn mcnemar_exact(lost: u64, gained: u64) -> f64 {
    let (n, k) = (lost + gained, lost.min(gained));
    let coin = Binomial::new(0.5, n).expect("a half is a probability");
    if n == 2 * k { 1.0 } else { (2.0 * coin.cdf(k)).min(1.0) }
}

/// Compares which questions were right in the baseline and in another run, in the same order.
pub fn paired(baseline: &[bool], other: &[bool]) -> Result<Paired> {
    ensure!(
        baseline.len() == other.len(),
        "the baseline has {} questions, the other run {}: only runs on the same questions can be paired",
        baseline.len(),
        other.len()
    );
    let flips = |from: bool| baseline.iter().zip(other).filter(|(b, o)| **b == from && **o != from).count() as u64;
    let (lost, gained) = (flips(true), flips(false));
    Ok(Paired { lost, gained, mcnemar_p: mcnemar_exact(lost, gained) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flips_are_counted_both_ways() {
        let baseline = [true, true, true, false, false, true];
        let other = [false, false, true, true, false, true];
        assert_eq!(paired(&baseline, &other).unwrap(), Paired { lost: 2, gained: 1, mcnemar_p: 1.0 });
        assert_eq!(paired(&[], &[]).unwrap().mcnemar_p, 1.0);
        assert!(paired(&baseline, &other[1..]).is_err());
    }

    #[test]
    fn mcnemar_is_symmetric_and_falls_with_the_unevenness() {
        for n in [1u64, 2, 9, 100, 4001] {
            let p: Vec<f64> = (0..=n / 2).map(|k| mcnemar_exact(k, n - k)).collect();
            assert!(p.is_sorted() && p[0] > 0.0 || n > 1000, "{p:?}");
            for k in 0..=n / 2 {
                assert_eq!(p[k as usize], mcnemar_exact(n - k, k));
            }
        }
    }
}
