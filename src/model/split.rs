//! The cut: client half, server half, and the scores at the end.

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::decoder::Decoder;
use crate::codec::Activation;
use crate::score::log_softmax_at;

/// Where the model is cut: the client runs layers 1..=`after_layer`, the server the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitPoint {
    /// 1..=N.
    pub after_layer: usize,
}

/// Most logits held at once, in values (256 MiB of f32).
const MOST_LOGITS: usize = 1 << 26;

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

    /// The client half of a batch of requests of one length: the residual stream (batch x tokens x D) after each of the
    /// split layers, which must ascend. One pass serves them all.
    pub fn client(&self, batch: &[&[u32]], splits: &[SplitPoint]) -> Result<Vec<Tensor>> {
        let mut hidden = self.embed(batch)?;
        let mut done = 0;
        let mut out = Vec::with_capacity(splits.len());
        for &split in splits {
            self.check_split(split)?;
            ensure!(split.after_layer >= done, "split layers must ascend");
            hidden = self.run_layers(hidden, done..split.after_layer)?;
            done = split.after_layer;
            out.push(hidden.clone());
        }
        Ok(out)
    }

    /// The server half: layers after the split, norm and head at the scored positions. `hidden` is batch x tokens x D;
    /// `targets[b]` are scored at the last positions of item b. Gives each item's log-likelihood, nats: the sum over its
    /// targets.
    pub fn server(&self, hidden: Tensor, split: SplitPoint, targets: &[&[u32]]) -> Result<Vec<f64>> {
        self.check_split(split)?;
        self.finish(hidden, split.after_layer, targets)
    }

    /// The model without a cut: log-likelihood of each item, as [`Decoder::server`] gives it.
    pub fn unsplit(&self, batch: &[&[u32]], targets: &[&[u32]]) -> Result<Vec<f64>> {
        self.finish(self.embed(batch)?, 0, targets)
    }

    fn finish(&self, hidden: Tensor, done: usize, targets: &[&[u32]]) -> Result<Vec<f64>> {
        let (batch, tokens, width) = hidden.dims3()?;
        ensure!(batch == targets.len(), "{batch} items but {} lists of targets", targets.len());
        let hidden = self.run_layers(hidden, done..self.config().num_hidden_layers)?;
        let mut rows = Vec::new();
        for (item, targets) in targets.iter().enumerate() {
            ensure!(
                (1..=tokens).contains(&targets.len()),
                "{} scored tokens in a request of {tokens} tokens",
                targets.len()
            );
            rows.extend((tokens - targets.len()..tokens).map(|t| (item * tokens + t) as u32));
        }
        let wanted: Vec<u32> = targets.concat();
        let flat = hidden.reshape((batch * tokens, width))?;
        let vocabulary = self.config().vocab_size;
        let mut each = Vec::with_capacity(rows.len());
        for (rows, wanted) in
            rows.chunks((MOST_LOGITS / vocabulary).max(1)).zip(wanted.chunks((MOST_LOGITS / vocabulary).max(1)))
        {
            let index = Tensor::from_slice(rows, rows.len(), self.device())?;
            let logits = self.logits(&flat.index_select(&index, 0)?)?.flatten_all()?.to_vec1::<f32>()?;
            each.par_extend(
                logits.par_chunks_exact(vocabulary).zip(wanted).map(|(row, &target)| log_softmax_at(row, target)),
            );
        }
        let mut each = each.into_iter();
        Ok(targets.iter().map(|t| each.by_ref().take(t.len()).sum()).collect())
    }
}

/// The items of batch x tokens x D as activations.
pub fn to_activations(hidden: &Tensor) -> Result<Vec<Activation>> {
    let (_, tokens, width) = hidden.dims3()?;
    let values = hidden.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    values.chunks_exact(tokens * width).map(|item| Activation::new(tokens, width, item.to_vec())).collect()
}

/// Activations of one shape as batch x tokens x D, in the type and on the device of the decoder.
pub fn from_activations(items: Vec<Activation>, like: &Tensor) -> Result<Tensor> {
    let (tokens, width) = (items[0].tokens(), items[0].hidden());
    let count = items.len();
    let values: Vec<f32> = items.into_iter().flat_map(Activation::into_values).collect();
    Ok(Tensor::from_vec(values, (count, tokens, width), like.device())?.to_dtype(like.dtype())?)
}
