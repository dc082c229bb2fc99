//! The manifest of a run: what was asked for, what it was computed of, and what that took.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::folder::find_json;
use crate::save;

/// `manifest.json`. Each shard has its own, `manifest.<i>-of-<n>.json`. What an older version did not write is empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// Name of the experiment.
    pub experiment: String,
    /// Version and git revision of the program.
    pub version: String,
    /// The command line, without the program's place.
    pub command: Vec<String>,
    /// When the last process began.
    pub started: String,
    /// When the run was done; none before.
    pub finished: Option<String>,
    /// What the last process took.
    #[serde(flatten)]
    pub cost: Option<ProcessCost>,
    /// What the largest model was expected to take, bytes.
    pub predicted_memory: f64,
    /// The processes before this one.
    pub earlier: Vec<ProcessRecord>,
    /// What the experiment asks for, with what the command line changed in it.
    #[serde(alias = "scenario")]
    pub spec: Value,
    /// The rest of the command line.
    pub options: Value,
    /// The models.
    pub models: Vec<ModelRecord>,
    /// The data sets, for each model.
    pub datasets: Vec<DatasetRecord>,
    /// What was told on the way.
    pub notes: Vec<String>,
}

/// What a process of a run took.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessCost {
    /// From its beginning on.
    pub wall_seconds: f64,
    /// Where they went.
    pub spent: StageSeconds,
    /// What its scoring was expected to take; none on a GPU.
    pub predicted: Option<PredictedSeconds>,
    /// The most it had, bytes, where the system tells.
    pub peak_memory: Option<u64>,
}

/// A process that worked on the run before this one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessRecord {
    /// When it began.
    pub started: String,
    /// Up to its last writing, where it was killed.
    #[serde(flatten)]
    pub cost: ProcessCost,
}

/// Seconds. Codecs run beside the server half, so the parts may come to more than the whole.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StageSeconds {
    /// Reading weights and tokenizers.
    pub load_s: f64,
    /// Calibrating codecs on training rows.
    pub calibrate_s: f64,
    /// Embedding and layers up to the last split.
    pub client_s: f64,
    /// Encoders, summed over threads.
    pub encode_s: f64,
    /// Decoders, summed over threads.
    pub decode_s: f64,
    /// The unsplit model from the last split on: with the client half one pass of the model.
    pub baseline_s: f64,
    /// Server halves.
    pub server_s: f64,
    /// None of these was at work: data, planning, journal, tables and figures.
    pub rest_s: f64,
}

/// Seconds that scoring is expected to take, without reading models, calibrating codecs, and writing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PredictedSeconds {
    /// Client halves.
    pub client_s: f64,
    /// Codecs, divided over the threads.
    pub codec_s: f64,
    /// Server halves, and the unsplit model's rest.
    pub server_s: f64,
}

impl PredictedSeconds {
    /// All of it.
    pub fn seconds(&self) -> f64 {
        self.client_s + self.codec_s + self.server_s
    }
}

impl std::ops::AddAssign for PredictedSeconds {
    fn add_assign(&mut self, other: Self) {
        self.client_s += other.client_s;
        self.codec_s += other.codec_s;
        self.server_s += other.server_s;
    }
}

/// A model of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelRecord {
    /// Its name as given.
    pub name: String,
    /// Where it was found.
    pub origin: String,
    /// SHA-256 over config.json and the weight files.
    pub sha256: String,
    /// SHA-256 of tokenizer.json.
    pub tokenizer_sha256: String,
    /// What tokenizer.json puts before every text.
    pub prefix: Vec<String>,
    /// What it puts after every text.
    pub suffix: Vec<String>,
}

/// A data set that a model was asked.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DatasetRecord {
    /// The model.
    pub model: String,
    /// The data set.
    pub name: String,
    /// Where its rows came from.
    pub source: String,
    /// SHA-256 of the rows' file.
    pub sha256: String,
    /// Whether that equals the registry's.
    pub verified: bool,
    /// Questions asked.
    pub questions: usize,
    /// Rows that codecs were calibrated on.
    pub calibration_questions: usize,
    /// Questions left out as too long for the model.
    pub skipped: usize,
}

impl Manifest {
    /// Any of a run folder's manifests, a shard's too: they are of the same command. None where there is none.
    pub fn find(folder: &Path) -> Result<Option<Self>> {
        find_json(folder, "manifest")
    }

    /// Says in a file that has it open when its run was done: now. Tables would call themselves partial.
    pub fn finish(path: &Path) -> Result<()> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let now = serde_json::to_string(&jiff::Zoned::now().to_string())?;
        save::replace(path, text.replacen("\"finished\": null", &format!("\"finished\": {now}"), 1).as_bytes())
    }
}

/// The command line of this process. Where the program lies says nothing about the run.
pub fn command_line() -> Vec<String> {
    ["splitbench".to_string()]
        .into_iter()
        .chain(std::env::args_os().skip(1).map(|given| given.to_string_lossy().into_owned()))
        .collect()
}
