//! Recording a trace: from data sets and a tokenizer to shapes, or with a model to its activations.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use super::trace::{self, StoredActivations, TokenizerId, Trace, TraceSet, activations_path, check_size};
use crate::data::Dataset;
use crate::model::source::Model;
use crate::model::split::to_values;
use crate::model::{Packing, SplitPoint};
use crate::score::{Request, encode_dataset};
use splitbench_codec::Activation;
use splitbench_codec::npy;

/// What a trace says of how it came about.
pub struct TraceOrigin {
    /// The tokenizer.
    pub tokenizer: TokenizerId,
    /// First questions of each data set.
    pub limit: Option<usize>,
}

/// The shapes of the activations that `datasets` send.
pub fn shapes(about: TraceOrigin, tokenizer: &Tokenizer, datasets: &[Dataset]) -> Result<Trace> {
    let set = |dataset| Ok(TraceSet::new(dataset, &encode_dataset(tokenizer, dataset)?, false));
    Ok(assemble(about, datasets.iter().map(set).collect::<Result<_>>()?, None))
}

fn assemble(about: TraceOrigin, datasets: Vec<TraceSet>, activations: Option<StoredActivations>) -> Trace {
    let TraceOrigin { tokenizer, limit } = about;
    Trace { splitbench_trace: trace::FORMAT, made_by: crate::VERSION.into(), tokenizer, activations, limit, datasets }
}

/// Runs the client half on every request of `datasets`. Gives the trace that is to lie at `path`, and the file that is to lie beside
/// it, with the activations after the split layer. Batches have at most `most_rows` rows, of one request at least; the values do not depend on it.
/// Fails before anything is computed where they would not fit into one matrix.
pub fn activations(
    about: TraceOrigin,
    model: &Model,
    split: SplitPoint,
    datasets: &[Dataset],
    most_rows: usize,
    path: &Path,
) -> Result<(Trace, Vec<u8>)> {
    let decoder = model.decoder()?;
    decoder.config().check_split(split)?;
    let requests: Vec<Vec<Vec<Request>>> =
        datasets.iter().map(|dataset| encode_dataset(&model.tokenizer, dataset)).collect::<Result<_>>()?;
    let sets: Vec<TraceSet> =
        datasets.iter().zip(&requests).map(|(dataset, requests)| TraceSet::new(dataset, requests, true)).collect();
    let hidden = decoder.config().hidden_size;
    let tokens = sets.iter().map(|set| set.tokens).sum();
    check_size(tokens, hidden)?;
    let mut values = Vec::with_capacity(tokens * hidden);
    let flat: Vec<&Request> = requests.iter().flatten().flatten().collect();
    for batch in crate::model::chunks_by_rows(&flat, most_rows, |request| request.tokens.len()) {
        let ids: Vec<u32> = batch.iter().flat_map(|request| &request.tokens).copied().collect();
        let packing = Arc::new(Packing::of(batch.iter().map(|request| request.tokens.len())));
        values.extend(to_values(&decoder.client(&ids, &packing, &[split])?.remove(0))?);
    }
    let bytes = npy::to_bytes(&Activation::new(tokens, hidden, values)?);
    let npy = activations_path(path);
    let file = npy.file_name().and_then(|name| name.to_str());
    let stored = StoredActivations {
        file: file.with_context(|| format!("{} names no file", npy.display()))?.to_string(),
        sha256: hex::encode(Sha256::digest(&bytes)),
        hidden,
        model: model.name.clone(),
        model_sha256: model.sha256.clone(),
        split_layer: split.after_layer,
    };
    Ok((assemble(about, sets, Some(stored)), bytes))
}
