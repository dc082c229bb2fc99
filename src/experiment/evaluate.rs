//! Requests through client half, codec and server half, for all cells of a data set at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;

use super::batch::{Group, Sharing, groups, runs};
use super::cell::Cell;
use super::probe::{Probe, Probed, follow};
use crate::codec::{Accounting, Activation, Budget, Codec, Packet, Received};
use crate::model::split::{from_values, to_values};
use crate::model::{Decoder, Packing, SplitPoint};
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
    /// What a probe saw, where there was one.
    pub probed: Option<Probed>,
}

/// One cell with its codec, or why there is none.
pub struct Prepared<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// The codec, calibrated.
    pub codec: Result<&'a dyn Codec, String>,
}

/// For codecs of fixed rate, which do not look at it.
const ANY: Budget = Budget { ratio: 1.0, accounting: Accounting::Elements };

/// One question in every cell.
pub struct Finished {
    /// Its place among the questions given.
    pub question: usize,
    /// Log-likelihoods without cut and codec, one a request; empty where they were not asked for.
    pub baseline: Vec<f64>,
    /// One list a cell, an outcome a request; none of a cell that has failed.
    pub cells: Vec<Option<Vec<Outcome>>>,
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

/// What to look at beside the cells.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// The unsplit model.
    pub baseline: bool,
    /// Each activation that is sent.
    pub probe: Option<Probe>,
}

/// Scores the requests of `questions` in every cell. Batches have at most `most_rows` rows, of one question at least; the scores
/// do not depend on it. `finished` hears of each batch when it is done. Gives for each cell what made it fail, if anything did.
pub fn evaluate(
    decoder: &Decoder,
    questions: &[&[Request]],
    cells: &[Prepared],
    most_rows: usize,
    wanted: Wanted,
    spent: &mut Spent,
    mut finished: impl FnMut(Vec<Finished>) -> Result<()>,
) -> Result<Vec<Option<String>>> {
    let groups = groups(questions);
    let Wanted { baseline, probe } = wanted;
    let mut splits: Vec<SplitPoint> = cells.iter().map(|c| c.cell.split).collect();
    splits.sort_unstable();
    splits.dedup();
    if let (Some(_), Some(first)) = (probe, splits.first()) {
        // An error is followed through every later layer.
        let layers = first.after_layer..=decoder.config().num_hidden_layers;
        splits = layers.map(|after_layer| SplitPoint { after_layer }).collect();
    }
    let mut failed: Vec<Option<String>> = cells.iter().map(|c| c.codec.as_ref().err().cloned()).collect();

    for batch in runs(&groups, most_rows, |group| group.rows(Sharing::Computed)) {
        let (mut packing, mut ids, mut scored) = (Packing::default(), Vec::new(), Vec::new());
        let (mut firsts, mut starts) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for group in batch {
            firsts.push(packing.sequences());
            starts.push(scored.len());
            scored.extend(group.scored(packing.sequences()));
            group.pack(&mut packing, Sharing::Computed);
            ids.extend(group.ids());
        }
        let packing = Arc::new(packing);
        let clock = Instant::now();
        let hidden = decoder.client(&ids, &packing, &splits)?;
        // The unsplit model goes on from the last split: the same operations in the same order.
        let logliks = match (baseline, hidden.last(), splits.last()) {
            (false, ..) => Vec::new(),
            (true, Some(hidden), Some(&split)) => decoder.server(hidden.clone(), &packing, split, &scored)?,
            _ => decoder.unsplit(&ids, &packing, &scored)?,
        };
        spent.client_s += clock.elapsed().as_secs_f64();
        let mut outcomes = vec![vec![Outcome::default(); scored.len()]; cells.len()];
        for (nth, &split) in splits.iter().enumerate() {
            let values = to_values(&hidden[nth])?;
            let work = SplitWork {
                decoder,
                cells,
                batch,
                firsts: &firsts,
                starts: &starts,
                split,
                values: &values,
                packing: &packing,
                probe,
                computed: &hidden[nth..],
            };
            work.run(most_rows, &mut outcomes, &mut failed, spent)?;
        }
        let range = |nth: usize| starts[nth]..starts.get(nth + 1).copied().unwrap_or(scored.len());
        let done = batch.iter().enumerate().map(|(nth, group)| Finished {
            question: group.question(),
            baseline: logliks.get(range(nth)).map(<[f64]>::to_vec).unwrap_or_default(),
            cells: (outcomes.iter().zip(&failed))
                .map(|(outcomes, failed)| failed.is_none().then(|| outcomes[range(nth)].to_vec()))
                .collect(),
        });
        finished(done.collect())?;
    }
    Ok(failed)
}

/// One batch at one split layer.
struct SplitWork<'a> {
    decoder: &'a Decoder,
    cells: &'a [Prepared<'a>],
    batch: &'a [Group<'a>],
    /// For each group its first sequence in `packing`.
    firsts: &'a [usize],
    /// For each group its first request among those of the batch.
    starts: &'a [usize],
    split: SplitPoint,
    /// The residual stream, rows x D.
    values: &'a [f32],
    packing: &'a Packing,
    probe: Option<Probe>,
    /// The residual streams after this split and, where there is a probe, after each later layer.
    computed: &'a [Tensor],
}

/// One group in one cell: indices of both.
#[derive(Clone, Copy)]
struct Job {
    cell: usize,
    group: usize,
}

/// A packet and what came of it.
struct Sent {
    outcome: Outcome,
    /// The compressed rows, as received.
    received: Vec<f32>,
}

impl SplitWork<'_> {
    /// All cells of this split in larger server batches, so that weights are read once for many cells.
    fn run(
        &self,
        most_rows: usize,
        outcomes: &mut [Vec<Outcome>],
        failed: &mut [Option<String>],
        spent: &mut Spent,
    ) -> Result<()> {
        let jobs: Vec<Job> = (0..self.cells.len())
            .filter(|&cell| self.cells[cell].cell.split == self.split && failed[cell].is_none())
            .flat_map(|cell| (0..self.batch.len()).map(move |group| Job { cell, group }))
            .collect();
        for chunk in runs(&jobs, most_rows, |job| self.batch[job.group].rows(self.sharing(*job))) {
            let clock = Instant::now();
            let packets: Vec<(usize, usize)> = chunk
                .iter()
                .enumerate()
                .filter(|(_, job)| failed[job.cell].is_none())
                .flat_map(|(nth, job)| (0..self.batch[job.group].sequences()).map(move |sequence| (nth, sequence)))
                .filter(|&(nth, sequence)| sequence == 0 || self.shared(chunk[nth], sequence) == 0)
                .collect();
            let sent: Vec<Result<Sent>> =
                packets.par_iter().map(|&(nth, sequence)| self.send(chunk[nth], sequence)).collect();
            spent.codec_s += clock.elapsed().as_secs_f64();

            // For each job and sequence its packet, or the trunk's.
            let mut of: HashMap<(usize, usize), Sent> = HashMap::new();
            for ((nth, sequence), sent) in packets.into_iter().zip(sent) {
                match sent {
                    Ok(sent) => drop(of.insert((nth, sequence), sent)),
                    Err(error) => drop(failed[chunk[nth].cell].get_or_insert(format!("{error:#}"))),
                }
            }
            let (mut packing, mut values, mut scored) = (Packing::default(), Vec::new(), Vec::new());
            let (mut places, mut origins) = (Vec::new(), Vec::new());
            for (nth, &job) in chunk.iter().enumerate().filter(|(_, job)| failed[job.cell].is_none()) {
                let group = &self.batch[job.group];
                let at = packing.sequences();
                scored.extend(group.scored(at));
                group.pack(&mut packing, self.sharing(job));
                origins.extend((0..group.sequences()).map(|sequence| self.firsts[job.group] + sequence));
                for sequence in 0..group.sequences() {
                    self.receive(job, sequence, of.get(&(nth, sequence)), &mut values);
                }
                for (i, (sequence, _)) in group.requests().enumerate() {
                    let sent = of.get(&(nth, sequence)).unwrap_or(&of[&(nth, 0)]);
                    places.push((job.cell, self.starts[job.group] + i, at + sequence, sent.outcome.clone()));
                }
            }
            if scored.is_empty() {
                continue;
            }
            let clock = Instant::now();
            let mut received = from_values(values, packing.rows(), self.decoder)?;
            let (packing, mut split, mut errors) = (Arc::new(packing), self.split, Vec::new());
            if self.probe.is_some() {
                let arrived = (received, &packing, origins.as_slice());
                (received, errors) = follow(self.decoder, split, arrived, self.computed, self.packing)?;
                split = SplitPoint { after_layer: self.decoder.config().num_hidden_layers };
            }
            let logliks = self.decoder.server(received, &packing, split, &scored)?;
            spent.server_s += clock.elapsed().as_secs_f64();
            for ((cell, i, sequence, mut outcome), loglik) in places.into_iter().zip(logliks) {
                if let Some(probed) = &mut outcome.probed {
                    probed.errors = errors[sequence].clone();
                }
                outcomes[cell][i] = Outcome { loglik, ..outcome };
            }
        }
        Ok(())
    }

    fn sharing(&self, job: Job) -> Sharing {
        Sharing::Received(self.cells[job.cell].cell.scope)
    }

    fn shared(&self, job: Job, sequence: usize) -> usize {
        self.batch[job.group].shared(sequence, self.sharing(job))
    }

    /// The rows of a sequence from token `from` on, as computed.
    fn computed(&self, job: Job, sequence: usize, from: usize) -> impl Iterator<Item = f32> {
        let width = self.decoder.config().hidden_size;
        let rows = self.packing.rows_of(self.firsts[job.group] + sequence).skip(from);
        rows.flat_map(move |row| &self.values[row * width..][..width]).copied()
    }

    /// Adds what the server has of a sequence beside what it shares with the trunk.
    fn receive(&self, job: Job, sequence: usize, sent: Option<&Sent>, values: &mut Vec<f32>) {
        let compressed = self.batch[job.group].compressed(sequence, self.cells[job.cell].cell.scope);
        match sent {
            Some(sent) => {
                values.extend_from_slice(&sent.received);
                values.extend(self.computed(job, sequence, compressed));
            }
            None => values.extend(self.computed(job, sequence, self.shared(job, sequence))),
        }
    }

    /// The compressed rows of a sequence through the codec and back.
    fn send(&self, job: Job, sequence: usize) -> Result<Sent> {
        let Prepared { cell, codec } = &self.cells[job.cell];
        let codec = *codec.as_ref().map_err(|e| anyhow::anyhow!("{e}"))?;
        let rows = self.batch[job.group].compressed(sequence, cell.scope);
        let width = self.decoder.config().hidden_size;
        let part: Vec<f32> = self.computed(job, sequence, 0).take(rows * width).collect();
        let ids = self.batch[job.group].token_ids(sequence)[..rows].to_vec();
        let part = Activation::new(rows, width, part)?.with_token_ids(ids, self.decoder.config().vocab_size)?;
        let encode = || codec.encode(&part, cell.budget.unwrap_or(ANY)).with_context(|| format!("encoding by {cell}"));
        let decode = |packet: &Packet| codec.receive(packet).with_context(|| format!("decoding by {cell}"));
        if codec.is_cold() {
            decode(&encode()?)?;
        }
        let clock = Instant::now();
        let packet = encode()?;
        let encode = clock.elapsed();
        let (elements, wire_bytes) = (packet.elements(), packet.len());
        // What arrives is bytes: nothing of the encoder's state may help the decoder.
        let packet = Packet::from_bytes(packet.into_bytes())?;
        let clock = Instant::now();
        let received = decode(&packet)?;
        let decode = clock.elapsed();
        let decoded = match received {
            Received::Activation(decoded) => decoded,
            // The client half gives the same bits wherever it runs, so running it again would only take time.
            Received::TokenIds(ids) => {
                ensure!(part.token_ids() == Some(&ids), "decoding by {cell}: not the token ids that were sent");
                part.clone()
            }
        };
        let rel_error = part.rel_error(&decoded);
        let probed = self.probe.map(|probe| probe.look(cell, &part, rel_error)).transpose()?;
        let outcome = Outcome {
            loglik: 0.0,
            tokens: rows,
            raw_elements: rows * width,
            elements,
            wire_bytes,
            rel_error,
            encode,
            decode,
            probed,
        };
        Ok(Sent { outcome, received: decoded.into_values() })
    }
}
