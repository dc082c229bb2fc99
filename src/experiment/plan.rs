//! What a run would do, and what it would take.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Result;
use candle_core::DType;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::cell::Cell;
use super::memory;
use super::needs::ensure_prepared;
use super::predict::{Predictor, Work};
use super::spec::Experiment;
use super::task::{ModelInput, tasks};
use crate::model::source;
use crate::record::manifest::Predicted;
use crate::score::{Request, lengths};
use splitbench_codec::{Activation, Calibration, CalibrationBuilder, Codec, build};

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
    /// What scoring is expected to take here.
    pub predicted: Predicted,
}

/// The whole of it.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// A line a model and data set.
    pub lines: Vec<Line>,
    /// Sum of FLOPs.
    pub flops: f64,
    /// Measured now: a layer of the slowest model's shape at the batch size, FLOP/s.
    pub flops_per_second: f64,
    /// What scoring is expected to take, s: client halves, codecs and server halves; not reading, calibrating and writing.
    pub seconds: f64,
    /// Weights plus the working set of a batch, bytes, of the largest model.
    pub memory_bytes: f64,
}

/// Plans without loading weights: one layer of each model's shape and every codec are timed.
pub fn plan(
    experiment: &Experiment,
    data_dir: Option<&Path>,
    dtype: DType,
    batch_tokens: usize,
    skip_long: bool,
) -> Result<Plan> {
    ensure_prepared(&experiment.spec, data_dir)?;
    let mut lines = Vec::new();
    let (mut most, mut speed) = (0f64, f64::INFINITY);
    for model in &experiment.spec.models {
        let (config, tokenizer) = (source::load_config(model)?, source::load_tokenizer(model)?);
        most = most.max(memory::bytes(&config, dtype, batch_tokens));
        let predictor = Predictor::new(&config, dtype, batch_tokens);
        speed = speed.min(predictor.layer_flops()?);
        let input = ModelInput { name: model, config: &config, tokenizer: &tokenizer };
        let tasks = tasks(&experiment.spec, &input, data_dir, skip_long)?;
        let codecs = codecs(tasks.iter().flat_map(|task| &task.cells), config.hidden_size)?;
        for task in tasks {
            let requests = &task.requests;
            let questions: Vec<&[Request]> = requests.iter().map(Vec::as_slice).collect();
            let cells: Vec<(&Cell, &dyn Codec)> = (task.cells.iter())
                .filter_map(|cell| Some((cell, codecs.get(&cell.codec.to_string())?.as_ref())))
                .collect();
            let work = Work { questions: &questions, cells: &cells, baseline: true };
            let (client, server) = work.flops(&config);
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
                flops: client.layers + server.layers + server.head,
                predicted: predictor.predict(&work)?,
            });
        }
    }
    let flops = lines.iter().map(|l| l.flops).sum();
    let seconds = lines.iter().map(|l| l.predicted.seconds()).sum();
    Ok(Plan { lines, flops, flops_per_second: speed, seconds, memory_bytes: most })
}

/// The codecs of some cells by name, those that need it calibrated on random numbers: what they take does not depend on them.
fn codecs<'a>(cells: impl Iterator<Item = &'a Cell>, hidden: usize) -> Result<HashMap<String, Box<dyn Codec>>> {
    let mut calibration: Option<Calibration> = None;
    let mut out = HashMap::new();
    for Cell { codec, .. } in cells {
        let name = codec.to_string();
        if out.contains_key(&name) {
            continue;
        }
        if codec.calibration().is_some() && calibration.is_none() {
            calibration = Some(stand_in(hidden)?);
        }
        out.insert(name, build(codec, calibration.as_ref())?);
    }
    Ok(out)
}

fn stand_in(hidden: usize) -> Result<Calibration> {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut values = |count: usize| -> Vec<f32> { (0..count).map(|_| random.random_range(-1.0f32..1.0)).collect() };
    let mut builder = CalibrationBuilder::new(hidden);
    builder.push_activation(&Activation::new(64, hidden, values(64 * hidden))?)?;
    builder.push_gradient(&values(64 * hidden))?;
    builder.set_next_weights((0..hidden * hidden).map(|i| f64::from(u8::from(i % (hidden + 1) == 0))).collect())?;
    builder.finish()
}
