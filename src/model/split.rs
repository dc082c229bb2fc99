//! The cut: client half, server half, and the scores at the end.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;

use super::config::Config;
use super::decoder::Decoder;
use super::ops::with_values;
use super::packing::Packing;
use super::reference::Reference;
use super::{Divergence, LogSumExp, divergence};
use splitbench_codec::Activation;

/// Where the model is cut: the client runs layers 1..=`after_layer`, the server the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitPoint {
    /// 1..=N.
    pub after_layer: usize,
}

/// A continuation to score: `targets` are predicted at the last positions of a packed sequence.
#[derive(Debug, Clone, Copy)]
pub struct Continuation<'a> {
    /// Index of the sequence.
    pub sequence: usize,
    /// Token ids.
    pub targets: &'a [u32],
}

/// Most logits held at once, in values (256 MiB of f32), those of the unsplit model included.
pub const MOST_LOGITS: usize = 1 << 26;

impl Config {
    /// Fails unless `split` lies in 1..=N.
    pub fn check_split(&self, split: SplitPoint) -> Result<()> {
        let n = self.num_hidden_layers;
        ensure!(
            (1..=n).contains(&split.after_layer),
            "split layer {} is outside 1..={n} of this model",
            split.after_layer
        );
        Ok(())
    }
}

impl Decoder {
    /// The client half: the residual stream (rows x D) of packed sequences after each of the split layers, which must
    /// ascend. One pass serves all of them. `ids` has one token id per row.
    pub fn client(&self, ids: &[u32], packing: &Arc<Packing>, splits: &[SplitPoint]) -> Result<Vec<Tensor>> {
        let (mut hidden, mut done) = (self.embed(ids)?, 0);
        let mut out = Vec::with_capacity(splits.len());
        for &split in splits {
            self.config().check_split(split)?;
            ensure!(split.after_layer >= done, "split layers must ascend");
            // Each cut goes on from the one before: the layers up to the last run once for all.
            hidden = self.run_layers(hidden, packing, done..split.after_layer)?;
            done = split.after_layer;
            out.push(hidden.clone());
        }
        // A GPU computes on after a call has returned: the time of this one is the client half's only when it is done.
        self.device().synchronize()?;
        Ok(out)
    }

    /// The server half: runs the layers after the split on the residual stream (rows x D), then norm and head at the
    /// scored positions. Returns the log-likelihood of each continuation in nats: the sum over its targets.
    pub fn server(
        &self,
        hidden: Tensor,
        packing: &Arc<Packing>,
        split: SplitPoint,
        scored: &[Continuation],
    ) -> Result<Vec<f64>> {
        self.config().check_split(split)?;
        self.finish(hidden, packing, split.after_layer, scored)
    }

    /// The model without a cut: log-likelihoods as [`Decoder::server`] gives them.
    pub fn unsplit(&self, ids: &[u32], packing: &Arc<Packing>, scored: &[Continuation]) -> Result<Vec<f64>> {
        self.finish(self.embed(ids)?, packing, 0, scored)
    }

    fn finish(&self, hidden: Tensor, packing: &Arc<Packing>, done: usize, scored: &[Continuation]) -> Result<Vec<f64>> {
        let (rows, targets) = logit_rows(packing, scored)?;
        let last = self.run_to_rows(hidden, packing, done, rows.rows())?;
        let each = self.score_rows(&last, &targets, None)?.log_probabilities;
        let mut each = each.into_iter();
        Ok(scored.iter().map(|s| each.by_ref().take(s.targets.len()).sum()).collect())
    }

    /// Runs norm and head on rows of the last layer's residual stream (rows x D) and reads their logits: the
    /// log-probability of each target and, where there is a reference (and for each row the reference row of the same
    /// position), how far the distribution of each row is from it. At most [`MOST_LOGITS`] logits exist at
    /// once.
    pub fn score_rows(
        &self,
        last: &Tensor,
        targets: &[Target],
        mut reference: Option<(&mut Reference, &[usize])>,
    ) -> Result<RowScores> {
        let rows = last.dim(0)?;
        // At least a row and the one it is compared with.
        let most = (MOST_LOGITS / self.config().vocab_size).max(2);
        // In the order of the reference, so that each of its rows is computed once.
        let mut order: Vec<usize> = (0..rows).collect();
        if let Some((_, belongs)) = &reference {
            ensure!(belongs.len() == rows, "{rows} rows, but {} of the unsplit model", belongs.len());
            order.sort_by_key(|&row| belongs[row]);
        }
        let mut targets_of = vec![Vec::new(); rows];
        for (nth, target) in targets.iter().enumerate() {
            let vocabulary = self.config().vocab_size;
            ensure!(
                (target.id as usize) < vocabulary,
                "token id {} is outside the model's vocabulary of {vocabulary}",
                target.id
            );
            targets_of[target.row].push((nth, target.id));
        }
        let mut scores = RowScores { log_probabilities: vec![0.0; targets.len()], divergences: Vec::new() };
        scores.divergences.resize_with(if reference.is_some() { rows } else { 0 }, || None);
        let mut begin = 0;
        while begin < rows {
            let mut end = begin;
            let mut compared: Vec<usize> = Vec::new();
            while end < rows {
                // A reference row that the chunk already has costs nothing more: the choices of a question share one.
                let new = reference
                    .as_ref()
                    .map(|(_, belongs)| belongs[order[end]])
                    .filter(|row| compared.last() != Some(row));
                if end > begin && end + 1 - begin + compared.len() + usize::from(new.is_some()) > most {
                    break;
                }
                compared.extend(new);
                end += 1;
            }
            let chunk = &order[begin..end];
            let logits = self.logits_of(last, chunk)?;
            let unsplit = match &mut reference {
                Some((reference, _)) => Some(reference.logits(self, &compared)?),
                None => None,
            };
            // In rising order, as the rows were sorted by it.
            let place =
                |row: usize| reference.as_ref().and_then(|(_, belongs)| compared.binary_search(&belongs[row]).ok());
            let row = |nth: usize| (place(chunk[nth]), targets_of[chunk[nth]].as_slice());
            for (row, score) in chunk.iter().zip(self.compare(&logits, unsplit.as_ref(), row)?) {
                for (nth, log_probability) in score.log_probabilities {
                    scores.log_probabilities[nth] = log_probability;
                }
                if let Some(place) = scores.divergences.get_mut(*row) {
                    *place = score.divergence;
                }
            }
            begin = end;
        }
        Ok(scores)
    }

    /// Logits of some rows of the last layer's residual stream.
    pub(super) fn logits_of(&self, last: &Tensor, rows: &[usize]) -> Result<Tensor> {
        let index: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
        // Neighbouring rows are a view of the tensor; others are copied.
        let contiguous = index.windows(2).all(|pair| pair[1] == pair[0] + 1);
        let chosen = match index.first() {
            Some(&first) if contiguous => last.narrow(0, first as usize, index.len())?,
            _ => last.index_select(&Tensor::from_slice(&index, index.len(), self.device())?, 0)?,
        };
        self.logits(&chosen)
    }

    /// For each row of logits: the log-probabilities of its targets, with each target's number, and the divergence from
    /// a row of the unsplit model's logits.
    fn compare<'a>(
        &self,
        logits: &Tensor,
        unsplit: Option<&Tensor>,
        row: impl Fn(usize) -> (Option<usize>, &'a [(usize, u32)]) + Sync,
    ) -> Result<Vec<RowScore>> {
        let vocabulary = self.config().vocab_size;
        #[cfg(feature = "cuda-model")]
        if logits.device().is_cuda() {
            return compare_on_gpu(logits, unsplit, row);
        }
        let score = |logits: &[f32], unsplit: &[f32]| {
            // Once per reference row, of which many rows may be compared with the same.
            let sums: Vec<LogSumExp> = unsplit.par_chunks_exact(vocabulary).map(LogSumExp::new).collect();
            let one = |(nth, logits): (usize, &[f32])| {
                let (reference, targets) = row(nth);
                let sum = LogSumExp::new(logits);
                let found = |&(target, id): &(usize, u32)| (target, sum.log_probability(logits[id as usize]));
                let diverge = |place: usize| {
                    divergence((&unsplit[place * vocabulary..][..vocabulary], sums[place]), (logits, sum))
                };
                RowScore { log_probabilities: targets.iter().map(found).collect(), divergence: reference.map(diverge) }
            };
            // A row is scored by one thread, so the number of threads changes no bit of a score.
            logits.par_chunks_exact(vocabulary).enumerate().map(one).collect()
        };
        Ok(match unsplit {
            Some(unsplit) => with_values(logits, |logits| with_values(unsplit, |unsplit| score(logits, unsplit)))??,
            None => with_values(logits, |logits| score(logits, &[]))?,
        })
    }
}

/// [`Decoder::compare`] on the GPU, where the logits are: only what is asked for leaves it.
#[cfg(feature = "cuda-model")]
fn compare_on_gpu<'a>(
    logits: &Tensor,
    unsplit: Option<&Tensor>,
    row: impl Fn(usize) -> (Option<usize>, &'a [(usize, u32)]),
) -> Result<Vec<RowScore>> {
    use super::ops::cuda::{LogitRow, score_rows, values_at};

    let (rows, vocabulary) = logits.dims2()?;
    // Rows without a reference are compared with the first, and it is not looked at.
    let belongs: Vec<u32> = (0..rows).map(|nth| row(nth).0.unwrap_or(0) as u32).collect();
    let places =
        (0..rows).flat_map(|nth| row(nth).1.iter().map(move |(_, id)| (nth * vocabulary) as u32 + id)).collect();
    let mut chosen = values_at(logits, places)?.into_iter();
    let scored = score_rows(logits, unsplit.map(|unsplit| (unsplit, belongs.as_slice())))?;
    let one = |(nth, scored): (usize, LogitRow)| {
        let (reference, targets) = row(nth);
        let log_probability = |(target, logit): (&(usize, u32), f32)| (target.0, f64::from(logit) - scored.ln_sum);
        RowScore {
            log_probabilities: targets.iter().zip(chosen.by_ref()).map(log_probability).collect(),
            divergence: reference.map(|_| scored.divergence),
        }
    };
    Ok(scored.into_iter().enumerate().map(one).collect())
}

/// A token id whose log-probability is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The row that predicts it, among those whose logits are computed.
    pub row: usize,
    /// The id.
    pub id: u32,
}

/// The scores of one row of logits.
struct RowScore {
    /// The log-probability of each of its targets, with the target's number among all.
    log_probabilities: Vec<(usize, f64)>,
    divergence: Option<Divergence>,
}

/// The scores of all rows.
pub struct RowScores {
    /// The log-probability of each target, nats.
    pub log_probabilities: Vec<f64>,
    /// The divergence of each row from the reference; empty without one.
    pub divergences: Vec<Option<Divergence>>,
}

/// The rows of a packing whose logits are needed, each once: the choices of a question share the one that predicts their
/// first token.
#[derive(Debug, Default)]
pub struct LogitRows {
    rows: Vec<u32>,
    places: HashMap<usize, usize>,
}

impl LogitRows {
    /// The rows of the packing.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The place of a packing's row among these rows, if it is one of them.
    pub fn get(&self, row: usize) -> Option<usize> {
        self.places.get(&row).copied()
    }

    /// The place of a packing's row among these rows; a new row is added.
    pub fn add(&mut self, row: usize) -> usize {
        *self.places.entry(row).or_insert_with(|| {
            self.rows.push(row as u32);
            self.rows.len() - 1
        })
    }
}

/// The rows whose logits are needed, and the targets in order. Fails where a sequence is shorter than the tokens to
/// score.
pub fn logit_rows(packing: &Packing, scored: &[Continuation]) -> Result<(LogitRows, Vec<Target>)> {
    let (mut rows, mut wanted) = (LogitRows::default(), Vec::new());
    for Continuation { sequence, targets } in scored {
        let tokens = packing.tokens(*sequence);
        ensure!(
            (1..=tokens).contains(&targets.len()),
            "{} scored tokens in a request of {tokens} tokens",
            targets.len()
        );
        for (row, &id) in packing.rows_of(*sequence).skip(tokens - targets.len()).zip(*targets) {
            wanted.push(Target { row: rows.add(row), id });
        }
    }
    Ok((rows, wanted))
}

/// The values of a residual stream (rows x D), row-major.
pub fn to_values(hidden: &Tensor) -> Result<Vec<f32>> {
    Ok(hidden.flatten_all()?.to_vec1::<f32>()?)
}

/// One sequence of a residual stream as an activation.
pub fn activation(values: &[f32], packing: &Packing, sequence: usize) -> Result<Activation> {
    let width = values.len() / packing.rows();
    let rows = packing.rows_of(sequence);
    Activation::new(
        packing.tokens(sequence),
        width,
        rows.flat_map(|r| &values[r * width..][..width]).copied().collect(),
    )
}

/// A residual stream (rows x D) from its values, on the device of the decoder.
pub fn from_values(values: Vec<f32>, rows: usize, decoder: &Decoder) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, (rows, decoder.config().hidden_size), decoder.device())?)
}
