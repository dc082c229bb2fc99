//! How far the next-token distribution behind a codec is from the unsplit model's: a finer measure than accuracy.

use serde::{Deserialize, Serialize};

use crate::exact;
use crate::model::Divergence;

/// What the scored positions of one question, or of one window of text, come to in a cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PositionFidelity {
    /// KL of each position, nats.
    #[serde(with = "exact::list")]
    pub kl: Vec<f32>,
    /// Positions with the unsplit model's most likely id.
    pub same_top: usize,
    /// Sum over positions of the expected acceptance.
    #[serde(with = "exact::number")]
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

/// Of sorted values, at least one: linear between the two nearest, as NumPy's default.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    if low == high { sorted[low] } else { sorted[low] + (place - low as f64) * (sorted[high] - sorted[low]) }
}

#[cfg(test)]
#[path = "fidelity_tests.rs"]
mod tests;
