//! Two runs on the same questions: answers lost and gained, the exact McNemar test, the change of the gold choice.

use anyhow::{Result, ensure};

use crate::experiment::Paired;

/// Exact two-sided McNemar p: how likely a split at least as uneven as (lost, gained) is if either way is a fair coin.
pub fn mcnemar_exact(lost: u64, gained: u64) -> f64 {
    let (n, k) = (lost + gained, lost.min(gained));
    if n == 2 * k {
        return 1.0;
    }
    // ln C(n, k) - n ln 2, then the lower tail term by term: each is the one before times i / (n - i + 1).
    let log_last = (1..=k).map(|i| ((n - i + 1) as f64 / i as f64).ln()).sum::<f64>() - n as f64 * 2f64.ln();
    let (mut tail, mut term) = (1.0, 1.0);
    for i in (1..=k).rev() {
        term *= i as f64 / (n - i + 1) as f64;
        tail += term;
        if term < tail * f64::EPSILON / 4.0 {
            break;
        }
    }
    (2.0 * (log_last + f64::ln(tail)).exp()).min(1.0)
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

/// Mean change of the gold choice's log-likelihood against the baseline, in nats; empty without questions or where a
/// change is not finite.
pub fn gold_loglik_change(baseline: &[f64], other: &[f64]) -> Result<Option<f64>> {
    ensure!(
        baseline.len() == other.len(),
        "the baseline has {} gold log-likelihoods, the other run {}",
        baseline.len(),
        other.len()
    );
    let sum: f64 = baseline.iter().zip(other).map(|(b, o)| o - b).sum();
    Ok(Some(sum / baseline.len() as f64).filter(|mean| mean.is_finite()))
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

    #[test]
    fn the_gold_change_is_a_mean_of_differences() {
        assert_eq!(gold_loglik_change(&[-1.0, -2.0], &[-2.0, -4.0]).unwrap(), Some(-1.5));
        assert_eq!(gold_loglik_change(&[], &[]).unwrap(), None);
        assert_eq!(gold_loglik_change(&[-1.0], &[f64::NEG_INFINITY]).unwrap(), None);
        assert!(gold_loglik_change(&[-1.0], &[]).is_err());
    }
}
