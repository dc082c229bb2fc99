//! How much memory a model takes, before it is loaded.

use anyhow::{Result, ensure};
use candle_core::DType;

use crate::model::{Config, Placement, source, split};

/// Weights of one layer's matrices.
pub(super) fn layer_weights(c: &Config) -> f64 {
    let (wide, narrow) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
    (c.hidden_size * (2 * wide + 2 * narrow) + 3 * c.hidden_size * c.intermediate_size) as f64
}

/// Weights plus the working set of a batch, bytes.
pub(super) fn bytes(c: &Config, dtype: DType, batch_tokens: usize) -> f64 {
    let heads = if c.tie_word_embeddings { 1 } else { 2 };
    let weights = c.num_hidden_layers as f64 * layer_weights(c) + (heads * c.vocab_size * c.hidden_size) as f64;
    let batch = batch_tokens as f64 * (8 * c.hidden_size + 3 * c.intermediate_size) as f64;
    let logits = (split::MOST_LOGITS as f64).min(batch_tokens as f64 * c.vocab_size as f64);
    dtype.size_in_bytes() as f64 * weights + 4.0 * (batch + 2.0 * logits)
}

/// Says on the terminal what a model will take, and fails where this machine has not that much left. Knows nothing of a
/// GPU's memory.
pub fn check_memory(model: &str, placement: &Placement, batch_tokens: usize) -> Result<()> {
    if !placement.device.is_cpu() {
        return Ok(());
    }
    let config = source::load_config(model)?;
    let system = sysinfo::System::new_with_specifics(
        sysinfo::RefreshKind::nothing().with_memory(sysinfo::MemoryRefreshKind::nothing().with_ram()),
    );
    // A container may have less than the machine. What it keeps of files it read, such as weights just fetched, is not
    // in the way.
    let container = system.cgroup_limits().map_or(u64::MAX, |c| c.total_memory.saturating_sub(c.rss));
    let free = container.min(system.available_memory());
    fits(model, bytes(&config, placement.dtype, batch_tokens), free as f64)
}

fn fits(model: &str, needed: f64, free: f64) -> Result<()> {
    let gib = |bytes: f64| bytes / (1u64 << 30) as f64;
    // Small models need no word about it.
    if needed > 0.1 * free {
        eprintln!("model {model}: about {:.1} GiB of memory, {:.1} GiB are free", gib(needed), gib(free));
    }
    ensure!(
        needed <= free,
        "model {model} takes about {:.1} GiB of memory and {:.1} GiB are free; close other programs, keep the weights \
         in half of it with --dtype bf16, lower --batch-tokens, or take a smaller model",
        gib(needed),
        gib(free)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_cannot_fit_is_refused_with_both_numbers() {
        let error = fits("big", 13e9, 8e9).unwrap_err().to_string();
        assert!(error.contains("12.1 GiB") && error.contains("7.5 GiB") && error.contains("big"), "{error}");
        fits("small", 1e6, 8e9).unwrap();
    }
}
