//! Log-softmax.

use super::exp::exp;
use splitbench_codec::vector::dispatch;

/// Running sums side by side, so that the compiler can use vector instructions.
pub(super) const LANES: usize = 16;

/// Turns logits into log-probabilities: the softmax over all of them, padding ids included, as the harness has it.
/// The exponentials are of f32 (2e-7 relative), their sum is f64.
#[derive(Debug, Clone, Copy)]
pub struct LogSumExp {
    /// The largest logit.
    max: f32,
    /// ln of the sum of e^(logit - max); NaN where a logit is NaN or all are -inf.
    ln_sum: f64,
}

impl LogSumExp {
    /// Of the logits of one row.
    pub fn new(logits: &[f32]) -> Self {
        let max = maximum(logits);
        // Less the largest logit no exponential is above one, so none overflows.
        let ln_sum = if max.is_finite() { dispatch!(sum(logits, max)).ln() } else { f64::NAN };
        Self { max, ln_sum }
    }

    /// Natural logarithm of the sum of e^logit.
    pub fn value(&self) -> f64 {
        f64::from(self.max) + self.ln_sum
    }

    /// The largest logit.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// Log-probability of a logit, nats.
    pub fn log_probability(&self, logit: f32) -> f64 {
        f64::from(logit) - f64::from(self.max) - self.ln_sum
    }
}

/// The sum of `e^(logit - max)`, in an order that depends on nothing but the number of logits.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn sum<V>(logits: &[f32], max: f32) -> f64 {
    // One running sum per lane, in f64, added up at the end: the order is the same on every processor, however wide its
    // vectors are.
    let mut sums = [0f64; LANES];
    let mut chunks = logits.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (sum, logit) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(exp(logit - max));
        }
    }
    let rest: f64 = chunks.remainder().iter().map(|logit| f64::from(exp(logit - max))).sum();
    sums.iter().sum::<f64>() + rest
}

/// The largest logit; NaN where any is NaN.
fn maximum(logits: &[f32]) -> f32 {
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut nan = [false; LANES];
    for chunk in logits.chunks(LANES) {
        for ((best, nan), logit) in best.iter_mut().zip(&mut nan).zip(chunk) {
            // No comparison with NaN holds, so it would be passed over; the flag beside keeps it.
            *best = if *logit > *best { *logit } else { *best };
            *nan |= logit.is_nan();
        }
    }
    if nan.contains(&true) { f32::NAN } else { best.into_iter().fold(f32::NEG_INFINITY, f32::max) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_softmax_at(logits: &[f32], target: u32) -> f64 {
        LogSumExp::new(logits).log_probability(logits[target as usize])
    }
    use rand::{Rng, SeedableRng};

    fn direct(logits: &[f32], target: usize) -> f64 {
        let max = logits.iter().fold(f64::NEG_INFINITY, |m, l| m.max(f64::from(*l)));
        let sum: f64 = logits.iter().map(|l| (f64::from(*l) - max).exp()).sum();
        f64::from(logits[target]) - max - sum.ln()
    }

    #[test]
    fn equals_the_direct_formula_at_every_length_and_scale() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        for n in (1..70).chain([1000, 151_936]) {
            for scale in [0.0f32, 0.1, 5.0, 40.0, 300.0] {
                let logits: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0f32) * scale + 3.0).collect();
                let target = rng.random_range(0..n);
                let (got, want) = (log_softmax_at(&logits, target as u32), direct(&logits, target));
                assert!((got - want).abs() <= 5e-7, "n {n} scale {scale}: {got} {want}");
            }
        }
    }

    #[test]
    fn every_id_counts_and_large_logits_do_not_overflow() {
        assert_eq!(log_softmax_at(&[2.5], 0), 0.0);
        assert!((log_softmax_at(&[1e30, 1e30], 1) + 2f64.ln()).abs() < 1e-12);
        let padded = [1.0f32, 2.0, 0.0, 0.0];
        assert!(log_softmax_at(&padded, 1) < log_softmax_at(&padded[..2], 1) - 0.1, "padding ids take part");
        assert_eq!(log_softmax_at(&[0.0, f32::NEG_INFINITY], 1), f64::NEG_INFINITY);
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(log_softmax_at(&[0.0, bad, 1.0], 0).is_nan());
        }
        assert!(log_softmax_at(&[f32::NEG_INFINITY; 3], 0).is_nan());
    }
}
