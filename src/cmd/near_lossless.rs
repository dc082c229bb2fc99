//! `splitbench near-lossless`.

use anyhow::{Result, ensure};
use splitbench_codec::split_codecs;

use super::run::{RunPlace, conclude};
use super::selection::{SelectionPart, split_list};
use super::text::fixed_rate;
use crate::experiment::spec::{Ratios, find};
use crate::experiment::{self, RunOptions};

/// Search the largest ratio that loses at most 0.3 points, for each model and data set.
///
/// Tries ratios ever closer to where the loss passes the limit, paired with the uncompressed model on the same questions, and
/// gives the interval of ratios that these questions cannot tell from the answer. The same command again goes on where it
/// ended. Writes results/near-lossless/<run>/ and plots/near-lossless/<run>/. Examples:
///   splitbench near-lossless --codecs fc,topk
///   splitbench near-lossless --model qwen2.5-1.5b --datasets piqa --data-dir DIR --points 1
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Experiment: a name or a TOML file; the search begins with its ratios and stays between them.
    #[arg(default_value = "near-lossless")]
    experiment: String,
    #[command(flatten)]
    part: SelectionPart,
    /// Codecs instead of the experiment's, separated by commas or semicolons, or the option once for each. A semicolon that belongs to a
    /// codec is written `\;`.
    #[arg(long, visible_alias = "codec", value_name = "CODEC")]
    codecs: Vec<String>,
    /// Ratios to begin with instead of the experiment's.
    #[arg(long, visible_alias = "ratio", value_name = "RATIO", value_delimiter = ',')]
    ratios: Vec<f64>,
    /// Most points that may be lost; the experiment's if not given, which is 0.3.
    #[arg(long, visible_alias = "max-drop")]
    points: Option<f64>,
    /// How near to the answer the search goes, as a share of the ratio.
    #[arg(long, default_value_t = 0.02)]
    precision: f64,
    #[command(flatten)]
    place: RunPlace,
    /// Print the rows as JSON instead of tables.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Searches.
    pub fn run(mut self) -> Result<()> {
        ensure!((0.001..=1.0).contains(&self.precision), "--precision {}: give 0.001 to 1", self.precision);
        let mut experiment = find(&self.experiment)?;
        let spec = &mut experiment.spec;
        if !self.codecs.is_empty() {
            let lists = split_list("--codecs", &self.codecs, ';')?;
            spec.codecs = lists.iter().flat_map(|list| split_codecs(list)).collect();
        }
        if !self.ratios.is_empty() {
            spec.ratios = Ratios::Some(self.ratios);
        }
        spec.report.near_lossless = true;
        spec.report.near_lossless_points = self.points.unwrap_or(spec.report.near_lossless_points);
        let points = spec.report.near_lossless_points;
        ensure!(points.is_finite() && points >= 0.0, "--points {points}: give 0 or more");
        self.part.apply(&mut experiment)?;
        let codecs = experiment.spec.codec_specs()?;
        let fixed = fixed_rate(&codecs);
        ensure!(fixed.len() < codecs.len(), "no ratio to search: of fixed rate: {}", fixed.join(", "));
        if !fixed.is_empty() {
            tell!("note: of fixed rate, so scored and not searched: {}", fixed.join(", "));
        }
        let options = RunOptions { search: Some(self.precision), ..self.place.options(self.part) };
        conclude(experiment::run(&experiment, &options)?, self.json)
    }
}
