//! Options that `plan`, `run` and `layers` share: which part of an experiment.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::data::DatasetRef;
use crate::experiment::largest_batch;
use crate::experiment::spec::{AllOrSome, Experiment, find};
use crate::model::{Placement, place, source};

/// An experiment and what the command line changes in it.
#[derive(clap::Args)]
pub struct Selection {
    /// Experiment: a name (`splitbench list experiments`) or a TOML file.
    experiment: String,
    #[command(flatten)]
    pub part: SelectionPart,
}

/// What the command line changes in an experiment, and where it runs.
#[derive(clap::Args)]
pub struct SelectionPart {
    /// Models instead of the experiment's: names (`splitbench list models`), folders, GGUF files, `DIR:FILE` or `owner/name:FILE` of the
    /// hub with a file's name or a part of it, or `paper` for the paper's four; separated by commas, or the option once for each. A
    /// comma that belongs to a path is written `\,`.
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// A tokenizer.json in place of a GGUF model's own, which it must fit token by token.
    #[arg(long, value_name = "tokenizer.json")]
    tokenizer: Option<PathBuf>,
    /// Data sets instead of the experiment's, separated by commas: names (`splitbench list datasets`), or TOML files that define your own.
    #[arg(long, visible_alias = "dataset", value_name = "NAME")]
    datasets: Vec<String>,
    /// First questions of each data set only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Folder with the rows of the real data sets: DIR/<dataset>/eval.jsonl and train.jsonl in the hub's schema.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Most rows of the residual stream per batch, which has one question at least; no score depends on it.
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub batch_tokens: usize,
    /// Memory a run may take, such as 4GiB or 800MB: batches are as large as fit beside the weights. No score depends on it.
    #[arg(long, value_name = "SIZE", conflicts_with = "batch_tokens", value_parser = parse_size)]
    memory: Option<f64>,
    /// Type the weight matrices are kept in: f32, or bf16 in half the memory. Arithmetic is f32 in both; on a GPU tf32 and bf16-gemm
    /// round the factors of products with weights (docs/gpu.md).
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub dtype: String,
    /// Leave out questions longer than the model takes, which are an error otherwise; tables count them.
    #[arg(long)]
    pub skip_long: bool,
}

impl Selection {
    /// The experiment with the changes made.
    pub fn resolve(&mut self) -> Result<Experiment> {
        let mut experiment = find(&self.experiment)?;
        self.part.apply(&mut experiment)?;
        Ok(experiment)
    }
}

impl SelectionPart {
    /// Makes the changes; fails where they leave something that no run could use.
    pub fn apply(&mut self, experiment: &mut Experiment) -> Result<()> {
        let spec = &mut experiment.spec;
        if !self.model.is_empty() {
            spec.models = split_list("--model", &self.model, ',')?.iter().flat_map(|name| expand(name)).collect();
        }
        if let Some(tokenizer) = &self.tokenizer {
            let [model] = spec.models.as_mut_slice() else {
                bail!("--tokenizer is for one GGUF model, and there are {} models", spec.models.len());
            };
            *model = place::with_tokenizer(model, tokenizer);
        }
        if !self.datasets.is_empty() {
            spec.datasets = AllOrSome::Some(
                split_list("--datasets", &self.datasets, ',')?.into_iter().map(DatasetRef::Name).collect(),
            );
            spec.resolve_datasets(Path::new(""))?;
        }
        spec.limit = self.limit.or(spec.limit);
        ensure!(self.batch_tokens > 0, "--batch-tokens is 0; give 1 or more");
        if let Some(dir) = &self.data_dir {
            ensure!(dir.is_dir(), "--data-dir {}: no such folder", dir.display());
        }
        spec.check()?;
        for model in &spec.models {
            spec.datasets_for(model, self.data_dir.is_some())?;
        }
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
pub(super) fn parse_size(text: &str) -> Result<f64> {
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

/// The parts of an option's values, which a separator parts; after a backslash it belongs to the part. Fails where a value is also the path
/// of a file or folder, as either could be meant.
pub(super) fn split_list(option: &str, values: &[String], separator: char) -> Result<Vec<String>> {
    let escaped = format!("\\{separator}");
    let mut parts = Vec::new();
    for value in values {
        let mut part = String::new();
        for piece in value.split_inclusive(separator) {
            match (piece.strip_suffix(&escaped), piece.strip_suffix(separator)) {
                (Some(piece), _) => part = part + piece + &separator.to_string(),
                (None, Some(piece)) => parts.push(std::mem::take(&mut part) + piece),
                (None, None) => part += piece,
            }
        }
        parts.push(part);
        ensure!(
            !value.contains(separator) || value.contains(&escaped) || !Path::new(value).exists(),
            "{option} {value}: there is a file or folder of this name; write {escaped} for a {separator} that belongs to it, or give \
             {option} once for each of several"
        );
    }
    Ok(parts)
}

/// A model by the name its results go by, or the four that `paper` stands for.
pub(super) fn expand(name: &str) -> Vec<String> {
    if name == "paper" {
        return source::registry().iter().filter(|m| m.paper).map(|m| m.name.clone()).collect();
    }
    vec![source::canonical(name)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_may_belong_to_a_part() {
        let split = |values: &[&str]| {
            split_list("--model", &values.iter().map(|value| value.to_string()).collect::<Vec<_>>(), ',')
        };
        assert_eq!(split(&["a,b", "c"]).unwrap(), ["a", "b", "c"]);
        assert_eq!(split(&["a\\,b,c", "d\\,"]).unwrap(), ["a,b", "c", "d,"]);
        assert_eq!(split(&["a,", ",b"]).unwrap(), ["a", "", "", "b"]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v1,2").display().to_string();
        assert_eq!(split(&[&path]).unwrap().len(), 2);
        std::fs::create_dir(&path).unwrap();
        let error = split(&[&path]).unwrap_err().to_string();
        assert!(error.contains("v1,2") && error.contains("\\,"), "{error}");
        assert_eq!(split(&[&path.replace(',', "\\,")]).unwrap(), [path]);
    }

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
