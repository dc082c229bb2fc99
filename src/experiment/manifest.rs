//! The manifest of a run: what was asked for, what it was computed of, and what that took.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::machine::{Machine, peak_memory};
use super::predict::Predicted;
use super::run::Options;
use super::spec::{Experiment, Spec};
use super::spent::{Clock, Spent};
use super::store::Store;
use super::task::Task;
use crate::model::source::Model;

/// What a process of a run took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Took {
    /// From its beginning on.
    pub wall_seconds: f64,
    /// Where they went.
    pub spent: Spent,
    /// What its scoring was expected to take; none on a GPU.
    pub predicted: Option<Predicted>,
    /// The most it had, bytes, where the system tells.
    pub peak_memory: Option<u64>,
}

/// A process that worked on the run before this one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Process {
    /// When it began.
    pub started: String,
    /// Up to its last writing, where it was killed.
    #[serde(flatten)]
    pub took: Took,
}

/// See the module. Each shard has its own.
#[derive(Serialize)]
pub struct Manifest<'a> {
    experiment: &'a str,
    version: &'static str,
    command: Vec<String>,
    started: String,
    /// When the run was done; none before.
    pub finished: Option<String>,
    #[serde(flatten)]
    took: Option<Took>,
    /// What the largest model was expected to take, bytes.
    pub predicted_memory: f64,
    /// The processes before this one.
    pub earlier: Vec<Process>,
    spec: &'a Spec,
    options: &'a Options,
    models: Vec<OfModel>,
    datasets: Vec<OfDataset>,
    /// What was told on the way.
    pub notes: Vec<String>,
    #[serde(skip)]
    written: Option<Instant>,
}

/// A process that is killed leaves in its manifest what it took up to this long before.
const KEEP_EVERY: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct OfModel {
    name: String,
    origin: String,
    sha256: String,
    tokenizer_sha256: String,
    /// What tokenizer.json puts before every text.
    prefix: Vec<String>,
    /// What it puts after every text.
    suffix: Vec<String>,
}

#[derive(Serialize)]
struct OfDataset {
    model: String,
    name: String,
    source: String,
    sha256: String,
    verified: bool,
    questions: usize,
    calibration_questions: usize,
    /// Questions left out as too long for the model.
    skipped: usize,
}

impl<'a> Manifest<'a> {
    /// Of a process that goes on with what is in the store, if anything is.
    pub fn begin(experiment: &'a Experiment, options: &'a Options, started: jiff::Zoned, store: &Store) -> Self {
        Self {
            experiment: &experiment.name,
            version: crate::VERSION,
            // Where the program lies says nothing about the run.
            command: ["splitbench".to_string()].into_iter().chain(std::env::args().skip(1)).collect(),
            started: started.to_string(),
            finished: None,
            took: None,
            predicted_memory: 0.0,
            earlier: earlier(&store.results.join(store.own("manifest", "json"))),
            spec: &experiment.spec,
            options,
            models: Vec::new(),
            datasets: Vec::new(),
            notes: Vec::new(),
            written: None,
        }
    }

    /// Adds a model.
    pub fn model(&mut self, model: &Model) {
        let Model { name, origin, sha256, tokenizer_sha256, special, notes, .. } = model;
        self.models.push(OfModel {
            name: name.clone(),
            origin: origin.clone(),
            sha256: sha256.clone(),
            tokenizer_sha256: tokenizer_sha256.clone(),
            prefix: special.before.clone(),
            suffix: special.after.clone(),
        });
        self.notes.extend(notes.iter().cloned());
    }

    /// Adds a data set that a model is asked.
    pub fn dataset(&mut self, model: &str, task: &Task) {
        self.datasets.push(OfDataset {
            model: model.to_string(),
            name: task.dataset.info.name.clone(),
            source: task.dataset.source.clone(),
            sha256: task.dataset.sha256.clone(),
            verified: task.dataset.verified,
            questions: task.dataset.questions.len(),
            calibration_questions: task.train.len(),
            skipped: task.dataset.skipped,
        });
    }

    /// Writes it where that was not done for a while.
    pub fn keep(&mut self, store: &Store, clock: &Clock, predicted: Option<Predicted>) -> Result<()> {
        match self.written {
            Some(written) if written.elapsed() < KEEP_EVERY => Ok(()),
            _ => self.write(store, clock, predicted),
        }
    }

    /// Writes it, with what this process took until now, and at first the machine beside it.
    pub fn write(&mut self, store: &Store, clock: &Clock, predicted: Option<Predicted>) -> Result<()> {
        if self.written.is_none() {
            store.json(&store.own("machine", "json"), &Machine::here())?;
        }
        self.written = Some(Instant::now());
        let (wall_seconds, spent) = clock.read();
        self.took = Some(Took { wall_seconds, spent, predicted, peak_memory: peak_memory() });
        store.json(&store.own("manifest", "json"), self)
    }
}

/// The processes that a manifest tells of; none where there is none, or it is of another version.
fn earlier(path: &Path) -> Vec<Process> {
    #[derive(Deserialize)]
    struct Before {
        earlier: Vec<Process>,
        #[serde(flatten)]
        last: Process,
    }
    let read = || serde_json::from_slice::<Before>(&fs::read(path).ok()?).ok();
    let Some(Before { mut earlier, last }) = read() else { return Vec::new() };
    earlier.push(last);
    earlier
}

/// Which experiment a run is of, with what the command line changed in it.
#[derive(Deserialize)]
pub struct Known {
    /// Its name.
    pub experiment: String,
    /// What it asks for.
    pub spec: Spec,
    /// When it ended; none of a run that has not.
    pub finished: Option<String>,
}

impl Known {
    /// Any of the folder's manifests, a shard's too: they are of the same command. None where there is none.
    pub fn of_run(folder: &Path) -> Result<Option<Self>> {
        let files = fs::read_dir(folder).with_context(|| format!("there is no run {}", folder.display()))?;
        let mut paths: Vec<PathBuf> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
        paths.sort();
        let is_manifest = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("manifest.") && name.ends_with(".json")
        };
        let Some(path) = paths.into_iter().find(is_manifest) else { return Ok(None) };
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let known = serde_json::from_str(&text);
        known.with_context(|| format!("{} is no manifest of this version", path.display())).map(Some)
    }
}
