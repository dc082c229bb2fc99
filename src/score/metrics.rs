//! Accuracy of one run: which choice is taken, and how sure the share of right answers is.

use anyhow::{Result, ensure};

/// The choice with the largest log-likelihood; the first of equals, as `numpy.argmax` has it.
/// NaN is an error: it says that the model's weights or the activation are broken.
pub fn argmax(loglik: &[f64]) -> Result<usize> {
    ensure!(!loglik.is_empty(), "no log-likelihoods to choose from");
    let mut best = 0;
    for (i, value) in loglik.iter().enumerate() {
        ensure!(
            !value.is_nan(),
            "the log-likelihood of choice {i} is NaN: weights or activation hold a value that is not finite"
        );
        if *value > loglik[best] {
            best = i;
        }
    }
    Ok(best)
}

/// The choice with the largest log-likelihood per code point of its text; the first of equals.
pub fn argmax_norm(loglik: &[f64], chars: &[usize]) -> Result<usize> {
    ensure!(loglik.len() == chars.len(), "{} log-likelihoods, but {} lengths", loglik.len(), chars.len());
    ensure!(!chars.contains(&0), "a choice without characters has no log-likelihood per character");
    let per_char: Vec<f64> = loglik.iter().zip(chars).map(|(l, n)| l / *n as f64).collect();
    argmax(&per_char)
}

/// Share of true values; empty where there are none.
pub fn mean(right: &[bool]) -> Option<f64> {
    let hits = right.iter().filter(|r| **r).count();
    (!right.is_empty()).then(|| hits as f64 / right.len() as f64)
}

/// Standard error of that share: the sample deviation (over n - 1) divided by sqrt(n), as the harness has it; empty for
/// fewer than two values.
pub fn standard_error(right: &[bool]) -> Option<f64> {
    let (n, p) = (right.len() as f64, mean(right)?);
    // The variance of n zeros and ones is n p (1 - p) / (n - 1).
    (right.len() > 1).then(|| (p * (1.0 - p) / (n - 1.0)).sqrt())
}

/// Accuracy of guessing: the mean of 1 / choices; empty where there are no questions.
pub fn chance(choices: impl IntoIterator<Item = usize>) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0usize);
    for count in choices {
        sum += 1.0 / count as f64;
        n += 1;
    }
    (n > 0).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_choices_is_taken() {
        assert_eq!(argmax(&[-2.0, -1.0, -1.0]).unwrap(), 1);
        assert_eq!(argmax(&[f64::NEG_INFINITY; 3]).unwrap(), 0);
        assert_eq!(argmax_norm(&[-4.0, -2.0, -6.0], &[4, 2, 6]).unwrap(), 0);
        assert_eq!(argmax_norm(&[-4.0, -3.0], &[8, 3]).unwrap(), 0);
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        assert!(argmax(&[]).is_err());
        assert!(argmax(&[0.0, f64::NAN]).unwrap_err().to_string().contains("choice 1 is NaN"));
        assert!(argmax_norm(&[0.0], &[0]).is_err());
        assert!(argmax_norm(&[0.0, 1.0], &[1]).is_err());
    }

    #[test]
    fn too_few_questions_leave_numbers_empty() {
        assert_eq!((mean(&[]), standard_error(&[]), standard_error(&[true])), (None, None, None));
        assert_eq!((mean(&[true]), standard_error(&[true, true])), (Some(1.0), Some(0.0)));
        assert_eq!(chance([]), None);
        assert_eq!(chance([2, 4, 4]), Some(1.0 / 3.0));
    }
}
