//! What a run would do, and what it would take.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use super::batch::{Group, Sharing, groups};
use super::memory;
use super::needs::ensure_prepared;
use super::run::{Task, tasks};
use super::spec::Experiment;
use crate::model::split::scored_rows;
use crate::model::{Config, Packing, source};
use crate::replay::trace::lengths;
use crate::score::{Request, encode_requests};

/// The work of one model and data set.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Model name.
    pub model: String,
    /// Data set name.
    pub dataset: String,
    /// Questions.
    pub questions: usize,
    /// Requests: questions times choices.
    pub requests: usize,
    /// Tokens of all requests.
    pub tokens: usize,
    /// Longest request, in tokens.
    pub longest: usize,
    /// Number of requests of each length, in tokens.
    pub lengths: BTreeMap<usize, usize>,
    /// Cells, the baseline not counted.
    pub cells: usize,
    /// Floating-point operations of the decoder, a multiply-add as two. Codecs are not counted.
    pub flops: f64,
}

/// The whole of it.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// A line a model and data set.
    pub lines: Vec<Line>,
    /// Sum of FLOPs.
    pub flops: f64,
    /// Measured now: matrix products of the model's shape at the batch size, FLOP/s.
    pub flops_per_second: f64,
    /// Their quotient: a lower bound on the time, s, since codecs, attention at short lengths and tables come on top.
    pub seconds: f64,
    /// Weights plus the working set of a batch, bytes, of the largest model.
    pub memory_bytes: f64,
}

/// Plans without loading weights or computing anything but a short matrix product.
pub fn plan(experiment: &Experiment, data_dir: Option<&Path>, dtype: DType, batch_tokens: usize) -> Result<Plan> {
    ensure_prepared(&experiment.spec, data_dir)?;
    let mut lines = Vec::new();
    let (mut most, mut speed) = (0f64, f64::INFINITY);
    for model in &experiment.spec.models {
        let (config, tokenizer) = (source::load_config(model)?, source::load_tokenizer(model)?);
        most = most.max(memory::bytes(&config, dtype, batch_tokens));
        speed = speed.min(measure(&config, batch_tokens)?);
        for task in tasks(&experiment.spec, model, config.num_hidden_layers, data_dir)? {
            let requests: Vec<Vec<Request>> = task
                .dataset
                .questions
                .iter()
                .map(|q| {
                    encode_requests(&tokenizer, q)
                        .with_context(|| format!("data set {}, question {}", task.dataset.info.name, q.id))
                })
                .collect::<Result<_>>()?;
            let flat = requests.concat();
            lines.push(Line {
                model: model.clone(),
                dataset: task.dataset.info.name.clone(),
                questions: requests.len(),
                requests: flat.len(),
                tokens: flat.iter().map(|r| r.tokens.len()).sum(),
                longest: flat.iter().map(|r| r.tokens.len()).max().unwrap_or(0),
                lengths: lengths(&flat),
                cells: task.cells.len(),
                flops: flops(&config, &task, &requests),
            });
        }
    }
    let flops = lines.iter().map(|l| l.flops).sum();
    Ok(Plan { lines, flops, flops_per_second: speed, seconds: flops / speed, memory_bytes: most })
}

fn flops(c: &Config, task: &Task, questions: &[Vec<Request>]) -> f64 {
    let wide = (c.num_attention_heads * c.head_dim) as f64;
    let layers = c.num_hidden_layers;
    // The client half and the unsplit model's rest are one pass.
    let passes = std::iter::once((Sharing::Computed, layers))
        .chain(task.cells.iter().map(|cell| (Sharing::Received(cell.scope), layers - cell.split.after_layer)));
    let groups = groups(questions);
    let of_pass = |sharing: Sharing, layers: usize| -> f64 {
        let of_group = |group: &Group| -> f64 {
            let mut packing = Packing::default();
            group.pack(&mut packing, sharing);
            let seen: usize =
                (0..group.sequences()).map(|s| (group.tokens(s) - group.shared(s, sharing)) * group.tokens(s)).sum();
            let layer = 2.0 * packing.rows() as f64 * memory::layer_weights(c) + 4.0 * seen as f64 * wide;
            let head = 2.0 * (c.hidden_size * c.vocab_size) as f64;
            layers as f64 * layer + scored_rows(&packing, group.scored(0)).0.len() as f64 * head
        };
        groups.iter().map(of_group).sum()
    };
    passes.map(|(sharing, layers)| of_pass(sharing, layers)).sum()
}

/// FLOP/s of the feed-forward block's product at the batch size: the best of a few.
fn measure(c: &Config, batch_tokens: usize) -> Result<f64> {
    let rows = batch_tokens.clamp(16, 1024);
    let x = Tensor::ones((rows, c.hidden_size), DType::F32, &Device::Cpu)?;
    let w = Tensor::ones((c.intermediate_size, c.hidden_size), DType::F32, &Device::Cpu)?;
    let work = 2.0 * (rows * c.hidden_size * c.intermediate_size) as f64;
    let mut best = 0f64;
    let clock = Instant::now();
    while clock.elapsed().as_secs_f64() < 0.3 {
        let one = Instant::now();
        x.matmul(&w.t()?)?;
        best = best.max(work / one.elapsed().as_secs_f64());
    }
    Ok(best)
}
