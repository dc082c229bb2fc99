//! `splitbench device-check`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::text::{ModelArgs, at_least_one};
use crate::data::{self, RowSource};
use crate::experiment::{DeviceAgreement, DevicePair, ModelInput, questions};
use crate::model::{SplitPoint, description};
use crate::report::digits;

/// Say whether a GPU comes to the CPU's numbers, by a table and an exit code.
///
/// Runs the model on the device and on the CPU: the residual stream after each layer, then log-likelihoods without cut, with noop, fc
/// and int8 after --split, and a second time on the device. Largest differences that pass: 1e-4 relative, 1e-3 nats, 0.1 nats with
/// fc and int8, none between two runs on the device; and no answer may change but at a near tie. Without --datasets all ten small sets
/// of the program.
///
/// Exit codes: 0 all within the limits, 1 not, or an error. Examples:
///   splitbench device-check --device cuda
///   splitbench device-check --device cuda --dtype bf16 --model model.gguf --limit 20
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Where the model is cut for the codecs: 1 up to the number of layers.
    #[arg(long, visible_alias = "layer", value_name = "LAYER", default_value_t = 1)]
    split: usize,
    /// Data sets, separated by commas: names (`splitbench list datasets`), or TOML files that define your own.
    #[arg(long, visible_alias = "dataset", value_name = "NAME", value_delimiter = ',')]
    datasets: Vec<String>,
    /// First questions of each data set.
    #[arg(long, value_name = "N", default_value = "50", value_parser = at_least_one)]
    limit: usize,
    /// Folder with the rows of the real data sets.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Leave out questions longer than the model takes, which are an error otherwise.
    #[arg(long)]
    skip_long: bool,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct DeviceReport<'a> {
    device: &'a str,
    model: String,
    dtype: &'a str,
    split_layer: usize,
    checks: &'a [DeviceAgreement],
    passed: bool,
    version: &'static str,
}

impl Args {
    /// Compares.
    pub fn run(self) -> Result<()> {
        let source = RowSource::new(self.data_dir.as_deref());
        let minis = || data::registry().iter().filter(|info| info.mini).map(|info| info.name.clone()).collect();
        let names: Vec<String> = if self.datasets.is_empty() { minis() } else { self.datasets.clone() };
        let sets = names.iter().map(|name| data::find(name)?.load(&source, Some(self.limit)));
        let sets: Vec<_> = sets.collect::<Result<_>>()?;
        let split = SplitPoint { after_layer: self.split };
        let device = self.model.load(split)?;
        let cpu = self.model.on_cpu(&device)?;
        if device.placement.device.is_cpu() {
            tell!("note: --device is cpu, so this compares the CPU with itself; for a GPU give --device cuda");
        }
        let named = description(device.decoder()?.device())?;
        if !self.json {
            say!("{named}, beside the CPU; {}, weights in {}", self.model.name(), self.model.dtype())?;
        }
        let pair = DevicePair { device: &device, cpu: &cpu, split, batch_tokens: self.model.batch_tokens };
        let mut checks: Vec<DeviceAgreement> = Vec::new();
        let mut add = |more: Vec<DeviceAgreement>| -> Result<()> {
            if !self.json {
                more.iter().try_for_each(|check| say!("{}", line(check)))?;
            }
            checks.extend(more);
            Ok(())
        };
        for (nth, dataset) in sets.into_iter().enumerate() {
            let name = self.model.name();
            let input = ModelInput { name: &name, config: &cpu.config, tokenizer: &cpu.tokenizer };
            let (dataset, requests) = questions(&input, dataset, self.skip_long)?;
            ensure!(!requests.is_empty(), "{} has no question that {name} takes", dataset.info.name);
            if nth == 0 {
                let longest = requests.iter().flatten().max_by_key(|request| request.tokens.len());
                add(vec![pair.hidden_states(longest.context("a question has no choice")?)?])?;
            }
            add(pair.scores(&dataset, &requests)?)?;
        }
        let failed = checks.iter().filter(|check| !check.passed()).count();
        if self.json {
            let report = DeviceReport {
                device: &named,
                model: self.model.name(),
                dtype: self.model.dtype(),
                split_layer: self.split,
                checks: &checks,
                passed: failed == 0,
                version: crate::VERSION,
            };
            say!("{}", serde_json::to_string_pretty(&report)?)?;
        }
        if failed > 0 {
            bail!("{failed} of {} comparisons are outside their limits", checks.len());
        }
        Ok(())
    }
}

fn line(check: &DeviceAgreement) -> String {
    let DeviceAgreement { values, difference, limit, changed, unexplained, .. } = check;
    let verdict = if check.passed() { "ok    " } else { "FAILED" };
    let answers = match (changed, unexplained) {
        (0, _) => String::new(),
        (changed, 0) => format!(", {changed} answers changed at near ties"),
        (changed, far) => format!(", {changed} answers changed, {far} of them not at near ties"),
    };
    let (difference, limit) = (digits(*difference), digits(*limit));
    format!("{verdict}  {}: {difference} at most of {values} values, limit {limit}{answers}", check.check)
}
