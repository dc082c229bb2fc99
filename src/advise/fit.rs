//! Times against numbers of tokens, by least squares.

use anyhow::{Result, ensure};
use nalgebra::{DMatrix, DVector};

use super::profile::TimeFit;

/// The highest power of the tokens that a time may grow with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeGrowth {
    /// The same for any number.
    Constant,
    /// A product of weights with each token's row.
    Linear,
    /// Attention of each token to those before it too.
    Quadratic,
}

impl TimeFit {
    /// The fit to tokens and times, us, whose relative errors have the least squares, with no negative term: a negative one has
    /// no meaning, and would grow into nonsense beyond the samples. Fails without samples, and on a time that is not above 0.
    pub fn fit(samples: &[(f64, f64)], growth: TimeGrowth) -> Result<Self> {
        ensure!(!samples.is_empty(), "no time was measured");
        let is_time = |(tokens, us): &(f64, f64)| tokens.is_finite() && us.is_finite() && *us > 0.0;
        ensure!(samples.iter().all(is_time), "a measured time is none: {samples:?}");
        let terms = growth as u32 + 1;
        // The least squares under signs have some terms at 0 and are, in the others, least squares without signs. Of 3 terms
        // there are 7 choices; fewer terms come first, so that a further one must bring something.
        let mut masks: Vec<u32> = (1..1u32 << terms).collect();
        masks.sort_by_key(|mask| mask.count_ones());
        let mut best: Option<(f64, [f64; 3])> = None;
        for mask in masks {
            let powers: Vec<i32> = (0..3).filter(|power| mask & (1 << power) != 0).collect();
            if powers.len() > samples.len() {
                continue;
            }
            let Some(factors) = solve(samples, &powers) else { continue };
            if factors.iter().any(|factor| *factor < 0.0) {
                continue;
            }
            let mut all = [0.0; 3];
            powers.iter().zip(factors.iter()).for_each(|(power, factor)| all[*power as usize] = *factor);
            let squares: f64 = samples.iter().map(|sample| relative(all, *sample).powi(2)).sum();
            if best.is_none_or(|(least, _)| squares < least - 1e-12) {
                best = Some((squares, all));
            }
        }
        // A constant above 0 is always among them.
        let factors = best.map(|(_, factors)| factors).unwrap_or_default();
        let worst = samples.iter().map(|sample| relative(factors, *sample).abs()).fold(0.0, f64::max);
        let [fixed_us, per_token_us, per_token_squared_us] = factors;
        Ok(Self {
            fixed_us,
            per_token_us,
            per_token_squared_us,
            worst_residual: worst,
            samples: samples.to_vec(),
            ..Self::default()
        })
    }
}

/// (fitted - measured) / measured.
fn relative([fixed, linear, squared]: [f64; 3], (tokens, us): (f64, f64)) -> f64 {
    (fixed + tokens * (linear + tokens * squared)) / us - 1.0
}

/// Factors of some powers of the tokens; none where they cannot be told apart by these samples.
fn solve(samples: &[(f64, f64)], powers: &[i32]) -> Option<DVector<f64>> {
    let mut matrix = DMatrix::from_fn(samples.len(), powers.len(), |row, column| {
        samples[row].0.powi(powers[column]) / samples[row].1
    });
    let norms: Vec<f64> = matrix.column_iter().map(|column| column.norm()).collect();
    if norms.contains(&0.0) {
        return None;
    }
    norms.iter().enumerate().for_each(|(nth, norm)| matrix.column_mut(nth).unscale_mut(*norm));
    let decomposed = matrix.svd(true, true);
    if decomposed.singular_values.min() < 1e-9 {
        return None;
    }
    let mut factors = decomposed.solve(&DVector::from_element(samples.len(), 1.0), 0.0).ok()?;
    factors.iter_mut().zip(norms).for_each(|(factor, norm)| *factor /= norm);
    Some(factors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(time: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        [1.0, 8.0, 32.0, 128.0, 512.0].map(|n| (n, time(n))).to_vec()
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-6 * (1.0 + expected.abs()), "{found}, expected {expected}");
    }

    #[test]
    fn a_polynomial_comes_back() {
        let fit = TimeFit::fit(&samples(|n| 300.0 + 20.0 * n + 0.01 * n * n), TimeGrowth::Quadratic).unwrap();
        close(fit.fixed_us, 300.0);
        close(fit.per_token_us, 20.0);
        close(fit.per_token_squared_us, 0.01);
        close(fit.worst_residual, 0.0);
        assert_eq!(fit.samples.len(), 5);
        let line = TimeFit::fit(&samples(|n| 5.0 * n), TimeGrowth::Quadratic).unwrap();
        close(line.per_token_us, 5.0);
        assert_eq!((line.fixed_us, line.per_token_squared_us), (0.0, 0.0));
    }

    #[test]
    fn no_term_is_negative_and_what_is_missed_is_said() {
        // A square root bends down.
        let times = samples(|n| 100.0 * n.sqrt());
        let fit = TimeFit::fit(&times, TimeGrowth::Quadratic).unwrap();
        assert!(fit.fixed_us >= 0.0 && fit.per_token_us > 0.0 && fit.per_token_squared_us == 0.0, "{fit:?}");
        let worst = times.iter().map(|(n, us)| (1e6 * fit.seconds(*n) / us - 1.0).abs()).fold(0.0, f64::max);
        close(fit.worst_residual, worst);
        assert!(worst > 0.1);
        // Nothing near has smaller squares of relative errors.
        let squares = |fixed: f64, linear: f64| -> f64 {
            times.iter().map(|sample| relative([fixed, linear, 0.0], *sample).powi(2)).sum()
        };
        let least = squares(fit.fixed_us, fit.per_token_us);
        for (more, less) in [(1.01, 1.0), (0.99, 1.0), (1.0, 1.01), (1.0, 0.99)] {
            assert!(squares(fit.fixed_us * more, fit.per_token_us * less) > least);
        }
        // Times that fall are constant.
        let fit = TimeFit::fit(&samples(|n| 100.0 - 0.1 * n), TimeGrowth::Linear).unwrap();
        assert!(fit.per_token_us == 0.0 && fit.fixed_us > 40.0 && fit.fixed_us < 100.0, "{fit:?}");
    }

    #[test]
    fn few_samples_have_few_terms_and_none_are_refused() {
        let one = TimeFit::fit(&[(16.0, 50.0)], TimeGrowth::Quadratic).unwrap();
        close(one.fixed_us, 50.0);
        assert_eq!(one.per_token_us, 0.0);
        let constant = TimeFit::fit(&[(1.0, 10.0), (2.0, 10.0)], TimeGrowth::Constant).unwrap();
        close(constant.fixed_us, 10.0);
        for wrong in [vec![], vec![(1.0, 0.0)], vec![(1.0, f64::NAN)]] {
            assert!(TimeFit::fit(&wrong, TimeGrowth::Linear).is_err(), "{wrong:?}");
        }
    }
}
