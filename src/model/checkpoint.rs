//! What the tensors of a checkpoint make of its config.json: which of them is the head, and which nothing reads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::weights::{self, Weights};
use super::{Config, Decoder, DecoderPart, Placement};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// Tensors that old checkpoints hold and everybody computes.
const COMPUTED: [&str; 2] = ["rotary_emb.inv_freq", "position_ids"];

/// Names that a note gives of many.
const SHOWN: usize = 3;

/// Ties the head to the embedding or not, as transformers does, and says what a reader of config.json would not expect: a
/// saved head that differs from the embedding is kept whatever `tie_word_embeddings` says.
pub fn settle(mut config: Config, weights: &Weights) -> Result<(Config, Vec<String>)> {
    let mut notes = Vec::new();
    if config.tie_word_embeddings && weights.has(EMBEDDING) && weights.has(HEAD) && !weights.are_same(EMBEDDING, HEAD) {
        config.tie_word_embeddings = false;
        notes.push(format!(
            "config.json has tie_word_embeddings = true, but the checkpoint holds a {HEAD} that differs from {EMBEDDING}: it is \
             used, as transformers does; set tie_word_embeddings to false to say so"
        ));
    }
    let mut read = tensors_read(&config)?;
    // The same values as the embedding's, by now.
    read.insert(HEAD.to_string());
    let unread: Vec<String> = (weights.names().into_iter())
        .filter(|name| !read.contains(&in_first_layer(name, config.num_hidden_layers)))
        .filter(|name| !COMPUTED.iter().any(|end| name.ends_with(end)))
        .collect();
    if !unread.is_empty() {
        notes.push(format!(
            "the decoder that config.json describes does not read {} of the checkpoint's tensors: {}; scores are as without \
             them",
            unread.len(),
            first_names(&unread)
        ));
    }
    Ok((config, notes))
}

/// What to say where a folder holds the weights twice: in the one file that is read, and in the shards of an index.
pub(super) fn second_weights(files: &[PathBuf]) -> Option<String> {
    let [single] = files else { return None };
    let index = single.with_file_name("model.safetensors.index.json");
    let read = |shard: &String| single.file_name() == Some(Path::new(shard).as_os_str());
    let other = weights::shards(&index).is_ok_and(|shards| !shards.iter().all(read));
    other.then(|| {
        format!("{} is read, as transformers does, not the files that {} names", single.display(), index.display())
    })
}

/// A part of the decoder of a settled configuration; its matrices in the placement's type.
pub fn decoder(config: &Config, weights: &Weights, placement: &Placement, part: DecoderPart) -> Result<Decoder> {
    let Placement { device, dtype, .. } = placement;
    Decoder::new(config, device, part, |tensor, shape| {
        // A tied checkpoint may hold either of the two.
        let only_head =
            tensor == EMBEDDING && config.tie_word_embeddings && !weights.has(EMBEDDING) && weights.has(HEAD);
        let dtype = if shape.len() > 1 { *dtype } else { DType::F32 };
        weights.get(if only_head { HEAD } else { tensor }, shape, dtype, device)
    })
}

/// The names that a decoder with one layer asks for.
fn tensors_read(config: &Config) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let one = Config { num_hidden_layers: 1, head_dim: 2, max_position_embeddings: 1, ..config.clone() };
    Decoder::new(&one, &Device::Cpu, DecoderPart::Whole, |name, _| {
        names.insert(name.to_string());
        Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?)
    })?;
    Ok(names)
}

/// A tensor of any of the layers by its name in the first.
fn in_first_layer(name: &str, layers: usize) -> String {
    let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    match layer {
        Some((number, rest)) if number.parse().is_ok_and(|nth: usize| nth < layers && nth.to_string() == number) => {
            format!("model.layers.0.{rest}")
        }
        _ => name.to_string(),
    }
}

/// The first few of some names, and how many more there are.
pub(super) fn first_names(names: &[String]) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
