//! Generation: chunks of a prompt and single tokens, over a cache of what came before.

use super::cache::Cache;
use super::decoder::{Decoder, Layer, Projection};
use super::ops::{
    SeenTokens, Weight, continued_attention, gated, normalise, project, project_chunk, rotate, rotate_rows,
    step_attention, with_values,
};
use anyhow::{Result, bail, ensure};

/// From so many rows on a chunk's products are worth packing the weights: 16 rows were 1.5 times as fast without.
const CHUNK_ROWS: usize = 64;

impl Decoder {
    /// Runs the layers of `cache` on the next tokens of its session and adds them to it: `hidden` (rows x D, row-major)
    /// becomes the residual stream after the last of them. Each row's result is, to rounding, that of a pass over the whole
    /// sequence; a single row takes a step. On an error the cache is as it was.
    pub fn extend(&self, hidden: &mut [f32], cache: &mut Cache) -> Result<()> {
        let rows = hidden.len() / self.config().hidden_size;
        if rows == 1 {
            return self.step(hidden, &mut [cache]);
        }
        self.check_room(cache, rows)?;
        let mut layers = self.layers(cache.layers())?.iter().zip(cache.layers());
        let done = in_pool(|| layers.try_for_each(|(layer, nth)| self.extend_layer(layer, nth, hidden, cache)));
        match done {
            Ok(()) => cache.advance(rows),
            Err(_) => cache.truncate(cache.tokens()),
        }
        done
    }

    /// The same, of whose rows the last one is wanted.
    pub fn extend_to_last(&self, mut hidden: Vec<f32>, cache: &mut Cache) -> Result<Vec<f32>> {
        self.extend(&mut hidden, cache)?;
        Ok(hidden.split_off(hidden.len() - self.config().hidden_size))
    }

    fn extend_layer(&self, layer: &Layer, nth: usize, hidden: &mut [f32], cache: &mut Cache) -> Result<()> {
        let eps = self.config().rms_norm_eps;
        let (rows, position) = (hidden.len() / self.config().hidden_size, cache.tokens());
        let x = with_values(&layer.input_norm, |weight| normalise(hidden, weight, eps))?;
        let project = if rows < CHUNK_ROWS { project } else { project_chunk };
        let [q, k, v] = products(project, &x, rows, [&layer.q, &layer.k, &layer.v])?;
        let [q, k] = [q, k].map(|x| rotate_rows(&x, rows, position, self.rope()));
        cache.push(nth, &k, &v);
        let (keys, values) = cache.layer(nth);
        let attended = continued_attention(&q, keys, values, self.heads());
        self.feed_rows(project, layer, hidden, &attended, rows)
    }

    /// What follows attention in a layer, added to the residual stream.
    fn feed_rows(
        &self,
        project: Project,
        layer: &Layer,
        hidden: &mut [f32],
        attended: &[f32],
        rows: usize,
    ) -> Result<()> {
        let [o] = products(project, attended, rows, [&layer.o])?;
        hidden.iter_mut().zip(o).for_each(|(hidden, o)| *hidden += o);
        let x = with_values(&layer.post_norm, |weight| normalise(hidden, weight, self.config().rms_norm_eps))?;
        let [gate, up] = products(project, &x, rows, [&layer.gate, &layer.up])?;
        let [down] = products(project, &gated(&gate, &up), rows, [&layer.down])?;
        hidden.iter_mut().zip(down).for_each(|(hidden, down)| *hidden += down);
        Ok(())
    }

    /// Runs one new token of each session through the layers of its cache, which are the same for all: `hidden` (sessions x
    /// D, row-major) becomes the residual stream after the last of them. A session's result does not depend on the others.
    /// On an error the caches are as they were.
    pub fn step(&self, hidden: &mut [f32], caches: &mut [&mut Cache]) -> Result<()> {
        let Some(first) = caches.first() else { return Ok(()) };
        let layers = first.layers();
        let width = self.config().hidden_size;
        ensure!(hidden.len() == caches.len() * width, "{} values for {} rows", hidden.len(), caches.len());
        for cache in caches.iter() {
            ensure!(cache.layers() == layers, "caches of different layers in one step");
            self.check_room(cache, 1)?;
        }
        let mut layers = self.layers(layers.clone())?.iter().zip(layers);
        let done = in_pool(|| layers.try_for_each(|(layer, nth)| self.step_layer(layer, nth, hidden, caches)));
        for cache in caches {
            match done {
                Ok(()) => cache.advance(1),
                Err(_) => cache.truncate(cache.tokens()),
            }
        }
        done
    }

    fn step_layer(&self, layer: &Layer, nth: usize, hidden: &mut [f32], caches: &mut [&mut Cache]) -> Result<()> {
        let (rows, heads, eps) = (caches.len(), self.heads(), self.config().rms_norm_eps);
        let x = with_values(&layer.input_norm, |weight| normalise(hidden, weight, eps))?;
        let [q, k, v] = products(project, &x, rows, [&layer.q, &layer.k, &layer.v])?;
        let rotated = |x: &[f32], row: usize, position: usize| {
            let x = &x[row * (x.len() / rows)..][..x.len() / rows];
            let mut out = vec![0.0; x.len()];
            rotate(x, position, self.rope(), 1.0, &mut out);
            out
        };
        let mut queries = Vec::with_capacity(q.len());
        let narrow = v.len() / rows;
        for (row, cache) in caches.iter_mut().enumerate() {
            let position = cache.tokens();
            queries.extend(rotated(&q, row, position));
            cache.push(nth, &rotated(&k, row, position), &v[row * narrow..][..narrow]);
        }
        let seen: Vec<SeenTokens> = (caches.iter())
            .map(|cache| {
                let (keys, values) = cache.layer(nth);
                SeenTokens { keys, values }
            })
            .collect();
        let attended = step_attention(&queries, &seen, heads);
        self.feed_rows(project, layer, hidden, &attended, rows)
    }

    /// Logits (rows x vocabulary, row-major) of a few rows of the last layer's residual stream (rows x D, row-major); a
    /// row's do not depend on the others.
    pub fn step_logits(&self, hidden: &[f32], rows: usize) -> Result<Vec<f32>> {
        let head = self.head()?;
        let x = with_values(&head.norm, |weight| normalise(hidden, weight, self.config().rms_norm_eps))?;
        Ok(project(&x, rows, &[Weight { matrix: &head.weight, bias: None }])?.remove(0))
    }

    /// Fails where a cache has no room for more tokens, or the decoder is not on the CPU.
    fn check_room(&self, cache: &Cache, tokens: usize) -> Result<()> {
        if !self.device().is_cpu() {
            bail!("generation runs on the CPU; take --device cpu");
        }
        let (has, most) = (cache.tokens(), cache.most_tokens().min(self.most_tokens()));
        ensure!(tokens > 0, "no tokens to go on with");
        ensure!(has + tokens <= most, "{has} + {tokens} tokens do not fit in a session of at most {most}");
        Ok(())
    }
}

/// Runs `f` on a thread of rayon's pool: one that is outside hands over each parallel part and waits, hundreds of times per step.
/// A loop over steps is best run there as a whole.
pub fn in_pool<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| f())
}

/// A way to multiply rows with weights.
type Project = fn(&[f32], usize, &[Weight]) -> candle_core::Result<Vec<Vec<f32>>>;

fn products<const N: usize>(
    project: Project,
    x: &[f32],
    rows: usize,
    projections: [&Projection; N],
) -> Result<[Vec<f32>; N]> {
    let weights = projections.map(|one| Weight { matrix: &one.weight, bias: one.bias.as_ref() });
    let out = project(x, rows, &weights)?;
    Ok(out.try_into().expect("as many products as weights"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{Device, Tensor};

    use super::*;
    use crate::model::packing::Packing;
    use crate::model::source::{POCKET, load};
    use crate::model::{DecoderPart, Placement, SplitPoint};

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn logits_of_whole(decoder: &Decoder, ids: &[u32]) -> Vec<Vec<f32>> {
        let packing = Arc::new(Packing::of([ids.len()]));
        let last =
            decoder.run_layers(decoder.embed(ids).unwrap(), &packing, 0..decoder.config().num_hidden_layers).unwrap();
        decoder.logits(&last).unwrap().to_vec2().unwrap()
    }

    fn close(found: &[f32], expected: &[f32]) {
        let top = expected.iter().fold(0f32, |top, v| top.max(v.abs()));
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() <= 1e-5 * top, "{a} for {b}, of at most {top}");
        }
    }

    #[test]
    fn chunks_and_steps_give_the_logits_of_the_whole_pass() {
        let model = load(POCKET, &Placement::cpu()).unwrap();
        let whole = model.decoder().unwrap();
        let ids: Vec<u32> = (0..23).map(|i| (i * 37 + 5) % model.config.vocab_size as u32).collect();
        let expected = logits_of_whole(whole, &ids);
        let last_layer = model.config.num_hidden_layers;
        for after_layer in [1, 3, last_layer] {
            let split = SplitPoint { after_layer };
            let client = model.part(DecoderPart::Client(split)).unwrap();
            let server = model.part(DecoderPart::Server(split)).unwrap();
            let mut caches = [
                Cache::new(&model.config, DecoderPart::Client(split).layers(&model.config), 32),
                Cache::new(&model.config, DecoderPart::Server(split).layers(&model.config), 32),
            ];
            let [near, far] = &mut caches;
            for chunk in [&ids[..9], &ids[9..10], &ids[10..16]] {
                let mut hidden = values(&client.embed(chunk).unwrap());
                client.extend(&mut hidden, near).unwrap();
                server.extend(&mut hidden, far).unwrap();
                let at = far.tokens();
                let hidden = Tensor::from_vec(hidden, (chunk.len(), model.config.hidden_size), &Device::Cpu).unwrap();
                for (row, logits) in server.logits(&hidden).unwrap().to_vec2::<f32>().unwrap().iter().enumerate() {
                    close(logits, &expected[at - chunk.len() + row]);
                }
            }
            // A rollback, and the same again.
            near.truncate(12);
            far.truncate(12);
            for (at, id) in ids.iter().enumerate().skip(12) {
                let mut hidden = values(&client.embed(&[*id]).unwrap());
                client.step(&mut hidden, &mut [near]).unwrap();
                server.step(&mut hidden, &mut [far]).unwrap();
                close(&server.step_logits(&hidden, 1).unwrap(), &expected[at]);
            }
            assert!(server.embed(&[1]).is_err() && client.step_logits(&vec![0.0; 192], 1).is_err());
        }
    }

    #[test]
    fn a_session_does_not_see_those_it_shares_a_step_with() {
        let model = load(POCKET, &Placement::cpu()).unwrap();
        let decoder = model.decoder().unwrap();
        let layers = 0..model.config.num_hidden_layers;
        let start = |length: usize| {
            let ids: Vec<u32> = (0..length as u32).map(|i| i * 7 + length as u32).collect();
            let mut cache = Cache::new(&model.config, layers.clone(), 40);
            decoder.extend(&mut values(&decoder.embed(&ids).unwrap()), &mut cache).unwrap();
            cache
        };
        let lengths = [3, 17, 30, 1, 8];
        let row = |id: u32| values(&decoder.embed(&[id]).unwrap());
        let mut together: Vec<Cache> = lengths.iter().map(|&length| start(length)).collect();
        let mut all: Vec<f32> = (0..lengths.len() as u32).flat_map(row).collect();
        decoder.step(&mut all, &mut together.iter_mut().collect::<Vec<_>>()).unwrap();
        let all = decoder.step_logits(&all, lengths.len()).unwrap();
        for (nth, &length) in lengths.iter().enumerate() {
            let mut alone = row(nth as u32);
            decoder.step(&mut alone, &mut [&mut start(length)]).unwrap();
            let vocabulary = model.config.vocab_size;
            assert_eq!(decoder.step_logits(&alone, 1).unwrap(), all[nth * vocabulary..][..vocabulary]);
        }
    }

    #[test]
    fn a_full_session_takes_no_more_and_stays_as_it_was() {
        let model = load(POCKET, &Placement::cpu()).unwrap();
        let decoder = model.decoder().unwrap();
        let mut cache = Cache::new(&model.config, 0..model.config.num_hidden_layers, 4);
        let mut hidden = values(&decoder.embed(&[1, 2, 3]).unwrap());
        decoder.extend(&mut hidden, &mut cache).unwrap();
        let error = decoder.extend(&mut hidden, &mut cache).unwrap_err().to_string();
        assert!(error.contains("3 + 3 tokens do not fit in a session of at most 4"), "{error}");
        assert_eq!(cache.tokens(), 3);
        assert_eq!(Cache::bytes(&model.config, cache.layers(), 4), cache.capacity_bytes());
    }
}
