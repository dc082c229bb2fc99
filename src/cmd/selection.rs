//! Options that `plan`, `run` and `layers` share: which part of an experiment.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::experiment::spec::{Experiment, Many, find};
use crate::model::source;

/// An experiment and what the command line changes in it.
#[derive(clap::Args)]
pub struct Selection {
    /// Experiment: a name (`splitbench list experiments`) or a TOML file.
    experiment: String,
    #[command(flatten)]
    pub part: Part,
}

/// What the command line changes in an experiment, and where it runs.
#[derive(clap::Args)]
pub struct Part {
    /// Models instead of the experiment's: names (`splitbench list models`), folders, or `paper` for the paper's four.
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    model: Vec<String>,
    /// Data sets instead of the experiment's, separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    datasets: Vec<String>,
    /// First questions of each data set only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Folder with the rows of the real data sets: DIR/<dataset>/eval.jsonl and train.jsonl in the hub's schema.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Rows of the residual stream a batch has at most, but of one question at least; no score depends on it.
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub batch_tokens: usize,
    /// Type the weight matrices are kept in: f32, or bf16 in half the memory. Arithmetic is f32 in both.
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub dtype: String,
}

impl Selection {
    /// The experiment with the changes made.
    pub fn resolve(&self) -> Result<Experiment> {
        let mut experiment = find(&self.experiment)?;
        self.part.apply(&mut experiment)?;
        Ok(experiment)
    }
}

impl Part {
    /// Makes the changes; fails where they leave something that no run could use.
    pub fn apply(&self, experiment: &mut Experiment) -> Result<()> {
        let spec = &mut experiment.spec;
        if !self.model.is_empty() {
            spec.models = self.model.iter().flat_map(|name| expand(name)).collect();
        }
        if !self.datasets.is_empty() {
            spec.datasets = Many::Some(self.datasets.clone());
        }
        spec.limit = self.limit.or(spec.limit);
        ensure!(self.batch_tokens > 0, "--batch-tokens is 0; give 1 or more");
        if let Some(dir) = &self.data_dir {
            ensure!(dir.is_dir(), "--data-dir {}: no such folder", dir.display());
        }
        spec.check()
    }
}

/// A model, or the four that `paper` stands for.
pub(super) fn expand(name: &str) -> Vec<String> {
    if name == "paper" {
        return source::registry().iter().filter(|m| m.paper).map(|m| m.name.clone()).collect();
    }
    vec![name.to_string()]
}
