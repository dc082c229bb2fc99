//! Calibration of a data set's codecs on its training rows, at the same split.

use anyhow::{Context, Result};
use candle_core::{Tensor, Var};

use super::batch::batches;
use crate::codec::{Calibration, CalibrationBuilder, CalibrationNeed, CodecSpec};
use crate::model::ops::cross_entropy;
use crate::model::source::Model;
use crate::model::split::to_activations;
use crate::model::{Decoder, SplitPoint};
use crate::score::{Request, encode_request};

/// Gathers what the codecs need from the gold choices of training questions; none where no codec needs any.
pub fn calibrate(
    model: &Model,
    train: &[crate::data::Question],
    split: SplitPoint,
    codecs: &[CodecSpec],
    most_tokens: usize,
) -> Result<Option<Calibration>> {
    let needs: Vec<CalibrationNeed> = codecs.iter().filter_map(CodecSpec::calibration).collect();
    if needs.is_empty() {
        return Ok(None);
    }
    let decoder = &model.decoder;
    let mut builder = CalibrationBuilder::new(decoder.config().hidden_size);
    let requests: Vec<Request> = train
        .iter()
        .map(|q| {
            let choice = &q.choices[q.gold];
            encode_request(&model.tokenizer, &choice.context, &choice.continuation)
                .with_context(|| format!("training question {}", q.id))
        })
        .collect::<Result<_>>()?;
    for batch in batches(&requests, most_tokens).batches {
        let ids: Vec<&[u32]> = batch.iter().map(|&i| requests[i].tokens.as_slice()).collect();
        let hidden = decoder.client(&ids, &[split])?.remove(0);
        for activation in to_activations(&hidden)? {
            builder.push_activation(&activation)?;
        }
        if needs.contains(&CalibrationNeed::Fisher) {
            for (item, &i) in batch.iter().enumerate() {
                let gradient = loss_gradient(decoder, hidden.narrow(0, item, 1)?, split, &requests[i].targets)?;
                builder.push_gradient(&gradient)?;
            }
        }
    }
    if needs.contains(&CalibrationNeed::NextWeights)
        && let Some(gram) = decoder.next_projection_gram(split.after_layer)?
    {
        builder.set_next_weights(gram)?;
    }
    builder.finish().map(Some)
}

/// dL/dA (tokens x D, row-major) with L the negative log-likelihood, nats, of the targets.
fn loss_gradient(decoder: &Decoder, hidden: Tensor, split: SplitPoint, targets: &[u32]) -> Result<Vec<f32>> {
    let (_, tokens, width) = hidden.dims3()?;
    let activation = Var::from_tensor(&hidden.contiguous()?)?;
    let last =
        decoder.run_layers(activation.as_tensor().clone(), split.after_layer..decoder.config().num_hidden_layers)?;
    let scored = last.reshape((tokens, width))?.narrow(0, tokens - targets.len(), targets.len())?;
    let mean = cross_entropy(&decoder.logits(&scored)?, targets, &vec![1.0; targets.len()])?;
    let gradients = (mean * targets.len() as f64)?.backward()?;
    let gradient = gradients.get(&activation).context("the loss does not depend on the activation")?;
    Ok(gradient.flatten_all()?.to_vec1()?)
}
