//! `splitbench prepare`.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::selection::{expand, split_list};
use crate::data::{self, DatasetRef};
use crate::experiment::Needs;
use crate::experiment::spec::{AllOrSome, Experiment, find};
use crate::model::place::HubModel;
use crate::model::source::{self, POCKET};
use crate::prepare::{self, PrepareOptions};
use crate::repeats::refuse_repeats;

/// Fetch models and data sets from the Hugging Face hub; the only command that uses the network.
///
/// What is there and right is left alone, and what was cut off goes on where it stopped. HF_HOME, HF_HUB_CACHE, HF_TOKEN,
/// HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean to huggingface_hub; proxies are read as curl reads them, and
/// SSL_CERT_FILE names authorities to trust in place of the system's. Examples:
///   splitbench prepare table2 --model qwen2.5-1.5b
///   splitbench prepare --model paper --dataset piqa,siqa
///   splitbench prepare --model owner/name-GGUF:Q4_K_M
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Experiment whose models and data sets are wanted: a name (`splitbench list experiments`) or a TOML file.
    #[arg(required_unless_present_any = ["model", "dataset"])]
    experiment: Option<String>,
    /// Models, separated by commas; instead of the experiment's where there is one: names, `owner/name` with or without `:FILE` that
    /// chooses a GGUF file by its name or a part of it, or `paper` for the paper's four.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    model: Vec<String>,
    /// Data sets, separated by commas; instead of the experiment's where there is one: names, or TOML files that define your own.
    #[arg(long, value_name = "NAME", visible_alias = "datasets")]
    dataset: Vec<String>,
    /// Folder with the rows of the data sets, as of `run`: only models are fetched.
    #[arg(long, value_name = "DIR", requires = "experiment", conflicts_with = "dir")]
    data_dir: Option<PathBuf>,
    /// Put models into DIR/hub and data sets into DIR/<dataset> instead of the hub's cache.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Accept rows that differ from those on record; every run with them notes it.
    #[arg(long)]
    accept_changed: bool,
}

impl Args {
    /// Fetches.
    pub fn run(self) -> Result<()> {
        let (needs, experiment) = self.needs()?;
        if needs.is_empty() {
            say!("nothing to fetch: all of it is part of the program or a folder; --model names a model of the hub")?;
            return Ok(());
        }
        let options = PrepareOptions { dir: self.dir, experiment, accept_changed: self.accept_changed };
        // Nothing that is wrong with the terminal ends a download.
        prepare::prepare(&needs, &options, &mut |line| drop(say!("{line}")))?;
        if let Some(dir) = options.dir {
            let cache = dir.join("hub");
            say!("for run: HF_HUB_CACHE={} splitbench run ... --data-dir {}", cache.display(), dir.display())?;
        }
        Ok(())
    }

    /// What is to be fetched, and the experiment's file, where it is not part of the program.
    fn needs(&self) -> Result<(Needs, Option<PathBuf>)> {
        let models: Vec<String> = self.model.iter().flat_map(|name| expand(name)).collect();
        for name in models.iter().filter(|name| *name != POCKET) {
            let known = source::registry().iter().map(|m| m.name.as_str());
            ensure!(
                HubModel::parse(name).is_some(),
                splitbench_codec::suggest::unknown("model of the hub", name, known.chain([POCKET]))
            );
        }
        refuse_repeats("model", &models, String::clone)?;
        let datasets = split_list("--dataset", &self.dataset, ',')?;
        let Some(experiment) = &self.experiment else {
            let models = models.iter().filter_map(|name| HubModel::parse(name)).collect();
            let mut datasets = datasets.iter().map(|name| data::find(name)).collect::<Result<Vec<_>>>()?;
            data::refuse_namesakes(&datasets)?;
            datasets.retain(|info| info.is_of_hub());
            return Ok((Needs { models, datasets }, None));
        };
        let Experiment { mut spec, file, .. } = find(experiment)?;
        if !models.is_empty() {
            spec.models = models;
        }
        if !datasets.is_empty() {
            spec.datasets = AllOrSome::Some(datasets.into_iter().map(DatasetRef::Name).collect());
            spec.resolve_datasets(Path::new(""))?;
        }
        spec.check()?;
        let needs = Needs::new(&spec)?;
        Ok((if self.data_dir.is_some() { Needs { datasets: Vec::new(), ..needs } } else { needs }, file))
    }
}
