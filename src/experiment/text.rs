//! Windows of a text through the unsplit model and through cells: perplexity, and how far each cell is from the unsplit model.

use anyhow::{Result, ensure};
use serde::Serialize;

use super::calibrate::calibrate;
use super::cell::Cell;
use super::evaluate::{CellCodec, ExtraScores, Scores, evaluate};
use super::memory::{batch_rows, with_rows};
use super::outcome::Outcome;
use super::spent::Clock;
use crate::model::SplitPoint;
use crate::model::source::Model;
use crate::progress;
use crate::score::{Fidelity, PositionFidelity, RatioEstimate, Request, fidelity};
use splitbench_codec::{self as codec, Accounting, Budget, Codec, CodecSpec};

/// What to measure on a text.
pub struct TextRequest<'a> {
    /// The model.
    pub model: &'a Model,
    /// The text's windows.
    pub windows: &'a [Request],
    /// Windows of another text; used only where a codec asks for calibration.
    pub calibration: &'a [Request],
    /// Where the model is cut.
    pub split: SplitPoint,
    /// The cells, all at that cut.
    pub cells: &'a [Cell],
    /// Rows of the residual stream a batch has at most.
    pub batch_tokens: usize,
}

/// What came of a text.
pub struct TextScores {
    /// Log-likelihood of each window's scored tokens by the unsplit model, nats.
    pub unsplit_logliks: Vec<f64>,
    /// Each cell's windows, or why it has none.
    pub cells: Vec<Result<Vec<WindowScore>, String>>,
}

/// A window in a cell.
#[derive(Default, Clone)]
pub struct WindowScore {
    /// What went through the codec, and the log-likelihood of the scored tokens.
    pub outcome: Outcome,
    /// How far the scored positions are from the unsplit model.
    pub fidelity: PositionFidelity,
}

/// Scores every window in every cell. A cell that fails ends by itself; an error here means that nothing more could be computed.
pub fn score_text(request: &TextRequest) -> Result<TextScores> {
    let TextRequest { model, windows, calibration, split, cells, batch_tokens } = *request;
    let clock = Clock::default();
    let specs: Vec<CodecSpec> = cells.iter().map(|cell| cell.codec.clone()).collect();
    let calibrated = calibrate(model, calibration, split, &specs, batch_tokens, None, &clock)?;
    let codecs: Vec<Result<Box<dyn Codec>, String>> =
        specs.iter().map(|spec| codec::build(spec, calibrated.as_ref()).map_err(|e| format!("{e:#}"))).collect();
    let prepared: Vec<CellCodec> = (cells.iter().zip(&codecs))
        .map(|(cell, codec)| CellCodec { cell, codec: codec.as_deref().map_err(String::clone) })
        .collect();
    let mut scores = TextScores {
        unsplit_logliks: vec![f64::NAN; windows.len()],
        cells: (codecs.iter())
            .map(|codec| match codec {
                Ok(_) => Ok(vec![WindowScore::default(); windows.len()]),
                Err(error) => Err(error.clone()),
            })
            .collect(),
    };
    let decoder = {
        let _activity = progress::begin(format!("{}: reading the weights", model.title));
        model.decoder()?
    };
    let questions: Vec<&[Request]> = windows.iter().map(std::slice::from_ref).collect();
    let rows = batch_rows(&model.config, &model.placement.device, batch_tokens);
    let extra = ExtraScores { baseline: true, probe: None };
    with_rows(rows, |rows| {
        // Anew where batches of fewer rows begin again.
        let all = (windows.len() * (1 + cells.len())) as u64;
        let activity = progress::sequences(format!("{}: windows", model.title), all);
        // Of each cell, to count what one that fails leaves out.
        let mut scored = vec![0; cells.len()];
        evaluate(decoder, &questions, &prepared, rows, extra, &clock, |batches| {
            for batch in batches {
                for one in batch? {
                    let mut done = 1;
                    match one {
                        Scores::Unsplit { question, logliks } => {
                            scores.unsplit_logliks[question] = logliks.iter().sum()
                        }
                        Scores::Cell { question, cell, outcomes, fidelity } => {
                            if let (Ok(windows), Some(outcome)) = (&mut scores.cells[cell], outcomes.into_iter().next())
                            {
                                windows[question] = WindowScore { outcome, fidelity };
                            }
                            scored[cell] += 1;
                        }
                        Scores::Failed { cell, error } => {
                            scores.cells[cell] = Err(error);
                            done = windows.len() - scored[cell];
                        }
                    }
                    activity.add(done as u64);
                }
            }
            Ok(())
        })
    })?;
    let lost = scores.unsplit_logliks.iter().position(|loglik| !loglik.is_finite());
    ensure!(
        lost.is_none(),
        "window {}: the log-likelihood is not a finite number: weights or activation hold a value that is not finite",
        lost.unwrap_or_default()
    );
    for cell in &mut scores.cells {
        let finite = |window: &WindowScore| {
            window.outcome.loglik.is_finite() && window.fidelity.kl.iter().all(|kl| kl.is_finite())
        };
        if let Some(window) = cell.as_ref().ok().and_then(|windows| windows.iter().position(|one| !finite(one))) {
            *cell = Err(format!("window {window}: log-likelihood or KL is not a finite number"));
        }
    }
    Ok(scores)
}

/// The unsplit model on a text.
#[derive(Debug, Clone, Serialize)]
pub struct Perplexity {
    /// Mean negative log-likelihood of a scored token, nats.
    pub nll: f64,
    /// Its standard error over windows; empty for one.
    pub nll_stderr: Option<f64>,
    /// Perplexity: e to the power of that mean.
    pub ppl: f64,
    /// Its standard error, that of the mean times the perplexity.
    pub ppl_stderr: Option<f64>,
}

/// A cell on a text.
#[derive(Debug, Clone, Serialize)]
pub struct TextCell {
    /// Codec with its options.
    pub codec: String,
    /// Compression ratio asked for; empty for codecs of fixed rate.
    pub ratio_requested: Option<f64>,
    /// What it counts; empty where none was asked for.
    pub accounting: String,
    /// What it came to where the codec's smallest packets do not reach the ratio; empty elsewhere.
    pub ratio_missed: Option<f64>,
    /// What was measured; empty where the cell failed.
    #[serde(flatten)]
    pub measured: Option<TextMeasures>,
    /// Why it failed.
    pub err: Option<String>,
}

/// What was measured of a cell on a text.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TextMeasures {
    /// Perplexity behind the codec.
    pub ppl: f64,
    /// ln of its ratio to the unsplit model's: the mean loss of log-likelihood per token.
    pub ln_ppl_ratio: f64,
    /// Its standard error over windows.
    pub ln_ppl_ratio_stderr: Option<f64>,
    /// How far the scored positions are from the unsplit model.
    #[serde(flatten)]
    pub fidelity: Fidelity,
    /// Total kept numbers against total S D.
    pub ratio_elements: f64,
    /// Total raw f16 bytes over total packet bytes.
    pub ratio_wire: f64,
    /// Bytes of packets per row sent.
    pub wire_bytes_per_token: f64,
    /// Mean over windows of `||A - A'||_F / ||A||_F`.
    pub rel_error: f64,
}

/// What came of a ratio that was asked for, where the smallest packet of the codec does not reach it: packets are a little smaller than asked
/// for as a rule.
pub fn missed_ratio(budget: Option<Budget>, in_elements: f64, on_the_wire: f64) -> Option<f64> {
    let budget = budget?;
    let reached = match budget.accounting {
        Accounting::Elements => in_elements,
        Accounting::Wire => on_the_wire,
    };
    (reached < 0.99 * budget.ratio).then_some(reached)
}

impl TextScores {
    /// The unsplit model's perplexity over windows of `scored` tokens; none without windows.
    pub fn perplexity(&self, scored: usize) -> Option<Perplexity> {
        let clusters: Vec<(f64, f64)> = self.unsplit_logliks.iter().map(|loglik| (-loglik, scored as f64)).collect();
        let RatioEstimate { value, stderr } = RatioEstimate::new(&clusters)?;
        let ppl = value.exp();
        Some(Perplexity { nll: value, nll_stderr: stderr, ppl, ppl_stderr: stderr.map(|stderr| ppl * stderr) })
    }

    /// Each cell over windows of `scored` tokens, in the order of `cells`.
    pub fn summaries(&self, cells: &[Cell], scored: usize) -> Vec<TextCell> {
        let summary = |(cell, windows): (&Cell, &Result<Vec<WindowScore>, String>)| {
            let measured = windows.as_ref().ok().and_then(|windows| self.measures(windows, scored));
            TextCell {
                codec: cell.codec.to_string(),
                ratio_requested: cell.budget.map(|budget| budget.ratio),
                accounting: cell.budget.map(|budget| budget.accounting.to_string()).unwrap_or_default(),
                ratio_missed: measured.and_then(|one| missed_ratio(cell.budget, one.ratio_elements, one.ratio_wire)),
                measured,
                err: windows.as_ref().err().cloned(),
            }
        };
        cells.iter().zip(&self.cells).map(summary).collect()
    }

    fn measures(&self, windows: &[WindowScore], scored: usize) -> Option<TextMeasures> {
        let count = scored as f64;
        let losses: Vec<(f64, f64)> = self
            .unsplit_logliks
            .iter()
            .zip(windows)
            .map(|(unsplit, one)| (unsplit - one.outcome.loglik, count))
            .collect();
        let ratio = RatioEstimate::new(&losses)?;
        let positions: Vec<PositionFidelity> = windows.iter().map(|window| window.fidelity.clone()).collect();
        let total = |f: fn(&Outcome) -> usize| windows.iter().map(|one| f(&one.outcome)).sum::<usize>() as f64;
        let loglik: f64 = windows.iter().map(|one| one.outcome.loglik).sum();
        let n = windows.len() as f64;
        Some(TextMeasures {
            ppl: (-loglik / (n * count)).exp(),
            ln_ppl_ratio: ratio.value,
            ln_ppl_ratio_stderr: ratio.stderr,
            fidelity: fidelity(&positions)?,
            ratio_elements: total(|o| o.raw_elements) / total(|o| o.elements),
            ratio_wire: 2.0 * total(|o| o.raw_elements) / total(|o| o.wire_bytes),
            wire_bytes_per_token: total(|o| o.wire_bytes) / total(|o| o.tokens),
            rel_error: windows.iter().map(|one| one.outcome.rel_error).sum::<f64>() / n,
        })
    }
}
