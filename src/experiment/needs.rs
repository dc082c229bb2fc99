//! What an experiment needs from the hub, and the `prepare` line that fetches it.

use std::path::Path;

use anyhow::{Result, bail};

use super::spec::Spec;
use crate::data::{self, DatasetInfo};
use crate::model::place::HubModel;
use crate::model::source::{self, POCKET};

/// Models and data sets of the hub.
#[derive(Debug, Default)]
pub struct Needs {
    /// Models of the hub, in the experiment's order.
    pub models: Vec<HubModel>,
    /// Data sets whose rows are not part of the program.
    pub datasets: Vec<&'static DatasetInfo>,
}

impl Needs {
    /// What a run of the experiment takes from the hub. Folders and the embedded model bring what they need, and so do the user's
    /// own rows; the embedded model is asked the embedded questions in place of those of the built-in sets.
    pub fn new(spec: &Spec) -> Result<Self> {
        let models = spec.models.iter().filter_map(|name| HubModel::parse(name)).collect();
        let real = spec.models.iter().any(|name| name != POCKET);
        let datasets = spec
            .dataset_infos()?
            .into_iter()
            .filter(|info| info.is_of_hub() && (real || info.origin.is_some()))
            .collect();
        Ok(Self { models, datasets })
    }

    /// Whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        self.models.is_empty() && self.datasets.is_empty()
    }

    /// Leaves what is not on this machine. Rows in a folder of the user's are read, and missed, there.
    fn missing(mut self, data_dir: Option<&Path>) -> Self {
        self.models.retain(HubModel::is_missing);
        self.datasets.retain(|d| data_dir.is_none() && !data::is_prepared(d));
        self
    }

    /// The command that fetches all of it.
    fn line(&self) -> String {
        let mut line = String::from("splitbench prepare");
        let models: Vec<&str> = self.models.iter().map(|m| m.name.as_str()).collect();
        let datasets: Vec<String> = self.datasets.iter().map(|d| d.given()).collect();
        for (option, names) in [("--model", models), ("--dataset", datasets.iter().map(String::as_str).collect())] {
            if !names.is_empty() {
                line += &format!(" {option} {}", names.join(","));
            }
        }
        line
    }
}

/// Fails before anything is loaded where something has to be fetched first, and says how.
pub fn ensure_prepared(spec: &Spec, data_dir: Option<&Path>) -> Result<()> {
    // A misspelt model is told before the rows that would be fetched for it.
    let unknown = |name: &&String| HubModel::parse(name).is_none();
    spec.models.iter().filter(unknown).try_for_each(|name| source::locate(name).map(drop))?;
    let missing = Needs::new(spec)?.missing(data_dir);
    if missing.is_empty() {
        return Ok(());
    }
    let mut hints = Vec::new();
    if missing.models.iter().any(|m| m.gated) {
        hints.push("Llama's licence has to be accepted on the hub before that");
    }
    if !missing.models.is_empty() {
        hints.push("a folder of config.json, model.safetensors and tokenizer.json, or a GGUF file, works as --model");
    }
    if !missing.datasets.is_empty() {
        hints.push("a folder with <dataset>/eval.jsonl works as --data-dir");
    }
    let names: Vec<&str> = missing
        .models
        .iter()
        .map(|m| m.name.as_str())
        .chain(missing.datasets.iter().map(|d| d.name.as_str()))
        .collect();
    bail!("not on this machine: {}; fetch with `{}`; {}", names.join(", "), missing.line(), hints.join("; "))
}
