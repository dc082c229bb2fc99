//! `splitbench profile`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use splitbench_codec::Accounting;

use super::cpu_model::CpuModel;
use super::embedded_text::embedded_text;
use super::perplexity::parse_codecs;
use super::text::{at_least_one, parse_ratio, text_cells};
use super::threads;
use crate::advise::measure::ModelTimes;
use crate::advise::packets::{CodecTimes, RunCodecs, every_codec};
use crate::advise::profile::{Basis, MachineProfile, ModelShape};
use crate::experiment::Cell;
use crate::model::source::{self, Model};
use crate::model::{Placement, SplitPoint};
use crate::output::{self, Output};
use crate::record::machine::{self, Machine};
use crate::report;
use crate::save;

/// Measure this machine: the time of each part of a model by number of tokens, and of codecs on its activations.
///
/// Writes the profile that says what a client or a server takes. It takes about a minute for a model of 135 million weights; let
/// nothing else run beside it. Without --codec, --from and --no-codecs it measures every codec, at ratio 8 on the wire where it takes
/// one. Examples:
///   splitbench profile --output laptop.toml
///   splitbench profile --model SmolLM2-135M-Instruct.Q4_1.gguf --threads 1 --codec int8,fc --ratio 4,8 --output slow-client.toml
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    model: CpuModel,
    /// Write the profile to this file, as TOML.
    #[arg(long, visible_alias = "out", value_name = "FILE.toml")]
    output: PathBuf,
    /// Most threads that the model computes with, such as 1 for a slow client; all, or RAYON_NUM_THREADS, if not given. Codecs have one.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,
    /// Layer whose activation codecs get.
    #[arg(long, visible_alias = "split", value_name = "LAYER", default_value_t = 1)]
    layer: usize,
    /// Folder of a run, results/<experiment>/<run>, whose codecs, ratios and accountings to measure; once for each.
    #[arg(long, value_name = "RUN")]
    from: Vec<PathBuf>,
    /// Codecs with their options, separated by commas, or the option once for each.
    #[arg(long, visible_alias = "codecs", value_name = "CODEC")]
    codec: Vec<String>,
    /// Compression ratios of --codec, at least 1, separated by commas, or 8 if not given; a codec of fixed rate has one line.
    #[arg(long, visible_alias = "ratios", value_name = "RATIO", value_delimiter = ',', value_parser = parse_ratio, requires = "codec")]
    ratio: Vec<f64>,
    /// What the ratios count: elements, or wire; elements if not given.
    #[arg(long, requires = "codec")]
    accounting: Option<Accounting>,
    /// Measure the model only.
    #[arg(long, conflicts_with_all = ["from", "codec"])]
    no_codecs: bool,
    /// Print the profile as JSON instead of tables.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Measures and writes.
    pub fn run(self) -> Result<()> {
        threads::limit(self.threads)?;
        let split = SplitPoint { after_layer: self.layer };
        let name = self.model.name();
        let (cells, models) = self.cells(split)?;
        let mut read = source::locate(&name)?.paths();
        read.extend(self.from.iter().map(|run| run.join("rows.parquet")));
        read.extend(cells.iter().flat_map(|cell| cell.codec.files()));
        output::check(&read, &[Output::file("--output", &self.output)])?;
        let model = self.model.load()?;
        model.config.check_split(split).context("--layer")?;
        for other in models.iter().filter(|other| **other != model.name) {
            tell!("note: --from has rows of model {other}; its codecs are measured on {}", model.name);
        }
        warn_of_load();
        let text = embedded_text(&model)?;
        let parts = ModelTimes::measure(&model, &text)?;
        let codecs = CodecTimes::measure(&model, &text, split, &cells)?;
        codecs.failed.iter().for_each(|failed| tell!("left out: {failed}"));
        let profile = self.profile(&model, parts, codecs);
        profile.check()?;
        let saved = save::replace(&self.output, profile.to_toml()?.as_bytes());
        match self.json {
            true => say!("{}", serde_json::to_string_pretty(&profile)?)?,
            false => say!("{}", report::profile::text(&profile, 160).trim_end())?,
        }
        saved?;
        if self.json { Ok(()) } else { say!("wrote {}", self.output.display()) }
    }

    /// The codecs to measure, each once, and models whose rows they are from.
    fn cells(&self, split: SplitPoint) -> Result<(Vec<Cell>, Vec<String>)> {
        if self.no_codecs {
            return Ok(Default::default());
        }
        if self.from.is_empty() && self.codec.is_empty() {
            return Ok((every_codec(split)?, Vec::new()));
        }
        let mut found = RunCodecs::default();
        if !self.from.is_empty() {
            found = RunCodecs::read(&self.from, split)?;
            found.left_out.iter().for_each(|reason| tell!("left out: {reason}"));
        }
        if !self.codec.is_empty() {
            let codecs = parse_codecs(&self.codec)?;
            for cell in text_cells(split, &codecs, &self.ratio, self.accounting)? {
                if !found.cells.contains(&cell) {
                    found.cells.push(cell);
                }
            }
        }
        ensure!(!found.cells.is_empty(), "no codec to measure: say --no-codecs for the model alone");
        Ok((found.cells, found.models))
    }

    fn profile(&self, model: &Model, parts: ModelTimes, codecs: CodecTimes) -> MachineProfile {
        let machine = Machine::detect();
        let Placement { dtype, .. } = &model.placement;
        let mut about = "Medians of passes through the whole model, each layer timed within them; least squares of relative errors; the \
             head with the choice of a token."
            .to_string();
        if !codecs.fits.is_empty() {
            about += &format!(
                " Codecs: medians on one thread, on activations after layer {} of the embedded questions; one row is the last.",
                self.layer
            );
        }
        if let Some(rows) = &codecs.calibrated_on {
            about += &format!(" Codecs that learn were calibrated on {rows}.");
        }
        if codecs.fits.iter().any(|fit| fit.codec == "token-ids") {
            about += " Of token-ids decoding is without the layers that the server then runs.";
        }
        MachineProfile {
            machine: format!("{}, {} of {} threads", machine.cpu, machine.threads, machine.cores),
            basis: Basis::Measured,
            about,
            version: crate::VERSION.to_string(),
            model: ModelShape::new(&model.name, &model.sha256, &model.config, dtype.as_str(), dtype.size_in_bytes()),
            embedding: parts.embedding,
            layer: parts.layer,
            layer_spread: parts.layer_spread,
            head: parts.head,
            codecs: codecs.fits,
        }
    }
}

/// Says where others are at work: times would be too long.
fn warn_of_load() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if let Some(load) = machine::load().filter(|load| *load > 0.5 * cores as f64) {
        tell!(
            "note: {load:.1} processes ran on {cores} cores in the last minute: times will be too long; stop what else runs"
        );
    }
}
