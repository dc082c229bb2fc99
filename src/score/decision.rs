//! Whether a measured value keeps a limit, as far as the sample can tell.

use statrs::distribution::{ContinuousCDF, StudentsT};

use serde::{Serialize, Serializer};

use super::fidelity::RatioEstimate;
use super::loss_interval::{loss_distance, loss_interval_at};

/// Each end of an interval is the one-sided bound of this confidence.
pub const CONFIDENCE: f64 = 0.95;

/// The normal distribution's quantile of it.
const NORMAL: f64 = 1.6448536269514722;

/// What came of a limit.
#[derive(Debug, Clone, Copy, PartialEq, strum::Display)]
pub enum Verdict {
    /// The whole interval keeps it.
    #[strum(serialize = "passed")]
    Passed,
    /// No part of the interval keeps it, or something measured is not a number.
    #[strum(serialize = "FAILED")]
    Failed,
    /// The interval reaches to both sides.
    #[strum(serialize = "cannot tell")]
    CannotTell,
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A measured value beside its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// As measured.
    pub value: f64,
    /// Its interval; none where the sample gives no standard error.
    pub interval: Option<[f64; 2]>,
    /// What it says.
    pub verdict: Verdict,
    /// How many times the sample would do if the value stayed, by the standard error's 1 / sqrt(n). None where the sample does, or no
    /// size would: the value is the limit.
    pub times: Option<f64>,
}

impl Decision {
    /// `keeps` and `breaks` say so of the interval; `times` is the size of the sample that would do over the size it has.
    fn new(value: f64, interval: [f64; 2], [keeps, breaks]: [bool; 2], times: f64) -> Self {
        let finite = value.is_finite() && interval.iter().all(|end| end.is_finite());
        let verdict = match (finite, keeps, breaks) {
            (true, true, _) => Verdict::Passed,
            (true, false, false) => Verdict::CannotTell,
            _ => Verdict::Failed,
        };
        // Rounding may leave an undecided sample within a hair of enough.
        let times = (verdict == Verdict::CannotTell && times.is_finite()).then_some(times.max(1.0));
        Self { value, interval: Some(interval), verdict, times }
    }

    /// One cluster: nothing says how far another would be from it.
    fn unknown(value: f64) -> Self {
        let verdict = if value.is_finite() { Verdict::CannotTell } else { Verdict::Failed };
        Self { value, interval: None, verdict, times: None }
    }
}

/// A mean over clusters that is to be at most `limit`: Student's t.
pub fn mean_at_most(mean: RatioEstimate, clusters: usize, limit: f64) -> Decision {
    let RatioEstimate { value, stderr: Some(stderr) } = mean else { return Decision::unknown(mean.value) };
    if clusters < 2 {
        return Decision::unknown(value);
    }
    let half = student_quantile(CONFIDENCE, clusters - 1) * stderr;
    let [low, high] = [value - half, value + half];
    Decision::new(value, [low, high], [high <= limit, low > limit], (half / (limit - value)).powi(2))
}

/// A share of positions that come in clusters.
#[derive(Debug, Clone, Copy)]
pub struct ShareEstimate {
    /// The share, 0..=1, and its standard error over clusters.
    pub estimate: RatioEstimate,
    /// Positions.
    pub positions: u64,
    /// Clusters.
    pub clusters: usize,
    /// Sequences of a cluster, which are much alike.
    pub alike: f64,
}

/// A share that is to be at least `limit`: Wilson's interval of as many independent positions as the error over clusters speaks of,
/// with Student's t. It is no point where all positions agree.
pub fn share_at_least(share: ShareEstimate, limit: f64) -> Decision {
    let ShareEstimate { estimate: RatioEstimate { value: p, stderr }, positions, clusters, alike } = share;
    let Some(stderr) = stderr.filter(|_| clusters > 1) else { return Decision::unknown(p) };
    let n = positions as f64;
    let binomial = p * (1.0 - p) / n;
    // By how much the clusters' variance is above that of independent positions. Where nothing varies, and where it looks smaller by
    // chance, sequences of one cluster count as one.
    let effect = if binomial > 0.0 { (stderr * stderr / binomial).max(alike) } else { alike };
    let n = n / effect;
    let q = student_quantile(CONFIDENCE, clusters - 1);
    let square = q * q / n;
    let center = (p + square / 2.0) / (1.0 + square);
    let half = (q / (1.0 + square)) * (p * (1.0 - p) / n + square / (4.0 * n)).sqrt();
    let [low, high] = [(center - half).max(0.0), (center + half).min(1.0)];
    // The interval ends at the limit where p is q standard errors under it away.
    let enough = q * q * limit * (1.0 - limit) / (p - limit).powi(2);
    Decision::new(p, [low, high], [low >= limit, high < limit], enough / n)
}

/// The share of questions lost and not regained, which is to be at most `limit`: Tango's interval.
pub fn loss_at_most(lost: u64, gained: u64, questions: u64, limit: f64) -> Decision {
    let value = (lost as f64 - gained as f64) / questions as f64;
    let [low, high] = loss_interval_at(NORMAL, lost, gained, questions);
    let times = (NORMAL / loss_distance(lost, gained, questions, limit)).powi(2);
    Decision::new(value, [low, high], [high <= limit, low > limit], times)
}

/// The quantile of Student's t at a probability, with one degree of freedom at least.
pub fn student_quantile(probability: f64, freedom: usize) -> f64 {
    // The search for it does not end for the largest, which are the normal distribution to all digits.
    let freedom = freedom.clamp(1, 1 << 40);
    StudentsT::new(0.0, 1.0, freedom as f64).expect("degrees of freedom are positive").inverse_cdf(probability)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(value: f64, stderr: f64) -> RatioEstimate {
        RatioEstimate { value, stderr: Some(stderr) }
    }

    /// Tables of Student's t, one-sided 95 %.
    #[test]
    fn quantiles_are_those_of_tables() {
        for (freedom, expected) in [
            (1, 6.3138),
            (2, 2.9200),
            (3, 2.3534),
            (4, 2.1318),
            (5, 2.0150),
            (10, 1.8125),
            (29, 1.6991),
            (30, 1.6973),
            (120, 1.6577),
            (4999, 1.6452),
            (1_000_000, 1.6449),
        ] {
            let found = student_quantile(CONFIDENCE, freedom);
            assert!((found - expected).abs() < 6e-5, "{freedom}: {found}");
        }
    }

    #[test]
    fn a_mean_has_three_outcomes_and_says_how_many_would_do() {
        let decide = |value, stderr| mean_at_most(estimate(value, stderr), 31, 0.01);
        assert_eq!(decide(0.005, 0.001).verdict, Verdict::Passed);
        assert_eq!(decide(0.02, 0.001).verdict, Verdict::Failed);
        let unsure = decide(0.009, 0.002);
        assert_eq!(unsure.verdict, Verdict::CannotTell);
        let [low, high] = unsure.interval.unwrap();
        assert!((high - (0.009 + 1.69726 * 0.002)).abs() < 1e-7 && (high + low - 0.018).abs() < 1e-12);
        // With so many times the sample, and the same quantile, the interval ends at the limit.
        let shrunk = 1.69726 * 0.002 / unsure.times.unwrap().sqrt();
        assert!((shrunk - 0.001).abs() < 1e-6, "{shrunk}");
        // A value that is the limit: no sample would do, but one that never varies does.
        assert_eq!((decide(0.01, 0.002).verdict, decide(0.01, 0.002).times), (Verdict::CannotTell, None));
        assert_eq!(decide(0.01, 0.0).verdict, Verdict::Passed);
        let one = mean_at_most(RatioEstimate { value: 0.0, stderr: None }, 1, 0.01);
        assert_eq!((one.verdict, one.interval), (Verdict::CannotTell, None));
    }

    #[test]
    fn a_number_that_is_none_never_passes() {
        for (value, stderr) in [(f64::NAN, 0.1), (0.0, f64::NAN), (f64::NEG_INFINITY, 0.1), (f64::NAN, f64::NAN)] {
            let share = |limit| {
                let share =
                    ShareEstimate { estimate: estimate(value, stderr), positions: 900, clusters: 9, alike: 1.0 };
                share_at_least(share, limit).verdict
            };
            assert_eq!(mean_at_most(estimate(value, stderr), 31, 1e9).verdict, Verdict::Failed);
            assert_ne!(share(0.5), Verdict::Passed);
            assert!(value.is_finite() || share(0.0) == Verdict::Failed);
        }
        let one = RatioEstimate { value: f64::NAN, stderr: None };
        assert_eq!(mean_at_most(one, 1, 0.01).verdict, Verdict::Failed);
    }

    fn share(value: f64, stderr: f64, positions: u64, clusters: usize, alike: f64, limit: f64) -> Decision {
        share_at_least(ShareEstimate { estimate: estimate(value, stderr), positions, clusters, alike }, limit)
    }

    #[test]
    fn a_share_without_a_miss_is_still_no_certainty() {
        // Wilson's lower end for n of n is n / (n + q^2).
        let low =
            |positions: u64, clusters, alike| share(1.0, 0.0, positions, clusters, alike, 0.98).interval.unwrap()[0];
        assert!((low(900, 10, 1.0) - 900.0 / (900.0 + 1.83311f64.powi(2))).abs() < 1e-6);
        assert!((low(900, 10, 4.0) - 225.0 / (225.0 + 1.83311f64.powi(2))).abs() < 1e-6);
        assert_eq!(share(1.0, 0.0, 900, 10, 1.0, 0.98).verdict, Verdict::Passed);
        let few = share(1.0, 0.0, 12, 3, 1.0, 0.98);
        assert_eq!(few.verdict, Verdict::CannotTell);
        // So many more of the same would do, by the quantile of three clusters.
        let positions = (12.0 * few.times.unwrap() * 1.001).ceil() as u64;
        assert_eq!(share(1.0, 0.0, positions, 3, 1.0, 0.98).verdict, Verdict::Passed);
        assert_eq!(share(1.0, 0.0, (positions as f64 * 0.99) as u64, 3, 1.0, 0.98).verdict, Verdict::CannotTell);
        assert_eq!(share(0.9, 0.003, 10_000, 40, 1.0, 0.98).verdict, Verdict::Failed);
        assert_eq!(
            (share(1.0, 0.0, 900, 10, 1.0, 1.0).verdict, share(1.0, 0.0, 900, 10, 1.0, 1.0).times),
            (Verdict::CannotTell, None)
        );
    }

    #[test]
    fn positions_of_a_cluster_that_go_together_count_for_less() {
        let binomial = (0.95f64 * 0.05 / 100_000.0).sqrt();
        let width = |stderr| {
            let [low, high] = share(0.95, stderr, 100_000, 50, 1.0, 0.9).interval.unwrap();
            high - low
        };
        let ratio = width(4.0 * binomial) / width(binomial);
        assert!((ratio - 4.0).abs() < 0.02, "{ratio}");
        // A variance below chance is no evidence of a better sample.
        assert_eq!(width(0.0), width(binomial));
    }

    #[test]
    fn a_loss_has_tango_s_interval() {
        assert_eq!(loss_at_most(1, 2, 4000, 0.003).verdict, Verdict::Passed);
        assert_eq!(loss_at_most(80, 2, 1000, 0.003).verdict, Verdict::Failed);
        let unsure = loss_at_most(0, 0, 100, 0.003);
        assert_eq!(unsure.verdict, Verdict::CannotTell);
        let questions = 100.0 * unsure.times.unwrap();
        assert_eq!(loss_at_most(0, 0, (questions * 1.01) as u64, 0.003).verdict, Verdict::Passed);
        assert_eq!(loss_at_most(0, 0, (questions * 0.99) as u64, 0.003).verdict, Verdict::CannotTell);
        assert_eq!(loss_at_most(0, 0, 100, 0.0).times, None);
    }
}
