//! Options that `plan`, `run` and `layers` share: which part of an experiment.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::experiment::largest_batch;
use crate::experiment::spec::{Experiment, Many, find};
use crate::model::{Placement, place, source};

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
    /// Models instead of the experiment's: names (`splitbench list models`), folders, GGUF files, `DIR:FILE` or `owner/name:FILE` of the
    /// hub with a file's name or a part of it, or `paper` for the paper's four.
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    model: Vec<String>,
    /// A tokenizer.json in place of a GGUF model's own, which it must fit token by token.
    #[arg(long, value_name = "tokenizer.json")]
    tokenizer: Option<PathBuf>,
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
    /// Memory a run may take, such as 4GiB or 800MB: batches are as large as fit beside the weights. No score depends on it.
    #[arg(long, value_name = "SIZE", conflicts_with = "batch_tokens", value_parser = parse_size)]
    memory: Option<f64>,
    /// Type the weight matrices are kept in: f32, or bf16 in half the memory. Arithmetic is f32 in both.
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub dtype: String,
}

impl Selection {
    /// The experiment with the changes made.
    pub fn resolve(&mut self) -> Result<Experiment> {
        let mut experiment = find(&self.experiment)?;
        self.part.apply(&mut experiment)?;
        Ok(experiment)
    }
}

impl Part {
    /// Makes the changes; fails where they leave something that no run could use.
    pub fn apply(&mut self, experiment: &mut Experiment) -> Result<()> {
        let spec = &mut experiment.spec;
        if !self.model.is_empty() {
            spec.models = self.model.iter().flat_map(|name| expand(name)).collect();
        }
        if let Some(tokenizer) = &self.tokenizer {
            let [model] = spec.models.as_mut_slice() else {
                bail!("--tokenizer is for one GGUF model, and there are {} models", spec.models.len());
            };
            *model = place::with_tokenizer(model, tokenizer);
        }
        if !self.datasets.is_empty() {
            spec.datasets = Many::Some(self.datasets.clone());
        }
        spec.limit = self.limit.or(spec.limit);
        ensure!(self.batch_tokens > 0, "--batch-tokens is 0; give 1 or more");
        if let Some(dir) = &self.data_dir {
            ensure!(dir.is_dir(), "--data-dir {}: no such folder", dir.display());
        }
        spec.check()?;
        if let Some(bytes) = self.memory {
            let dtype = Placement::open("cpu", &self.dtype)?.dtype;
            let most =
                spec.models.iter().map(|model| largest_batch(model, dtype, bytes)).collect::<Result<Vec<_>>>()?;
            self.batch_tokens = most.into_iter().min().unwrap_or(self.batch_tokens);
        }
        Ok(())
    }
}

/// Bytes: a number with a unit, of which GB is 10^9 and GiB 2^30.
fn parse_size(text: &str) -> Result<f64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "mb" => 1e6,
        "gb" => 1e9,
        "mib" => (1u64 << 20) as f64,
        "gib" => (1u64 << 30) as f64,
        _ => bail!("{text:?} is no size: give a number and one of MB, GB, MiB, GiB, such as 4GiB"),
    };
    let number: f64 = number.trim().parse().with_context(|| format!("{text:?} does not begin with a number"))?;
    ensure!(number.is_finite() && number > 0.0, "{text:?} is no size above zero");
    Ok(number * unit)
}

/// A model, or the four that `paper` stands for.
pub(super) fn expand(name: &str) -> Vec<String> {
    if name == "paper" {
        return source::registry().iter().filter(|m| m.paper).map(|m| m.name.clone()).collect();
    }
    vec![name.to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("1.5GB").unwrap(), 1.5e9);
        assert_eq!(parse_size("4 GiB").unwrap(), 4294967296.0);
        assert_eq!(parse_size("800mb").unwrap(), 8e8);
        for bad in ["", "4", "4KB", "GB", "-1GB", "0MB", "1e999GB", "four GB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
