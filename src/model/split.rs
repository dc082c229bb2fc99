//! The cut: client half, server half, and the scores at the end.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::decoder::Decoder;
use super::ops::with_values;
use super::packing::Packing;
use crate::codec::Activation;
use crate::score::log_softmax_at;

/// Where the model is cut: the client runs layers 1..=`after_layer`, the server the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitPoint {
    /// 1..=N.
    pub after_layer: usize,
}

/// A continuation to score: `targets` are predicted at the last positions of a packed sequence.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// Index of the sequence.
    pub sequence: usize,
    /// Token ids.
    pub targets: &'a [u32],
}

/// Most logits held at once, in values (256 MiB of f32).
pub const MOST_LOGITS: usize = 1 << 26;

impl Decoder {
    /// Fails unless `split` lies in 1..=N.
    pub fn check_split(&self, split: SplitPoint) -> Result<()> {
        let n = self.config().num_hidden_layers;
        ensure!(
            (1..=n).contains(&split.after_layer),
            "split layer {} is outside 1..={n} of this model",
            split.after_layer
        );
        Ok(())
    }

    /// The client half: the residual stream (rows x D) of packed sequences after each of the split layers, which must
    /// ascend. One pass serves them all. `ids` has a token id a row.
    pub fn client(&self, ids: &[u32], packing: &Arc<Packing>, splits: &[SplitPoint]) -> Result<Vec<Tensor>> {
        self.further(self.embed(ids)?, 0, packing, splits)
    }

    /// As [`Decoder::client`], from the residual stream after `done` layers on.
    pub fn further(
        &self,
        mut hidden: Tensor,
        mut done: usize,
        packing: &Arc<Packing>,
        splits: &[SplitPoint],
    ) -> Result<Vec<Tensor>> {
        let mut out = Vec::with_capacity(splits.len());
        for &split in splits {
            self.check_split(split)?;
            ensure!(split.after_layer >= done, "split layers must ascend");
            hidden = self.run_layers(hidden, packing, done..split.after_layer)?;
            done = split.after_layer;
            out.push(hidden.clone());
        }
        // A GPU computes on after a call has returned: the time of this one is the client half's only when it is done.
        self.device().synchronize()?;
        Ok(out)
    }

    /// The server half: layers after the split on the residual stream (rows x D), norm and head at the scored positions.
    /// Gives the log-likelihood, nats, of each continuation: the sum over its targets.
    pub fn server(
        &self,
        hidden: Tensor,
        packing: &Arc<Packing>,
        split: SplitPoint,
        scored: &[Scored],
    ) -> Result<Vec<f64>> {
        self.check_split(split)?;
        self.finish(hidden, packing, split.after_layer, scored)
    }

    /// The model without a cut: log-likelihoods as [`Decoder::server`] gives them.
    pub fn unsplit(&self, ids: &[u32], packing: &Arc<Packing>, scored: &[Scored]) -> Result<Vec<f64>> {
        self.finish(self.embed(ids)?, packing, 0, scored)
    }

    fn finish(&self, hidden: Tensor, packing: &Arc<Packing>, done: usize, scored: &[Scored]) -> Result<Vec<f64>> {
        for Scored { sequence, targets } in scored {
            let tokens = packing.tokens(*sequence);
            ensure!(
                (1..=tokens).contains(&targets.len()),
                "{} scored tokens in a request of {tokens} tokens",
                targets.len()
            );
        }
        let (rows, wanted) = scored_rows(packing, scored.iter().copied());
        let hidden = self.run_to_rows(hidden, packing, done, &rows)?;
        let vocabulary = self.config().vocab_size;
        let mut each = vec![0f64; wanted.len()];
        let most = (MOST_LOGITS / vocabulary).max(1);
        for first in (0..rows.len()).step_by(most) {
            let rows = most.min(rows.len() - first);
            let logits = self.logits(&hidden.narrow(0, first, rows)?)?.to_device(&Device::Cpu)?;
            with_values(&logits, |logits| {
                each.par_iter_mut()
                    .zip(&wanted)
                    .filter(|(_, (place, _))| (first..first + rows).contains(place))
                    .for_each(|(each, (place, target))| {
                        *each = log_softmax_at(&logits[(place - first) * vocabulary..][..vocabulary], *target);
                    });
            })?;
        }
        let mut each = each.into_iter();
        Ok(scored.iter().map(|s| each.by_ref().take(s.targets.len()).sum()).collect())
    }
}

/// The rows whose logits are needed, each once (the choices of a question share the one that predicts their first token),
/// and for each target in order the index of its row among them and its id.
pub fn scored_rows<'a>(packing: &Packing, scored: impl Iterator<Item = Scored<'a>>) -> (Vec<u32>, Vec<(usize, u32)>) {
    let (mut rows, mut wanted) = (Vec::new(), Vec::new());
    let mut place_of = HashMap::new();
    for Scored { sequence, targets } in scored {
        let first = packing.tokens(sequence) - targets.len();
        for (row, &target) in packing.rows_of(sequence).skip(first).zip(targets) {
            let place = *place_of.entry(row).or_insert_with(|| {
                rows.push(row as u32);
                rows.len() - 1
            });
            wanted.push((place, target));
        }
    }
    (rows, wanted)
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
