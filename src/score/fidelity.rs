//! How far the next-token distribution behind a codec is from the unsplit model's: a finer measure than accuracy.

use serde::Serialize;

use super::loglik::{LANES, LogSumExp};
use crate::exp::exp;
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
/// KL is added as sum p (e^-d - 1 + d) with d = ln p - ln q: the same number, as sum p e^-d = sum q = 1, but no term is negative
/// and a rounding error of the normalisers enters squared. The plain sum of p d would lose a divergence of 1e-6 in them.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "`dispatch` compiles it once for each")]
fn sums<V>((p, p_sum): (&[f32], LogSumExp), (q, q_sum): (&[f32], LogSumExp)) -> (f64, f64) {
    let (p_ln, q_ln) = (p_sum.value(), q_sum.value());
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
    for (lane, (p, q)) in rest.enumerate() {
        let (one, shared) = term(*p, *q);
        kl[lane] += one;
        acceptance[lane] += shared;
    }
    (kl.iter().sum(), acceptance.iter().sum())
}

/// What the scored positions of one question, or of one window of text, come to in a cell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PositionFidelity {
    /// KL of each position, nats.
    pub kl: Vec<f32>,
    /// Positions with the unsplit model's most likely id.
    pub same_top: usize,
    /// Sum over positions of the expected acceptance.
    pub acceptance: f64,
}

impl PositionFidelity {
    /// Adds a position.
    pub fn push(&mut self, one: &Divergence) {
        self.kl.push(one.kl as f32);
        self.same_top += usize::from(one.same_top);
        self.acceptance += one.acceptance;
    }
}

/// How near a cell stays to the unsplit model, over all scored positions of its questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fidelity {
    /// Scored positions.
    pub positions: u64,
    /// Mean KL(unsplit || codec) a position, nats.
    pub kl_mean: f64,
    /// Its standard error over questions; empty for fewer than two.
    pub kl_stderr: Option<f64>,
    /// Median over positions.
    pub kl_median: f64,
    /// 90th percentile.
    pub kl_p90: f64,
    /// 99th percentile.
    pub kl_p99: f64,
    /// Largest.
    pub kl_max: f64,
    /// Share of positions with the unsplit model's most likely id, 0..=1.
    pub top1: f64,
    /// Its standard error over questions.
    pub top1_stderr: Option<f64>,
    /// Mean of sum min(p, q), 0..=1.
    pub acceptance: f64,
}

/// Over the positions of some questions; none without positions.
pub fn fidelity(questions: &[PositionFidelity]) -> Option<Fidelity> {
    let mut kl: Vec<f64> = questions.iter().flat_map(|q| &q.kl).map(|kl| f64::from(*kl)).collect();
    if kl.is_empty() {
        return None;
    }
    let sums = |f: &dyn Fn(&PositionFidelity) -> f64| -> Vec<(f64, f64)> {
        questions.iter().map(|q| (f(q), q.kl.len() as f64)).collect()
    };
    let of_kl = RatioEstimate::new(&sums(&|q| q.kl.iter().map(|kl| f64::from(*kl)).sum()))?;
    let of_top = RatioEstimate::new(&sums(&|q| q.same_top as f64))?;
    kl.sort_by(f64::total_cmp);
    Some(Fidelity {
        positions: kl.len() as u64,
        kl_mean: of_kl.value,
        kl_stderr: of_kl.stderr,
        kl_median: percentile(&kl, 0.5),
        kl_p90: percentile(&kl, 0.9),
        kl_p99: percentile(&kl, 0.99),
        kl_max: kl[kl.len() - 1],
        top1: of_top.value,
        top1_stderr: of_top.stderr,
        acceptance: questions.iter().map(|q| q.acceptance).sum::<f64>() / kl.len() as f64,
    })
}

/// A sum over clusters divided by the number of what was summed, as a mean over positions that come in questions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioEstimate {
    /// The mean.
    pub value: f64,
    /// Its standard error over clusters, by linearisation (Cochran, Sampling Techniques, 6.4); empty for fewer than two.
    pub stderr: Option<f64>,
}

impl RatioEstimate {
    /// Of (sum, count) of each cluster; none without counts.
    pub fn new(clusters: &[(f64, f64)]) -> Option<Self> {
        let (sum, count) = clusters.iter().fold((0.0, 0.0), |(sum, count), (s, c)| (sum + s, count + c));
        if count == 0.0 {
            return None;
        }
        let value = sum / count;
        let n = clusters.len() as f64;
        let squares: f64 = clusters.iter().map(|(s, c)| (s - value * c).powi(2)).sum();
        let stderr = (clusters.len() > 1).then(|| (n / (n - 1.0) * squares).sqrt() / count);
        Some(Self { value, stderr })
    }
}

/// Of sorted values: linear between the two nearest, as NumPy's default.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    if low == high { sorted[low] } else { sorted[low] + (place - low as f64) * (sorted[high] - sorted[low]) }
}

#[cfg(test)]
#[path = "fidelity_tests.rs"]
mod tests;
