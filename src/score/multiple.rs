//! Many tests at once, and how small a loss a test can see.

/// p-values corrected for their number by Holm's step-down (Scandinavian Journal of Statistics 6, 1979): that any of those below a
/// level is by chance has at most the level's probability.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut out = vec![0.0; p.len()];
    let mut largest: f64 = 0.0;
    for (rank, &at) in order.iter().enumerate() {
        largest = largest.max(p[at] * (p.len() - rank) as f64).min(1.0);
        out[at] = largest;
    }
    out
}

/// Quantiles of the normal distribution for a two-sided test at 5 % and for a power of 80 %.
const QUANTILES: [f64; 2] = [1.959963984540054, 0.8416212335729143];

/// The smallest share of questions lost on balance that McNemar's test at 5 %, two-sided, sees with a probability of 80 % where
/// `changed` answers of `questions` change (Connor, Biometrics 43, 1987); a loss itself changes as many. None where no loss is seen.
pub fn smallest_loss_seen(changed: u64, questions: u64) -> Option<f64> {
    let [level, power] = QUANTILES;
    let needed = |loss: f64| {
        let share = (changed as f64 / questions as f64).max(loss);
        ((level * share.sqrt() + power * (share - loss * loss).sqrt()) / loss).powi(2)
    };
    // The number of questions needed falls as the loss grows.
    let (mut low, mut high) = (0.0, 1.0);
    if needed(high) > questions as f64 {
        return None;
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if needed(middle) > questions as f64 { low = middle } else { high = middle }
    }
    Some(high)
}

/// The same of a mean with this standard error, which is taken as normal.
pub fn smallest_mean_seen(stderr: f64) -> f64 {
    QUANTILES.iter().sum::<f64>() * stderr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Reference {
        holm: Vec<[Vec<f64>; 2]>,
        smallest_loss_seen: Vec<(u64, u64, f64)>,
    }

    /// `tests/reference/multiple.py`: R's definition of Holm, and Connor's equation solved by SciPy.
    #[test]
    fn as_the_reference() {
        let reference: Reference = serde_json::from_str(include_str!("../../tests/reference/multiple.json")).unwrap();
        for [p, expected] in reference.holm {
            for (found, expected) in holm(&p).iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "{p:?}");
            }
        }
        for (changed, questions, expected) in reference.smallest_loss_seen {
            let found = smallest_loss_seen(changed, questions).unwrap();
            assert!((found - expected).abs() < 1e-9, "{changed} of {questions}: {found}, {expected}");
        }
        assert_eq!(smallest_loss_seen(0, 3), None);
        assert!(holm(&[]).is_empty());
    }

    /// The exact test rejects a little less often than the formula says: 0.7748 by summing over all outcomes (multiple.py). Four
    /// standard errors of 4,000 simulated runs are 0.026.
    #[test]
    fn the_loss_is_seen_as_often_as_promised() {
        use rand::{Rng, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let (changed, questions) = (60u64, 400u64);
        let loss = smallest_loss_seen(changed, questions).unwrap();
        let share = changed as f64 / questions as f64;
        let lost_share = 0.5 * (share + loss);
        let mut seen = 0;
        for _ in 0..4000 {
            let (mut lost, mut gained) = (0, 0);
            for _ in 0..questions {
                let draw: f64 = random.random();
                lost += u64::from(draw < lost_share);
                gained += u64::from(draw >= lost_share && draw < share);
            }
            seen += u32::from(crate::score::mcnemar_exact(lost, gained) < 0.05);
        }
        let power = f64::from(seen) / 4000.0;
        assert!((power - 0.7748).abs() < 0.026, "{power}");
    }
}
