//! What the parts of a model take on this machine, as a live session runs them.

use anyhow::{Result, ensure};

use super::fit::TimeGrowth;
use super::profile::{PartFit, TimeFit};
use crate::clock::{median, timed, wall_seconds};
use crate::live::sampler::{Sampler, Sampling};
use crate::model::source::Model;
use crate::model::split::to_values;
use crate::model::{Cache, Decoder, in_pool};
use crate::progress;

/// Tokens of prompts; one is a step.
const PROMPTS: [usize; 5] = [1, 8, 32, 128, 512];

/// Tokens before a step.
const BEFORE_STEPS: [usize; 3] = [16, 128, 512];

/// Fewest timed passes of a size.
const LEAST_PASSES: usize = 3;

/// Most of them; odd, so that the median is one.
const MOST_PASSES: usize = 21;

/// After so long there is no further pass.
const ENOUGH_S: f64 = 2.0;

/// The parts of a model, fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelTimes {
    /// The embedding.
    pub embedding: PartFit,
    /// One layer, the mean of all.
    pub layer: PartFit,
    /// Standard deviation over mean of the layers' times for the longest prompt.
    pub layer_spread: f64,
    /// Final norm, head and the choice of a token, of one row.
    pub head: PartFit,
}

impl ModelTimes {
    /// Measures a model on rayon's pool, with token ids of a text. Every pass goes through embedding, all layers in order and head,
    /// each timed within it: a layer that is timed alone again and again would find its weights in the cache.
    pub fn measure(model: &Model, text: &[u32]) -> Result<Self> {
        ensure!(!text.is_empty(), "no token to measure with");
        let decoder = model.decoder()?;
        let most = decoder.most_tokens();
        let within = |sizes: &[usize], most: usize| {
            let mut sizes: Vec<usize> = sizes.iter().map(|size| (*size).min(most)).filter(|size| *size > 0).collect();
            sizes.dedup();
            sizes
        };
        let prompts = within(&PROMPTS, most);
        // A step needs room after them.
        let steps = within(&BEFORE_STEPS, most - 1);
        let longest = prompts.last().copied().unwrap_or(1);
        let room = (longest + 1).min(most);
        let ids: Vec<u32> = text.iter().copied().cycle().take(room).collect();
        let layers = decoder.config().num_hidden_layers;
        let mut bench = PassBench {
            decoder,
            caches: (0..layers).map(|layer| Cache::new(decoder.config(), layer..layer + 1, room)).collect(),
            sampler: Sampler::new(Sampling::default())?,
        };
        let (mut prompt, mut step) = (PartSamples::default(), PartSamples::default());
        let mut spread = 0.0;
        for &tokens in &prompts {
            let _activity = progress::begin(format!("{}: prompts of {tokens} tokens", model.title));
            let times = in_pool(|| bench.median(&ids[..tokens], 0))?;
            spread = times.spread();
            prompt.push(tokens, &times);
        }
        // The caches have the longest prompt now: steps go from the last to the first.
        for &before in steps.iter().rev() {
            let _activity = progress::begin(format!("{}: steps after {before} tokens", model.title));
            let times = in_pool(|| bench.median(&ids[before..=before], before))?;
            step.push(before, &times);
        }
        if steps.is_empty() {
            // A model of one token takes no other step.
            step = prompt.clone();
        }
        step.reverse();
        use TimeGrowth::{Constant, Linear, Quadratic};
        let part = |of: fn(&PartSamples) -> &Vec<(f64, f64)>, growth, step_growth| -> Result<PartFit> {
            Ok(PartFit { prompt: TimeFit::fit(of(&prompt), growth)?, step: TimeFit::fit(of(&step), step_growth)? })
        };
        Ok(Self {
            embedding: part(|samples| &samples.embedding, Linear, Constant)?,
            layer: part(|samples| &samples.layer, Quadratic, Linear)?,
            layer_spread: spread,
            head: part(|samples| &samples.head, Constant, Constant)?,
        })
    }
}

/// Tokens and times, us, of each part.
#[derive(Debug, Clone, Default)]
struct PartSamples {
    embedding: Vec<(f64, f64)>,
    layer: Vec<(f64, f64)>,
    head: Vec<(f64, f64)>,
}

impl PartSamples {
    fn push(&mut self, tokens: usize, times: &PassTimes) {
        self.embedding.push((tokens as f64, times.embedding_us));
        self.layer.push((tokens as f64, times.layer_us()));
        self.head.push((tokens as f64, times.head_us));
    }

    /// By ascending tokens, where they were measured the other way round.
    fn reverse(&mut self) {
        [&mut self.embedding, &mut self.layer, &mut self.head].into_iter().for_each(|samples| samples.reverse());
    }
}

/// One pass, or the medians of several.
#[derive(Debug, Clone, Default)]
struct PassTimes {
    embedding_us: f64,
    layers_us: Vec<f64>,
    head_us: f64,
}

impl PassTimes {
    /// Mean of the layers.
    fn layer_us(&self) -> f64 {
        self.layers_us.iter().sum::<f64>() / self.layers_us.len() as f64
    }

    fn spread(&self) -> f64 {
        let mean = self.layer_us();
        let variance = self.layers_us.iter().map(|us| (us - mean).powi(2)).sum::<f64>() / self.layers_us.len() as f64;
        variance.sqrt() / mean
    }
}

/// A model whose layers have a cache each, so that each can be timed within a pass.
struct PassBench<'a> {
    decoder: &'a Decoder,
    caches: Vec<Cache>,
    sampler: Sampler,
}

impl PassBench<'_> {
    /// Medians of passes of `ids` after the first `before` tokens of the caches, after a pass that warms up.
    fn median(&mut self, ids: &[u32], before: usize) -> Result<PassTimes> {
        self.pass(ids, before)?;
        let start = wall_seconds();
        let mut passes = Vec::new();
        while passes.len() < LEAST_PASSES || (passes.len() < MOST_PASSES && wall_seconds() - start < ENOUGH_S) {
            passes.push(self.pass(ids, before)?);
        }
        let middle = |time: &dyn Fn(&PassTimes) -> f64| median(&passes.iter().map(time).collect::<Vec<_>>());
        Ok(PassTimes {
            embedding_us: middle(&|pass| pass.embedding_us),
            layers_us: (0..self.caches.len()).map(|layer| middle(&|pass| pass.layers_us[layer])).collect(),
            head_us: middle(&|pass| pass.head_us),
        })
    }

    fn pass(&mut self, ids: &[u32], before: usize) -> Result<PassTimes> {
        let decoder = self.decoder;
        let us = |seconds: f64| 1e6 * seconds;
        self.caches.iter_mut().for_each(|cache| cache.truncate(before));
        let (hidden, embedding_s) = timed(wall_seconds, || to_values(&decoder.embed(ids)?));
        let mut hidden = hidden?;
        let mut layers_us = Vec::with_capacity(self.caches.len());
        for cache in &mut self.caches {
            let (done, seconds) = timed(wall_seconds, || decoder.extend(&mut hidden, cache));
            done?;
            layers_us.push(us(seconds));
        }
        let last = &hidden[hidden.len() - decoder.config().hidden_size..];
        let position = (before + ids.len()) as u64;
        let (choice, head_s) = timed(wall_seconds, || self.sampler.sample(&decoder.step_logits(last, 1)?, position));
        choice?;
        Ok(PassTimes { embedding_us: us(embedding_s), layers_us, head_us: us(head_s) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Placement;
    use crate::model::source::{POCKET, load};

    #[test]
    fn every_part_of_the_pocket_model_takes_time() {
        let model = load(POCKET, &Placement::cpu()).unwrap();
        let times = ModelTimes::measure(&model, &[5, 17, 300, 44]).unwrap();
        let tokens = |fit: &TimeFit| fit.samples.iter().map(|(tokens, _)| *tokens).collect::<Vec<_>>();
        for part in [&times.embedding, &times.layer, &times.head] {
            assert_eq!(tokens(&part.prompt), PROMPTS.map(|n| n as f64));
            assert_eq!(tokens(&part.step), BEFORE_STEPS.map(|n| n as f64));
            assert!(part.prompt.samples.iter().chain(&part.step.samples).all(|(_, us)| *us > 0.0));
            assert!(part.prompt.seconds(64.0) > 0.0 && part.step.seconds(64.0) > 0.0, "{part:?}");
        }
        // 512 rows are 64 times the work of 8: no noise hides that.
        assert!(times.layer.prompt.samples[4].1 > times.layer.prompt.samples[1].1, "{times:?}");
        assert!(times.layer.prompt.seconds(512.0) > times.layer.prompt.seconds(8.0), "{times:?}");
        assert!(times.layer_spread.is_finite() && times.layer_spread >= 0.0);
        assert!(ModelTimes::measure(&model, &[]).is_err());
    }
}
