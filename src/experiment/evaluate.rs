//! Requests through client half, codec and server half, for all cells of a data set at once.

use std::time::Duration;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::Tensor;
use rayon::prelude::*;

use super::batch::batches;
use super::cell::Cell;
use super::scope::Scope;
use crate::codec::{Activation, Budget, Codec, Packet};
use crate::model::split::{from_activations, to_activations};
use crate::model::{Decoder, SplitPoint};
use crate::score::Request;

/// What became of one request in one cell.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Log-likelihood of the continuation, nats.
    pub loglik: f64,
    /// Rows that went through the codec.
    pub tokens: usize,
    /// Numbers of those rows, S D.
    pub raw_elements: usize,
    /// Numbers the packet keeps.
    pub elements: usize,
    /// Bytes of the packet.
    pub wire_bytes: usize,
    /// `||A - A'||_F / ||A||_F` of the compressed rows.
    pub rel_error: f64,
    /// Time to encode, one thread.
    pub encode: Duration,
    /// Time to decode, one thread.
    pub decode: Duration,
}

/// One cell with its codec, or why there is none.
pub struct Prepared<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// The codec, calibrated.
    pub codec: Result<&'a dyn Codec, String>,
    /// What it may keep.
    pub budget: Budget,
}

/// Log-likelihoods of all requests.
pub struct Evaluated {
    /// Without cut and codec.
    pub baseline: Vec<f64>,
    /// One list a cell, in request order; or what made the cell fail.
    pub cells: Vec<Result<Vec<Outcome>, String>>,
}

/// Where the time went, summed over the run. Encode and decode are sums over threads.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Spent {
    /// Embedding and layers up to the last split, and the unsplit model's rest.
    pub client_s: f64,
    /// Codecs, wall time.
    pub codec_s: f64,
    /// Server halves.
    pub server_s: f64,
}

/// Scores `requests` unsplit and in every cell. Batches have at most `most_tokens` rows; the scores do not depend on it.
/// `done` hears the number of (request, cell or baseline) pairs finished.
pub fn evaluate(
    decoder: &Decoder,
    requests: &[Request],
    cells: &[Prepared],
    most_tokens: usize,
    spent: &mut Spent,
    mut done: impl FnMut(u64),
) -> Result<Evaluated> {
    let plan = batches(requests, most_tokens);
    let mut splits: Vec<SplitPoint> = cells.iter().map(|c| c.cell.split).collect();
    splits.sort_unstable();
    splits.dedup();
    let mut baseline = vec![0f64; requests.len()];
    let mut outcomes: Vec<Result<Vec<Outcome>, String>> = cells
        .iter()
        .map(|c| c.codec.as_ref().map(|_| vec![Outcome::default(); requests.len()]).map_err(String::clone))
        .collect();
    let mut repeats = vec![0u64; requests.len()];
    plan.first_equal.iter().for_each(|&first| repeats[first] += 1);

    for batch in &plan.batches {
        let ids: Vec<&[u32]> = batch.iter().map(|&i| requests[i].tokens.as_slice()).collect();
        let targets: Vec<&[u32]> = batch.iter().map(|&i| requests[i].targets.as_slice()).collect();
        let weight: u64 = batch.iter().map(|&i| repeats[i]).sum();
        let clock = Instant::now();
        let hidden = decoder.client(&ids, &splits)?;
        // The unsplit model goes on from the last split: the same operations in the same order.
        let logliks = match (hidden.last(), splits.last()) {
            (Some(hidden), Some(&split)) => decoder.server(hidden.clone(), split, &targets)?,
            _ => decoder.unsplit(&ids, &targets)?,
        };
        spent.client_s += clock.elapsed().as_secs_f64();
        for (&i, loglik) in batch.iter().zip(logliks) {
            baseline[i] = loglik;
        }
        done(weight);
        for (&split, hidden) in splits.iter().zip(&hidden) {
            let work = SplitWork { decoder, requests, cells, batch, split, hidden, most_tokens };
            work.run(&mut outcomes, spent)?;
            done(weight * cells.iter().filter(|c| c.cell.split == split).count() as u64);
        }
    }
    for (i, &first) in plan.first_equal.iter().enumerate() {
        baseline[i] = baseline[first];
        for outcomes in outcomes.iter_mut().flatten() {
            outcomes[i] = outcomes[first].clone();
        }
    }
    Ok(Evaluated { baseline, cells: outcomes })
}

/// One batch at one split layer.
struct SplitWork<'a> {
    decoder: &'a Decoder,
    requests: &'a [Request],
    cells: &'a [Prepared<'a>],
    batch: &'a [usize],
    split: SplitPoint,
    /// Batch x tokens x D.
    hidden: &'a Tensor,
    most_tokens: usize,
}

impl SplitWork<'_> {
    /// All cells of this split as items of larger server batches, so that weights are read once for many cells.
    fn run(&self, outcomes: &mut [Result<Vec<Outcome>, String>], spent: &mut Spent) -> Result<()> {
        let activations = to_activations(self.hidden)?;
        let tokens = activations[0].tokens();
        let pairs: Vec<(usize, usize)> = (0..self.cells.len())
            .filter(|&c| self.cells[c].cell.split == self.split)
            .flat_map(|c| (0..self.batch.len()).map(move |item| (c, item)))
            .collect();
        for chunk in pairs.chunks((self.most_tokens / tokens).max(1)) {
            let clock = Instant::now();
            let sent: Vec<_> = chunk
                .par_iter()
                .filter(|(c, _)| outcomes[*c].is_ok())
                .map(|&(c, item)| (c, item, self.send(c, item, &activations[item])))
                .collect();
            spent.codec_s += clock.elapsed().as_secs_f64();
            let (mut places, mut received) = (Vec::new(), Vec::new());
            for (c, item, result) in sent {
                match result {
                    Ok((outcome, activation)) => {
                        places.push((c, item, outcome));
                        received.push(activation);
                    }
                    Err(error) => outcomes[c] = Err(format!("{error:#}")),
                }
            }
            if received.is_empty() {
                continue;
            }
            let clock = Instant::now();
            let targets: Vec<&[u32]> =
                places.iter().map(|(_, item, _)| self.requests[self.batch[*item]].targets.as_slice()).collect();
            let logliks = self.decoder.server(from_activations(received, self.hidden)?, self.split, &targets)?;
            spent.server_s += clock.elapsed().as_secs_f64();
            for ((c, item, outcome), loglik) in places.into_iter().zip(logliks) {
                if let Ok(list) = &mut outcomes[c] {
                    list[self.batch[item]] = Outcome { loglik, ..outcome };
                }
            }
        }
        Ok(())
    }

    /// Through the codec and back: the measurements and what the server receives.
    fn send(&self, c: usize, item: usize, activation: &Activation) -> Result<(Outcome, Activation)> {
        let Prepared { cell, codec, budget } = &self.cells[c];
        let codec = *codec.as_ref().map_err(|e| anyhow::anyhow!("{e}"))?;
        let rows = match cell.scope {
            Scope::PromptAndChoice => activation.tokens(),
            Scope::Prompt => self.requests[self.batch[item]].prompt_tokens,
        };
        let raw = activation.values();
        let cut = rows * activation.hidden();
        let part = Activation::new(rows, activation.hidden(), raw[..cut].to_vec())?;
        let clock = Instant::now();
        let packet = codec.encode(&part, *budget).with_context(|| format!("encoding by {cell}"))?;
        let encode = clock.elapsed();
        let (elements, wire_bytes) = (packet.elements(), packet.len());
        // What arrives is bytes: nothing of the encoder's state may help the decoder.
        let packet = Packet::from_bytes(packet.into_bytes())?;
        let clock = Instant::now();
        let decoded = codec.decode(&packet).with_context(|| format!("decoding by {cell}"))?;
        let decode = clock.elapsed();
        let rel_error = part.rel_error(&decoded);
        let mut values = decoded.into_values();
        values.extend_from_slice(&raw[cut..]);
        let received = Activation::new(activation.tokens(), activation.hidden(), values)?;
        Ok((
            Outcome { loglik: 0.0, tokens: rows, raw_elements: cut, elements, wire_bytes, rel_error, encode, decode },
            received,
        ))
    }
}
