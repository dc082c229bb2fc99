//! How much memory a model takes, before it is loaded.

use anyhow::{Context, Error, Result, ensure};
use candle_core::{DType, Device};

use crate::model::ops::WIDENED;
use crate::model::{Config, Placement, ProductType, free_memory, source, split};

/// Weights of one layer's matrices.
pub(super) fn layer_weights(c: &Config) -> f64 {
    let (wide, narrow) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
    (c.hidden_size * (2 * wide + 2 * narrow) + 3 * c.hidden_size * c.intermediate_size) as f64
}

/// Those that make queries, keys and values.
pub(super) fn attention_weights(c: &Config) -> f64 {
    (c.hidden_size * (c.num_attention_heads + 2 * c.num_key_value_heads) * c.head_dim) as f64
}

/// Program, tokenizer, rows and tables, bytes: as measured with the pocket model and small batches.
const BESIDE: f64 = 120e6;

/// Weights, the working set of a batch, and what is there anyway, bytes.
pub(super) fn bytes(c: &Config, dtype: DType, batch_tokens: usize) -> f64 {
    let batch = batch_tokens as f64 * (8 * c.hidden_size + 3 * c.intermediate_size) as f64;
    let logits = (split::MOST_LOGITS as f64).min(batch_tokens as f64 * c.vocab_size as f64);
    BESIDE + weights(c, dtype) + 4.0 * (batch + 2.0 * logits)
}

/// Of all weights.
fn weights(c: &Config, dtype: DType) -> f64 {
    let heads = if c.tie_word_embeddings { 1 } else { 2 };
    let weights = c.num_hidden_layers as f64 * layer_weights(c) + (heads * c.vocab_size * c.hidden_size) as f64;
    dtype.size_in_bytes() as f64 * weights
}

/// On a GPU, where every intermediate result is a tensor: weights, and the larger of what a layer and what the head has at once. Counted at
/// the gate of the feed-forward block and, if all rows of a batch were scored, at the logits.
fn gpu_bytes(c: &Config, placement: &Placement, batch_tokens: usize) -> f64 {
    let (rows, d, inner) = (batch_tokens as f64, c.hidden_size as f64, c.intermediate_size as f64);
    let wide = (c.num_attention_heads * c.head_dim) as f64;
    // The client half's rows, and a batch that waits.
    let waiting = rows * 2.0 * d;
    let mut layer = rows * (3.0 * d + wide + 4.0 * inner);
    let logits = (split::MOST_LOGITS as f64).min(2.0 * rows * c.vocab_size as f64);
    let mut head = logits + rows * 2.0 * d;
    if placement.dtype != DType::F32 && placement.products == ProductType::F32 {
        // Weights are widened block by block, and the results of the blocks put together: of a gate, and of one of the two logits.
        let block = |weights: f64| weights.min(WIDENED as f64);
        layer += block(d * inner) + rows * inner;
        head += block(d * c.vocab_size as f64) + logits / 2.0;
    }
    weights(c, placement.dtype) + 4.0 * (waiting + layer.max(head))
}

/// Most operations of the layers in a batch on a CPU: 10 s at 40 GFLOP/s. A program that is killed loses two or three batches.
const BATCH_FLOPS: f64 = 4e11;

/// Fewer rows than this waste a matrix product.
const FEWEST_ROWS: f64 = 256.0;

/// Rows of a batch of some model, at most `batch_tokens`.
pub(super) fn batch_rows(c: &Config, device: &Device, batch_tokens: usize) -> usize {
    if !device.is_cpu() {
        return batch_tokens;
    }
    let flops = 2.0 * c.num_hidden_layers as f64 * layer_weights(c);
    batch_tokens.min((BATCH_FLOPS / flops).max(FEWEST_ROWS) as usize)
}

/// Rows of a batch that gain nothing by more.
const MOST_ROWS: usize = 8192;

/// Rows a batch of a model may have where all of it is to fit into so many bytes; fails where the weights leave no room.
pub fn largest_batch(model: &str, dtype: DType, most_bytes: f64) -> Result<usize> {
    let config = source::load_config(model)?;
    let rows = fitting(|rows| bytes(&config, dtype, rows) <= most_bytes);
    rows.with_context(|| {
        format!(
            "model {model} takes {:.2} GiB with batches of one row, more than the {:.2} GiB of --memory; give more, or \
             keep the weights in half of it with --dtype bf16",
            bytes(&config, dtype, 1) / (1u64 << 30) as f64,
            most_bytes / (1u64 << 30) as f64
        )
    })
}

/// The largest number of rows that fits; memory grows with them.
fn fitting(fits: impl Fn(usize) -> bool) -> Option<usize> {
    if !fits(1) {
        return None;
    }
    let (mut low, mut high) = (1, MOST_ROWS + 1);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if fits(middle) { low = middle } else { high = middle }
    }
    Some(low)
}

/// Says on the terminal what a model will take, and fails where this machine, or the GPU, has not that much left.
pub fn check_memory(model: &str, placement: &Placement, batch_tokens: usize) -> Result<()> {
    let config = source::load_config(model)?;
    if let Some(free) = free_memory(&placement.device)? {
        return fits(model, "the GPU's memory", gpu_bytes(&config, placement, batch_tokens), free as f64);
    }
    let system = sysinfo::System::new_with_specifics(
        sysinfo::RefreshKind::nothing().with_memory(sysinfo::MemoryRefreshKind::nothing().with_ram()),
    );
    // A container may have less than the machine. What it keeps of files it read, such as weights just fetched, is not
    // in the way.
    let container = system.cgroup_limits().map_or(u64::MAX, |c| c.total_memory.saturating_sub(c.rss));
    let free = container.min(system.available_memory());
    fits(model, "memory", bytes(&config, placement.dtype, batch_tokens), free as f64)
}

/// Runs `work` with batches of so many rows, and where a GPU's memory runs out again with half as many: of others' doing, or where more is
/// needed than was predicted.
pub(super) fn with_rows<T>(mut rows: usize, mut work: impl FnMut(usize) -> Result<T>) -> Result<T> {
    loop {
        match work(rows) {
            Err(error) if rows > 1 && is_out_of_memory(&error) => {
                rows /= 2;
                tell!("note: the GPU's memory ran out; going on with batches of {rows} rows");
            }
            done => return done,
        }
    }
}

/// Whether the driver, or cuBLAS, had no memory left: candle knows their errors by text only.
fn is_out_of_memory(error: &Error) -> bool {
    let text = format!("{error:?}");
    ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"].iter().any(|name| text.contains(name))
}

fn fits(model: &str, of: &str, needed: f64, free: f64) -> Result<()> {
    // Small models need no word about it.
    if needed > 0.1 * free {
        tell!("model {model}: at most {} of {of}, {} are free", size(needed), size(free));
    }
    ensure!(
        needed <= free,
        "model {model} takes up to {} of {of} and {} are free; close other programs, keep the weights in half of it with --dtype bf16, \
         lower --batch-tokens, or take a smaller model",
        size(needed),
        size(free)
    );
    Ok(())
}

fn size(bytes: f64) -> String {
    let mib = bytes / (1u64 << 20) as f64;
    if mib < 1000.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_as_large_as_fit() {
        for most in [1, 2, 777, MOST_ROWS] {
            assert_eq!(fitting(|rows| rows <= most), Some(most));
        }
        assert_eq!(fitting(|_| true), Some(MOST_ROWS));
        assert_eq!(fitting(|_| false), None);
        let of = |bytes: f64| largest_batch(source::POCKET, DType::F32, bytes);
        let (small, large) = (of(180e6).unwrap(), of(220e6).unwrap());
        assert!(1 < small && small < large, "{small} {large}");
        let error = of(100e6).unwrap_err().to_string();
        assert!(error.contains("--memory") && error.contains("pocket"), "{error}");
    }

    #[test]
    fn a_model_that_cannot_fit_is_refused_with_both_numbers() {
        let error = fits("big", "memory", 13e9, 8e9).unwrap_err().to_string();
        assert!(error.contains("12.1 GiB") && error.contains("7.5 GiB") && error.contains("big"), "{error}");
        fits("small", "memory", 1e6, 8e9).unwrap();
    }

    #[test]
    fn batches_are_halved_until_they_fit_and_other_errors_stay() {
        let mut tried = Vec::new();
        let out = |rows| anyhow::anyhow!("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\") at {rows} rows");
        let found = with_rows(100, |rows| {
            tried.push(rows);
            if rows > 30 { Err(out(rows)).context("a layer") } else { Ok(rows) }
        });
        assert_eq!((found.unwrap(), tried), (25, vec![100, 50, 25]));
        assert!(with_rows(4, |rows| Err::<(), _>(out(rows))).unwrap_err().to_string().contains("at 1 rows"));
        let mut calls = 0;
        let other = with_rows(100, |_| {
            calls += 1;
            Err::<(), _>(anyhow::anyhow!("CUDA_ERROR_ILLEGAL_ADDRESS"))
        });
        assert!(other.is_err() && calls == 1);
    }
}
