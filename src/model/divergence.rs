//! How far two next-token distributions are apart.

use super::exp::exp;
use super::log_softmax::{LANES, LogSumExp};
use splitbench_codec::vector::dispatch;

/// Two distributions over the vocabulary at one scored position: p of the unsplit model, q behind the codec.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// KL(p || q) = sum p ln(p / q), nats.
    pub kl: f64,
    /// Whether both have the same most likely id, the first of equals.
    pub same_top: bool,
    /// Sum of min(p, q): the share of tokens drawn from q that speculative sampling would accept (Leviathan et al. 2023).
    pub acceptance: f64,
}

/// The divergence of two rows of logits of the same length, with what normalises each.
pub fn divergence(p: (&[f32], LogSumExp), q: (&[f32], LogSumExp)) -> Divergence {
    let first = |(logits, sum): (&[f32], LogSumExp)| logits.iter().position(|logit| *logit == sum.max());
    let (kl, acceptance) = dispatch!(sums(p, q));
    Divergence { kl, same_top: first(p) == first(q), acceptance }
}

/// Below this difference of log-probabilities the Taylor series of e^-d - 1 + d is more exact than exponentials of f32.
const SMALL: f64 = 0.25;

/// KL(p || q) and sum min(p, q), added in f64.
///
/// KL is added as sum p (e^-d - 1 + d) with d = ln p - ln q (as an estimator, Schulman's k3, 2020). It is the same
/// number, as sum p e^-d = sum q = 1, but no term is negative and a rounding error of the normalisers enters squared.
/// The plain sum of p d would lose a divergence of 1e-6 in them.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn sums<V>((p, p_sum): (&[f32], LogSumExp), (q, q_sum): (&[f32], LogSumExp)) -> (f64, f64) {
    let (p_ln, q_ln) = (p_sum.value(), q_sum.value());
    // Shares are e^(logit - max) times this: the exponentials of f32 see no number above zero, and their scale is f64.
    let (p_scale, q_scale) = ((f64::from(p_sum.max()) - p_ln).exp(), (f64::from(q_sum.max()) - q_ln).exp());
    let term = |p_logit: f32, q_logit: f32| {
        let p = f64::from(exp(p_logit - p_sum.max())) * p_scale;
        let q = f64::from(exp(q_logit - q_sum.max())) * q_scale;
        // A logit of -inf has no share, whatever the difference is.
        let d = ((f64::from(p_logit) - p_ln) - (f64::from(q_logit) - q_ln)).clamp(f64::MIN, f64::MAX);
        // Terms to d^7 / 7!: the next one is below 1e-7 of the sum.
        let series = 1.0 / 720.0 - d / 5040.0;
        let series = 1.0 / 120.0 - d * series;
        let series = 1.0 / 24.0 - d * series;
        let series = 1.0 / 6.0 - d * series;
        let series = p * d * d * (0.5 - d * series);
        // p e^-d is q, so the direct form takes no further exponential. Both forms are computed and one is chosen: a
        // branch would keep the loop out of vector registers.
        let direct = q - p + p * d;
        (if d.abs() < SMALL { series } else { direct }, if p < q { p } else { q })
    };
    let mut kl = [0f64; LANES];
    let mut acceptance = [0f64; LANES];
    let (p_chunks, q_chunks) = (p.chunks_exact(LANES), q.chunks_exact(LANES));
    let rest = p_chunks.remainder().iter().zip(q_chunks.remainder());
    for (p, q) in p_chunks.zip(q_chunks) {
        for lane in 0..LANES {
            let (one, shared) = term(p[lane], q[lane]);
            kl[lane] += one;
            acceptance[lane] += shared;
        }
    }
    // The last few go to the first lanes, so the order depends on the vocabulary's size alone.
    for (lane, (p, q)) in rest.enumerate() {
        let (one, shared) = term(*p, *q);
        kl[lane] += one;
        acceptance[lane] += shared;
    }
    (kl.iter().sum(), acceptance.iter().sum())
}
