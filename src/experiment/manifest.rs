//! The manifest of a run, kept up to date while it computes, and read again.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::run::RunOptions;
use super::spec::{Experiment, Spec};
use super::spent::Clock;
use super::task::Task;
use crate::model::source::Model;
use crate::record::machine::{Machine, peak_memory};
use crate::record::manifest::{
    DatasetRecord, Manifest, ModelRecord, PredictedSeconds, ProcessCost, ProcessRecord, command_line,
};
use crate::record::{RunFolder, read_json};

/// A process that is killed leaves in its manifest what it took up to this long before.
const KEEP_EVERY: Duration = Duration::from_secs(10);

/// Writes the manifest of this process and its run again and again.
pub struct ManifestWriter {
    /// What it has to say so far.
    pub manifest: Manifest,
    written: Option<Instant>,
}

impl ManifestWriter {
    /// Of a process that goes on with what is in the folder, if anything is.
    pub fn begin(
        experiment: &Experiment,
        options: &RunOptions,
        started: jiff::Zoned,
        folder: &RunFolder,
    ) -> Result<Self> {
        let manifest = Manifest {
            experiment: experiment.name.clone(),
            version: crate::VERSION.to_string(),
            command: command_line(),
            started: started.to_string(),
            finished: None,
            cost: None,
            predicted_memory: 0.0,
            earlier: earlier(&folder.results.join(folder.shard_file("manifest", "json"))),
            spec: serde_json::to_value(&experiment.spec)?,
            options: serde_json::to_value(options)?,
            models: Vec::new(),
            datasets: Vec::new(),
            notes: Vec::new(),
        };
        Ok(Self { manifest, written: None })
    }

    /// Adds a model.
    pub fn add_model(&mut self, model: &Model) {
        let Model { name, origin, sha256, tokenizer_sha256, special, notes, .. } = model;
        self.manifest.models.push(ModelRecord {
            name: name.clone(),
            origin: origin.clone(),
            sha256: sha256.clone(),
            tokenizer_sha256: tokenizer_sha256.clone(),
            prefix: special.before.clone(),
            suffix: special.after.clone(),
        });
        self.manifest.notes.extend(notes.iter().cloned());
    }

    /// Adds a data set that a model is asked.
    pub fn add_dataset(&mut self, model: &str, task: &Task) {
        self.manifest.datasets.push(DatasetRecord {
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

    /// Says that the run is done: now.
    pub fn finish(&mut self) {
        self.manifest.finished = Some(jiff::Zoned::now().to_string());
    }

    /// Writes it where that was not done for a while.
    pub fn keep(&mut self, folder: &RunFolder, clock: &Clock, predicted: Option<PredictedSeconds>) -> Result<()> {
        match self.written {
            Some(written) if written.elapsed() < KEEP_EVERY => Ok(()),
            _ => self.write(folder, clock, predicted),
        }
    }

    /// Writes it, with what this process took until now, and at first the machine beside it.
    pub fn write(&mut self, folder: &RunFolder, clock: &Clock, predicted: Option<PredictedSeconds>) -> Result<()> {
        if self.written.is_none() {
            folder.json(&folder.shard_file("machine", "json"), &Machine::detect())?;
        }
        self.written = Some(Instant::now());
        let (wall_seconds, spent) = clock.read();
        self.manifest.cost = Some(ProcessCost { wall_seconds, spent, predicted, peak_memory: peak_memory() });
        folder.json(&folder.shard_file("manifest", "json"), &self.manifest)
    }
}

/// The processes that a manifest tells of; none where there is none, or it is of another version.
fn earlier(path: &Path) -> Vec<ProcessRecord> {
    let Ok(Manifest { mut earlier, started, cost, .. }) = read_json(path) else { return Vec::new() };
    earlier.extend(cost.map(|cost| ProcessRecord { started, cost }));
    earlier
}

/// Which experiment a run is of, with what the command line changed in it.
pub struct RecordedRun {
    /// Its name.
    pub experiment: String,
    /// What it asks for.
    pub spec: Spec,
    /// When it ended; none of a run that has not.
    pub finished: Option<String>,
}

impl RecordedRun {
    /// What any of a folder's manifests says; none where there is none.
    pub fn find(folder: &Path) -> Result<Option<Self>> {
        let Some(Manifest { experiment, spec, finished, .. }) = Manifest::find(folder)? else { return Ok(None) };
        let spec = serde_json::from_value(spec)
            .with_context(|| format!("{}: the manifest is of no experiment of this version", folder.display()))?;
        Ok(Some(Self { experiment, spec, finished }))
    }
}
