//! Two runs on the same questions: answers lost and gained, the exact McNemar test, the change of the gold choice.

use anyhow::{Result, ensure};
use statrs::distribution::{Binomial, DiscreteCDF};

use super::fidelity::RatioEstimate;
use super::sample::Sample;

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

/// The 95 % interval of the share of questions lost and not regained: those losses that Tango's score test (Statistics in
/// Medicine 17, 1998) does not reject. Unlike the estimate plus or minus two standard errors it is no point where nothing changed.
pub fn loss_interval(lost: u64, gained: u64, questions: u64) -> [f64; 2] {
    loss_interval_at(1.959963984540054, lost, gained, questions)
}

/// The same of another confidence: losses from which the data are at most `quantile` standard errors.
pub fn loss_interval_at(quantile: f64, lost: u64, gained: u64, questions: u64) -> [f64; 2] {
    let measured = (lost as f64 - gained as f64) / questions as f64;
    // The distance falls as the loss grows.
    let ends = [(quantile, -1.0, measured), (-quantile, measured, 1.0)];
    ends.map(|(wanted, mut low, mut high)| {
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if loss_distance(lost, gained, questions, middle) > wanted { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    })
}

/// How far the data are from a loss, in standard errors under it; the share regained is the likeliest under it.
pub fn loss_distance(lost: u64, gained: u64, questions: u64, loss: f64) -> f64 {
    let [n, b, c] = [questions, lost, gained].map(|count| count as f64);
    let linear = (2.0 * n - b + c) * loss - b - c;
    let constant = -c * loss * (1.0 - loss);
    let regained = ((linear * linear - 8.0 * n * constant).max(0.0).sqrt() - linear) / (4.0 * n);
    let variance = n * (2.0 * regained + loss * (1.0 - loss));
    let difference = b - c - n * loss;
    if difference == 0.0 { 0.0 } else { difference / variance.max(f64::MIN_POSITIVE).sqrt() }
}

/// Mean change of the gold choice's log-likelihood against the baseline, in nats, and its standard error; empty without questions
/// or where a change is not finite.
pub fn gold_loglik_change(baseline: &[f64], other: &[f64]) -> Result<Option<RatioEstimate>> {
    ensure!(
        baseline.len() == other.len(),
        "the baseline has {} gold log-likelihoods, the other run {}",
        baseline.len(),
        other.len()
    );
    let changes: Vec<(f64, f64)> = baseline.iter().zip(other).map(|(b, o)| (o - b, 1.0)).collect();
    Ok(RatioEstimate::new(&changes).filter(|mean| mean.value.is_finite()))
}

/// ln of the ratio of perplexities of the gold choices' tokens, other over baseline, and its standard error over questions: the mean
/// loss of log-likelihood per token. Empty without questions or where a change is not finite.
pub fn ln_perplexity_ratio(baseline: &[Sample], other: &[Sample]) -> Option<RatioEstimate> {
    let losses: Vec<(f64, f64)> = (baseline.iter().zip(other))
        .map(|(b, o)| (b.gold_loglik() - o.gold_loglik(), b.choice_tokens[b.gold] as f64))
        .collect();
    RatioEstimate::new(&losses).filter(|mean| mean.value.is_finite())
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

    /// `tests/reference/paired.py`: the likelihood maximised by SciPy, step by step.
    #[test]
    fn intervals_are_those_of_a_likelihood_maximised_by_number() {
        let text = include_str!("../../tests/reference/paired.json");
        let cases: Vec<(u64, u64, u64, f64, f64)> = serde_json::from_str(text).unwrap();
        assert!(cases.len() >= 10);
        for (lost, gained, questions, low, high) in cases {
            let found = loss_interval(lost, gained, questions);
            assert!((found[0] - low).abs() < 1e-6 && (found[1] - high).abs() < 1e-6, "{lost} {gained}: {found:?}");
            // The other way round is the same with the opposite sign.
            let turned = loss_interval(gained, lost, questions);
            assert!((found[0] + turned[1]).abs() < 1e-9 && (found[1] + turned[0]).abs() < 1e-9);
        }
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
        let found = gold_loglik_change(&[-1.0, -2.0], &[-2.0, -4.0]).unwrap();
        // Changes of -1 and -2: a deviation of sqrt(1/2) over sqrt(2).
        assert_eq!(found, Some(RatioEstimate { value: -1.5, stderr: Some(0.5) }));
        assert_eq!(gold_loglik_change(&[], &[]).unwrap(), None);
        assert_eq!(gold_loglik_change(&[-1.0], &[f64::NEG_INFINITY]).unwrap(), None);
        assert!(gold_loglik_change(&[-1.0], &[]).is_err());
    }
}
