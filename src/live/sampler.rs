//! Which token comes next.

use anyhow::{Result, bail, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::model::LogSumExp;

/// How the next token is chosen from the logits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// What logits are divided by; 0 takes the most likely token.
    pub temperature: f32,
    /// Probability that the most likely tokens have together, to which the choice is confined; 1 confines it to none.
    pub top_p: f32,
    /// Decides the random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    /// The most likely token.
    fn default() -> Self {
        Self { temperature: 0.0, top_p: 1.0, seed: 0 }
    }
}

/// A token that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// Its id.
    pub id: u32,
    /// Its log-probability under the model's own distribution, nats: at temperature 1, over all tokens.
    pub log_probability: f64,
}

/// Chooses tokens. It has no state: the random number of a position depends on the seed and the position alone, so that a
/// session that is rolled back or resumed draws the same token again.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
}

impl Sampler {
    /// Fails where the temperature is negative or not finite, and where top_p is not above 0 and at most 1.
    pub fn new(sampling: Sampling) -> Result<Self> {
        let Sampling { temperature, top_p, seed } = sampling;
        ensure!(
            temperature.is_finite() && temperature >= 0.0,
            "temperature is a finite number of at least 0, got {temperature}"
        );
        ensure!(top_p > 0.0 && top_p <= 1.0, "top_p is a number above 0 and at most 1, got {top_p}");
        Ok(Self { sampling, random: ChaCha8Rng::seed_from_u64(seed) })
    }

    /// The token at `position` of the sequence. Fails where a logit is not finite.
    pub fn sample(&self, logits: &[f32], position: u64) -> Result<Choice> {
        ensure!(!logits.is_empty(), "position {position}: the model gave no logits");
        if let Some(id) = logits.iter().position(|logit| !logit.is_finite()) {
            bail!("position {position}: the logit of token {id} is {}, not a finite number", logits[id]);
        }
        let id = if self.sampling.temperature == 0.0 { largest(logits) } else { self.draw(logits, position) };
        Ok(Choice { id, log_probability: LogSumExp::new(logits).log_probability(logits[id as usize]) })
    }

    fn draw(&self, logits: &[f32], position: u64) -> u32 {
        let weights = self.weights(logits);
        let mut random = self.random.clone();
        random.set_stream(position);
        let (target, mut sum) = (random.random::<f64>() * total(&weights), 0.0);
        let reaches = |(_, weight): &&(u32, f64)| {
            sum += weight;
            sum > target
        };
        // Rounding may lift the target to the sum of all.
        weights.iter().find(reaches).map_or_else(|| largest(logits), |(id, _)| *id)
    }

    /// The tokens that may be drawn, and weights that their probabilities are proportional to.
    ///
    /// As in transformers, logits are divided by the temperature first, and then the least set of most likely tokens is
    /// kept that has top_p together: the token that crosses top_p is kept. llama.cpp keeps the same set of the same
    /// probabilities, but by default divides by the temperature afterwards. Of equal tokens the first is kept.
    fn weights(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let (temperature, top_p) = (f64::from(self.sampling.temperature), f64::from(self.sampling.top_p));
        let max = f64::from(logits[largest(logits) as usize]);
        let weigh = |(id, logit): (usize, &f32)| (id as u32, ((f64::from(*logit) - max) / temperature).exp());
        let mut weights: Vec<(u32, f64)> = logits.iter().enumerate().map(weigh).collect();
        if top_p == 1.0 {
            return weights;
        }
        let total = total(&weights);
        // Tokens below this have less than 1 - top_p together: without them hundreds are sorted in place of a vocabulary.
        let least = total * (1.0 - top_p) / logits.len() as f64;
        weights.retain(|(_, weight)| *weight >= least);
        weights.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let mut sum = 0.0;
        let crosses = |(_, weight): &(u32, f64)| {
            sum += weight;
            sum >= top_p * total
        };
        let last = weights.iter().position(crosses).unwrap_or(weights.len() - 1);
        weights.truncate(last + 1);
        weights
    }
}

/// The id of the largest logit, the first of equals.
fn largest(logits: &[f32]) -> u32 {
    let better = |best: usize, id: usize| if logits[id] > logits[best] { id } else { best };
    (0..logits.len()).fold(0, better) as u32
}

fn total(weights: &[(u32, f64)]) -> f64 {
    weights.iter().map(|(_, weight)| weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{ChiSquared, ContinuousCDF};

    fn sampler(temperature: f32, top_p: f32, seed: u64) -> Sampler {
        Sampler::new(Sampling { temperature, top_p, seed }).unwrap()
    }

    /// One probability for each token, 0 for those that are not kept.
    fn probabilities(sampler: &Sampler, logits: &[f32]) -> Vec<f64> {
        let weights = sampler.weights(logits);
        let mut out = vec![0.0; logits.len()];
        weights.iter().for_each(|(id, weight)| out[*id as usize] = weight / total(&weights));
        out
    }

    fn logits_of(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    #[track_caller]
    fn assert_near(got: &[f64], want: &[f64], bound: f64) {
        assert_eq!(got.len(), want.len());
        for (id, (got, want)) in got.iter().zip(want).enumerate() {
            assert!((got - want).abs() <= bound && (*want > 0.0 || *got == 0.0), "token {id}: {got}, expected {want}");
        }
    }

    #[test]
    fn temperature_and_top_p_by_hand() {
        let logits = logits_of(&[0.1, 0.4, 0.2, 0.3]);
        for (temperature, top_p, expected) in [
            (1.0, 1.0, [0.1, 0.4, 0.2, 0.3]),
            // Squares: 1, 16, 4 and 9 of 30. Roots.
            (0.5, 1.0, [1.0 / 30.0, 16.0 / 30.0, 4.0 / 30.0, 9.0 / 30.0]),
            (2.0, 1.0, [0.1627005, 0.3254009, 0.2300932, 0.2818054]),
            // The token that crosses is kept: 0.4, then 0.7 of which 0.3 crosses 0.5, then 0.9.
            (1.0, 0.3, [0.0, 1.0, 0.0, 0.0]),
            (1.0, 0.5, [0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]),
            (1.0, 0.8, [0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0]),
            (1.0, 0.95, [0.1, 0.4, 0.2, 0.3]),
            // The temperature comes first: 16 of 30 is more than a half.
            (0.5, 0.5, [0.0, 1.0, 0.0, 0.0]),
            (1e-9, 1.0, [0.0, 1.0, 0.0, 0.0]),
            (1.0, 1e-9, [0.0, 1.0, 0.0, 0.0]),
        ] {
            assert_near(&probabilities(&sampler(temperature, top_p, 0), &logits), &expected, 1e-6);
        }
        // A token that reaches top_p exactly is the last; of equals the first are kept.
        assert_near(&probabilities(&sampler(1.0, 0.5, 0), &[2.0; 4]), &[0.5, 0.5, 0.0, 0.0], 1e-15);
    }

    #[test]
    fn greedy_takes_the_largest_and_the_first_of_equals() {
        let greedy = sampler(0.0, 0.5, 3);
        let logits = [1.0, 3.0, -2.0, 3.0];
        let choice = greedy.sample(&logits, 7).unwrap();
        assert_eq!(choice.id, 1);
        assert_eq!(choice.log_probability, LogSumExp::new(&logits).log_probability(3.0));
        assert_eq!(greedy.sample(&[-0.0, 0.0], 0).unwrap().id, 0);
    }

    #[test]
    fn the_log_probability_is_the_models_own() {
        let logits = logits_of(&[0.1, 0.4, 0.2, 0.3]);
        for position in 0..50 {
            let choice = sampler(0.3, 0.6, 1).sample(&logits, position).unwrap();
            let own = [0.1f64, 0.4, 0.2, 0.3][choice.id as usize].ln();
            assert!((choice.log_probability - own).abs() < 1e-6, "{choice:?}");
        }
    }

    #[test]
    fn a_draw_depends_on_seed_and_position_alone() {
        let logits: Vec<f32> = (0..500).map(|i| (i as f32 * 0.7).sin()).collect();
        let draws = |seed: u64, positions: &mut dyn Iterator<Item = u64>| -> Vec<u32> {
            let sampler = sampler(1.0, 0.9, seed);
            positions.map(|position| sampler.sample(&logits, position).unwrap().id).collect()
        };
        let forth = draws(5, &mut (0..40));
        let mut back = draws(5, &mut (0..40).rev());
        back.reverse();
        assert_eq!(forth, back);
        assert_ne!(forth, draws(6, &mut (0..40)));
        let different: std::collections::HashSet<u32> = forth.iter().copied().collect();
        assert!(different.len() > 25, "{} tokens at 40 positions", different.len());
        // What a resumed session of a later version must draw as well.
        assert_eq!(forth[..6], [218, 307, 80, 426, 413, 317]);
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.5f32, -1.0, 2.0, 0.0, 1.5, -3.0, 1.0, 0.25];
        for (temperature, top_p) in [(1.0, 1.0), (0.6, 1.0), (1.7, 0.9), (1.0, 0.8)] {
            let (sampler, draws) = (sampler(temperature, top_p, 11), 40_000);
            let expected = probabilities(&sampler, &logits);
            let mut counts = [0u32; 8];
            (0..draws).for_each(|position| counts[sampler.sample(&logits, position).unwrap().id as usize] += 1);
            let mut chi_square = 0.0;
            for (count, p) in counts.iter().zip(&expected) {
                assert!(*p > 0.0 || *count == 0, "a token was drawn that is not kept");
                let mean = p * draws as f64;
                chi_square += if *p > 0.0 { (f64::from(*count) - mean).powi(2) / mean } else { 0.0 };
            }
            let freedom = expected.iter().filter(|p| **p > 0.0).count() as f64 - 1.0;
            let chance = 1.0 - ChiSquared::new(freedom).unwrap().cdf(chi_square);
            assert!(
                chance > 0.01,
                "temperature {temperature}, top_p {top_p}: chi-square {chi_square}, chance {chance}"
            );
        }
    }

    #[derive(Deserialize)]
    struct Reference {
        logits: Vec<Vec<f32>>,
        cases: Vec<ReferenceCase>,
    }

    #[derive(Deserialize)]
    struct ReferenceCase {
        logits: usize,
        temperature: f32,
        top_p: f32,
        /// Ids that are kept, and their probabilities.
        kept: Vec<(usize, f64)>,
    }

    #[test]
    fn distributions_are_those_of_numpy() {
        let reference: Reference = serde_json::from_str(include_str!("../../tests/reference/sampling.json")).unwrap();
        assert!(reference.cases.len() > 20);
        for case in reference.cases {
            let logits = &reference.logits[case.logits];
            let mut expected = vec![0.0; logits.len()];
            case.kept.iter().for_each(|(id, p)| expected[*id] = *p);
            assert_near(&probabilities(&sampler(case.temperature, case.top_p, 0), logits), &expected, 1e-12);
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for (temperature, top_p, named) in [
            (-0.1, 1.0, "temperature"),
            (f32::NAN, 1.0, "temperature"),
            (f32::INFINITY, 1.0, "temperature"),
            (1.0, 0.0, "top_p"),
            (1.0, 1.1, "top_p"),
            (1.0, f32::NAN, "top_p"),
        ] {
            let error = Sampler::new(Sampling { temperature, top_p, seed: 0 }).unwrap_err().to_string();
            assert!(error.starts_with(named), "{error}");
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = sampler(0.0, 1.0, 0).sample(&[0.0, bad], 9).unwrap_err().to_string();
            assert!(error.contains("position 9") && error.contains("token 1"), "{error}");
        }
        assert!(sampler(0.0, 1.0, 0).sample(&[], 0).is_err());
        assert!(serde_json::from_str::<Sampling>(r#"{"topp": 1}"#).is_err());
        assert_eq!(serde_json::from_str::<Sampling>("{}").unwrap(), Sampling::default());
    }
}
