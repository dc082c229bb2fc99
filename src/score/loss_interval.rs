//! Two runs on the same questions: the interval of the loss (Tango 1998) and the change of the gold choice.

use anyhow::{Result, ensure};

use super::fidelity::RatioEstimate;

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
/// loss of log-likelihood per token, from each question's loss and tokens. Empty without questions or where a change is not finite.
pub fn ln_perplexity_ratio(losses: &[(f64, f64)]) -> Option<RatioEstimate> {
    RatioEstimate::new(losses).filter(|mean| mean.value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_gold_change_is_a_mean_of_differences() {
        let found = gold_loglik_change(&[-1.0, -2.0], &[-2.0, -4.0]).unwrap();
        // Changes of -1 and -2: a deviation of sqrt(1/2) over sqrt(2).
        assert_eq!(found, Some(RatioEstimate { value: -1.5, stderr: Some(0.5) }));
        assert_eq!(gold_loglik_change(&[], &[]).unwrap(), None);
        assert_eq!(gold_loglik_change(&[-1.0], &[f64::NEG_INFINITY]).unwrap(), None);
        assert!(gold_loglik_change(&[-1.0], &[]).is_err());
    }
}
