//! Calibration of a data set's codecs on its training rows, at the same split.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use candle_core::Var;

use super::calibration_cache::CacheEntry;
use super::memory::batch_rows;
use super::spent::{Clock, Stage};
use crate::model::chunks_by_rows;
use crate::model::ops::cross_entropy;
use crate::model::source::Model;
use crate::model::split::{activation, from_values, to_values};
use crate::model::{Decoder, Packing, SplitPoint};
use crate::progress;
use crate::score::Request;
use splitbench_codec::{Activation, Calibration, CalibrationBuilder, CalibrationNeed, CodecSpec};

/// What the codecs need, from the gold choices of training questions; none where no codec needs any. It is taken from `kept`, a
/// folder, where an earlier run left it. `clock` hears of reading the model, where that is due.
pub fn calibrate(
    model: &Model,
    train: &[Request],
    split: SplitPoint,
    codecs: &[CodecSpec],
    most_rows: usize,
    kept: Option<&Path>,
    clock: &Clock,
) -> Result<Option<Calibration>> {
    let mut needs: Vec<CalibrationNeed> = codecs.iter().filter_map(CodecSpec::calibration).collect();
    needs.sort_unstable();
    needs.dedup();
    if needs.is_empty() {
        return Ok(None);
    }
    let rows = batch_rows(&model.config, &model.placement.device, most_rows);
    let gather = |entry: Option<&CacheEntry>| {
        let decoder = clock.time(Stage::Load, || model.decoder())?;
        gather(decoder, train, split, &needs, rows, entry)
    };
    match kept {
        Some(folder) => {
            let entry = CacheEntry::new(folder, model, train, split, &needs)?;
            entry.or_make(|| gather(Some(&entry)))
        }
        None => gather(None),
    }
    .map(Some)
}

/// What the codecs need of a few requests, kept nowhere.
pub fn calibrate_in_memory(
    model: &Model,
    train: &[Request],
    split: SplitPoint,
    codecs: &[CodecSpec],
) -> Result<Option<Calibration>> {
    calibrate(model, train, split, codecs, MEMORY_ROWS, None, &Clock::default())
}

/// Rows of a batch where nobody says how many.
const MEMORY_ROWS: usize = 2048;

/// How often an unfinished collection is kept, so that a program that is killed loses no more.
const KEEP_EVERY: Duration = Duration::from_secs(20);

/// Sums over the requests, going on where `entry` has those of some.
fn gather(
    decoder: &Decoder,
    requests: &[Request],
    split: SplitPoint,
    needs: &[CalibrationNeed],
    most_rows: usize,
    entry: Option<&CacheEntry>,
) -> Result<Calibration> {
    let empty = || (0, CalibrationBuilder::new(decoder.config().hidden_size));
    let (mut done, mut builder) = entry.and_then(CacheEntry::unfinished).unwrap_or_else(empty);
    let mut kept = Instant::now();
    let activity = progress::sequences(format!("calibrating after layer {}", split.after_layer), requests.len() as u64);
    activity.set_position(done as u64);
    for batch in chunks_by_rows(&requests[done.min(requests.len())..], most_rows, |request| request.tokens.len()) {
        let ids: Vec<u32> = batch.iter().flat_map(|request| &request.tokens).copied().collect();
        let packing = Arc::new(Packing::of(batch.iter().map(|request| request.tokens.len())));
        let values = to_values(&decoder.client(&ids, &packing, &[split])?.remove(0))?;
        for (sequence, request) in batch.iter().enumerate() {
            let activation = activation(&values, &packing, sequence)?;
            builder.push_activation(&activation)?;
            if needs.contains(&CalibrationNeed::Fisher) {
                builder.push_gradient(&loss_gradient(decoder, activation, split, &request.targets)?)?;
            }
            done += 1;
            activity.add(1);
            if let Some(entry) = entry.filter(|_| kept.elapsed() >= KEEP_EVERY && done < requests.len()) {
                // A folder that cannot be written to costs time, not the run; the end tells of it.
                let _ = entry.keep_unfinished(done, &builder);
                kept = Instant::now();
            }
        }
    }
    if needs.contains(&CalibrationNeed::NextWeights)
        && let Some(gram) = decoder.next_projection_gram(split.after_layer)?
    {
        builder.set_next_weights(gram)?;
    }
    builder.finish()
}

/// dL/dA (tokens x D, row-major) with L the negative log-likelihood, nats, of the targets.
fn loss_gradient(decoder: &Decoder, activation: Activation, split: SplitPoint, targets: &[u32]) -> Result<Vec<f32>> {
    let tokens = activation.tokens();
    let packing = Arc::new(Packing::of([tokens]));
    let activation = Var::from_tensor(&from_values(activation.into_values(), tokens, decoder)?)?;
    let rest = split.after_layer..decoder.config().num_hidden_layers;
    let last = decoder.run_layers(activation.as_tensor().clone(), &packing, rest)?;
    let scored = last.narrow(0, tokens - targets.len(), targets.len())?;
    let mean = cross_entropy(&decoder.logits(&scored)?, targets, &vec![1.0; targets.len()])?;
    let gradients = (mean * targets.len() as f64)?.backward()?;
    let gradient = gradients.get(&activation).context("the loss does not depend on the activation")?;
    Ok(gradient.flatten_all()?.to_vec1()?)
}
