//! `splitbench perplexity`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::text::{ModelArgs, TextInput, WindowArgs, at_least_one, parse_ratio, text_cells};
use crate::experiment::{Cell, ModelInput, TextRequest, TextScores, WindowScore, score_text};
use crate::model::{SplitPoint, device_name, source};
use crate::output::{self, Output};
use crate::record::{WindowCell, WindowSample, json_lines};
use crate::report::{self, TextReport};
use splitbench_codec::{Accounting, CodecSpec, split_codecs};

/// Perplexity of any text, and how far each codec is from the unsplit model on it.
///
/// The text is cut into windows that do not overlap, each begins with BOS where the model has one, and only the second half of
/// each window is scored, as llama.cpp's `llama-perplexity` and `--kl-divergence` do: of 512 tokens the last 255. The
/// activation of a whole window is compressed as one. Without --codec the model is not cut. Examples:
///   splitbench perplexity --text README.md
///   splitbench perplexity --text README.md --split 1 --codec int8,fc --ratio 4,8 --accounting wire
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// File of plain text, UTF-8.
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Split layer, 1 up to the number of layers.
    #[arg(long, visible_alias = "layer", value_name = "LAYER", default_value_t = 1, requires = "codec")]
    split: usize,
    /// Codecs with their options, such as fc:band=centered, separated by commas, or the option once for each.
    #[arg(long, visible_alias = "codecs", value_name = "CODEC")]
    codec: Vec<String>,
    /// Compression ratios, at least 1, separated by commas, or 8 if not given; a codec of fixed rate has one line.
    #[arg(long, visible_alias = "ratios", value_name = "RATIO", value_delimiter = ',', value_parser = parse_ratio, requires = "codec")]
    ratio: Vec<f64>,
    /// What the ratios count: elements, or wire; elements if not given.
    #[arg(long, requires = "codec")]
    accounting: Option<Accounting>,
    #[command(flatten)]
    windows: WindowArgs,
    /// First windows only.
    #[arg(long, value_name = "WINDOWS", value_parser = at_least_one)]
    limit: Option<usize>,
    /// Write one JSON object per window to this file.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Measures.
    pub fn run(self) -> Result<()> {
        let split = SplitPoint { after_layer: self.split };
        let cells = match self.codec.is_empty() {
            true => Vec::new(),
            false => text_cells(split, &parse_codecs(&self.codec)?, &self.ratio, self.accounting)?,
        };
        let name = self.model.name();
        if let Some(path) = &self.samples {
            let mut read = vec![self.text.clone()];
            read.extend(self.windows.files());
            read.extend(source::locate(&name)?.paths());
            read.extend(cells.iter().flat_map(|cell| cell.codec.files()));
            output::check(&read, &[Output::file("--samples", path)])?;
        }
        let model = self.model.load(split)?;
        let input = ModelInput { name: &name, config: &model.config, tokenizer: &model.tokenizer };
        let TextInput { windows, sha256, calibration } = self.windows.read(&input, &self.text, self.limit, &cells)?;
        let scores = score_text(&TextRequest {
            model: &model,
            windows: &windows.requests,
            calibration: &calibration,
            split,
            cells: &cells,
            batch_tokens: self.model.batch_tokens,
        })?;
        let report = TextReport {
            model: model.name.clone(),
            model_sha256: model.sha256.clone(),
            tokenizer_sha256: model.tokenizer_sha256.clone(),
            text: self.text.display().to_string(),
            text_sha256: sha256,
            tokens: windows.tokens,
            window: windows.window,
            windows: windows.requests.len(),
            whole_windows: windows.whole,
            scored_per_window: windows.scored(),
            calibration: self.windows.calibration(&cells),
            split_layer: (!cells.is_empty()).then_some(self.split),
            unsplit: scores.perplexity(windows.scored()).context("the text has no window")?,
            cells: scores.summaries(&cells, windows.scored()),
            dtype: model.placement.type_name().to_string(),
            device: device_name(&model.placement.device),
            version: crate::VERSION.to_string(),
        };
        let mut saved = Ok(());
        if let Some(path) = &self.samples {
            saved = json_lines::write(path, &samples(&scores, &cells));
        }
        match self.json {
            true => say!("{}", serde_json::to_string_pretty(&report)?)?,
            false => say!("{}", report::perplexity(&report, 160).trim_end())?,
        }
        saved?;
        let failed: Vec<String> =
            report.cells.iter().filter_map(|cell| Some(format!("{}: {}", cell.codec, cell.err.as_ref()?))).collect();
        ensure!(failed.is_empty(), "{} of {} cells failed: {}", failed.len(), cells.len(), failed.join("; "));
        Ok(())
    }
}

fn samples(scores: &TextScores, cells: &[Cell]) -> Vec<WindowSample> {
    let window = |(window, &loglik): (usize, &f64)| {
        let sample = |(cell, windows): (&Cell, &Result<Vec<WindowScore>, String>)| {
            let WindowScore { outcome, fidelity } = windows.as_ref().ok()?.get(window)?;
            Some(WindowCell {
                codec: cell.codec.to_string(),
                ratio_requested: cell.budget.map(|budget| budget.ratio),
                accounting: cell.budget.map(|budget| budget.accounting.to_string()),
                loglik: outcome.loglik,
                kl: fidelity.kl.clone(),
                same_top: fidelity.same_top,
                acceptance: fidelity.acceptance,
                wire_bytes: outcome.wire_bytes,
                rel_error: outcome.rel_error,
            })
        };
        WindowSample { window, loglik, cells: cells.iter().zip(&scores.cells).filter_map(sample).collect() }
    };
    scores.unsplit_logliks.iter().enumerate().map(window).collect()
}

/// Codecs of an option that may be given more than once, each a list.
pub(super) fn parse_codecs(values: &[String]) -> Result<Vec<CodecSpec>> {
    values.iter().flat_map(|value| split_codecs(value)).map(|codec| CodecSpec::parse(&codec)).collect()
}
