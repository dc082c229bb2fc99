//! All cells of one model and data set: from questions to rows and samples.

use std::path::Path;

use anyhow::{Context, Result};

use super::calibrate::calibrate;
use super::cell::Cell;
use super::evaluate::{Outcome, Prepared, Spent, evaluate};
use super::indicators::Indicators;
use super::probe::Probe;
use super::row::Row;
use super::store::Timing;
use crate::codec::{self, Budget, Calibration, Codec};
use crate::data::{Dataset, Question};
use crate::model::source::Model;
use crate::model::{SplitPoint, device_name};
use crate::score::{self as scoring, CodecSample, Request, Sample};

/// What to score.
pub struct ScoreRequest<'a> {
    /// Name of the experiment, for the rows.
    pub experiment: &'a str,
    /// The model.
    pub model: &'a Model,
    /// The questions.
    pub dataset: &'a Dataset,
    /// Calibration questions; used only where a codec asks for them.
    pub train: &'a [Question],
    /// Folder where calibrations are kept for later runs.
    pub calibrations: Option<&'a Path>,
    /// The cells.
    pub cells: &'a [Cell],
    /// Questions asked for, for the rows.
    pub limit: Option<usize>,
    /// Rows of the residual stream a batch has at most.
    pub batch_tokens: usize,
    /// Whether to look at each layer's indicators; the low band of a cell without a budget of its own has this one.
    pub probe: Option<Budget>,
}

/// What came out: the baseline first, then one entry a cell.
pub struct Scored {
    /// Rows.
    pub rows: Vec<Row>,
    /// Samples of the unsplit model.
    pub baseline: Vec<Sample>,
    /// Samples a cell; empty where it failed.
    pub cells: Vec<Vec<Sample>>,
    /// Mean codec times a cell that did not fail.
    pub timings: Vec<Timing>,
    /// Indicators of each cell that did not fail, where they were asked for.
    pub indicators: Vec<Indicators>,
}

/// Scores every cell. A cell that fails becomes a row with `err`; an error here means that nothing could be scored.
pub fn score(request: &ScoreRequest, spent: &mut Spent, done: impl FnMut(u64)) -> Result<Scored> {
    let ScoreRequest { model, dataset, cells, .. } = *request;
    let requests: Vec<Vec<Request>> = dataset
        .questions
        .iter()
        .map(|q| {
            scoring::encode_requests(&model.tokenizer, q)
                .with_context(|| format!("data set {}, question {}", dataset.info.name, q.id))
        })
        .collect::<Result<_>>()?;
    let calibrations = calibrations(request)?;
    let codecs: Vec<Result<Box<dyn Codec>, String>> = cells
        .iter()
        .map(|cell| {
            let calibration = calibrations.iter().find(|(split, _)| *split == cell.split);
            codec::build(&cell.codec, calibration.and_then(|(_, c)| c.as_ref())).map_err(|e| format!("{e:#}"))
        })
        .collect();
    let prepared: Vec<Prepared> = cells
        .iter()
        .zip(&codecs)
        .map(|(cell, codec)| Prepared { cell, codec: codec.as_ref().map(|c| c.as_ref()).map_err(String::clone) })
        .collect();
    let probe = request.probe.map(|budget| Probe { budget });
    let evaluated = evaluate(&model.decoder, &requests, &prepared, request.batch_tokens, probe, spent, done)?;

    let baseline = samples(dataset, &requests, &evaluated.baseline, None)?;
    let mut scored = Scored {
        rows: vec![summary(request, &baseline)],
        baseline,
        cells: Vec::new(),
        timings: Vec::new(),
        indicators: Vec::new(),
    };
    for (cell, outcomes) in cells.iter().zip(evaluated.cells) {
        let made = outcomes.map_err(anyhow::Error::msg).and_then(|outcomes| {
            let logliks: Vec<f64> = outcomes.iter().map(|o| o.loglik).collect();
            Ok((samples(dataset, &requests, &logliks, Some(&outcomes))?, outcomes))
        });
        let blank = Row {
            codec: cell.codec.to_string(),
            ratio_requested: cell.budget.map(|b| b.ratio),
            accounting: cell.budget.map(|b| b.accounting.to_string()).unwrap_or_default(),
            ..empty(request)
        };
        let blank = Row {
            split_layer: Some(cell.split.after_layer as u32),
            scope: cell.scope.to_string(),
            calibration: cell.codec.calibration().and_then(|_| {
                let (_, found) = calibrations.iter().find(|(split, _)| *split == cell.split)?;
                Some(found.as_ref()?.sha256().to_string())
            }),
            ..blank
        };
        match made {
            Ok((samples, outcomes)) => {
                let row = cell_row(blank, request, &scored.baseline, &samples, &outcomes)?;
                scored.indicators.extend(Indicators::of(&row, &outcomes, &evaluated.baseline));
                scored.rows.push(row);
                scored.timings.push(timing(request, cell, &outcomes));
                scored.cells.push(samples);
            }
            Err(error) => {
                scored.rows.push(Row { err: Some(format!("{error:#}")), ..blank });
                scored.cells.push(Vec::new());
            }
        }
    }
    Ok(scored)
}

/// One calibration a split layer at which a codec asks for one.
fn calibrations(request: &ScoreRequest) -> Result<Vec<(SplitPoint, Option<Calibration>)>> {
    let mut splits: Vec<SplitPoint> = request.cells.iter().map(|c| c.split).collect();
    splits.sort_unstable();
    splits.dedup();
    splits
        .into_iter()
        .map(|split| {
            let codecs: Vec<_> = request.cells.iter().filter(|c| c.split == split).map(|c| c.codec.clone()).collect();
            let ScoreRequest { model, train, batch_tokens, calibrations, .. } = *request;
            let made = calibrate(model, train, split, &codecs, batch_tokens, calibrations).with_context(|| {
                format!("calibrating on {} after layer {}", request.dataset.info.name, split.after_layer)
            })?;
            Ok((split, made))
        })
        .collect()
}

fn samples(
    dataset: &Dataset,
    requests: &[Vec<Request>],
    logliks: &[f64],
    outcomes: Option<&[Outcome]>,
) -> Result<Vec<Sample>> {
    let mut at = 0;
    let mut out = Vec::with_capacity(requests.len());
    for (question, requests) in dataset.questions.iter().zip(requests) {
        let range = at..at + requests.len();
        at = range.end;
        let codec = outcomes.map(|all| codec_sample(&all[range.clone()]));
        out.push(Sample::new(&dataset.info.name, question, requests, logliks[range].to_vec(), codec)?);
    }
    Ok(out)
}

fn codec_sample(outcomes: &[Outcome]) -> CodecSample {
    CodecSample {
        raw_elements: outcomes.iter().map(|o| o.raw_elements as u64).sum(),
        elements: outcomes.iter().map(|o| o.elements as u64).sum(),
        wire_bytes: outcomes.iter().map(|o| o.wire_bytes as u64).sum(),
        rel_error: outcomes.iter().map(|o| o.rel_error).sum::<f64>() / outcomes.len() as f64,
    }
}

/// A row with everything but numbers.
fn empty(request: &ScoreRequest) -> Row {
    let ScoreRequest { model, dataset, .. } = request;
    Row {
        experiment: request.experiment.to_string(),
        model: model.name.clone(),
        model_sha256: model.sha256.clone(),
        tokenizer_sha256: model.tokenizer_sha256.clone(),
        dataset: dataset.info.name.clone(),
        data_source: dataset.source.clone(),
        data_sha256: dataset.sha256.clone(),
        data_verified: dataset.verified,
        prompt_version: dataset.info.prompt_version,
        split_layer: None,
        scope: String::new(),
        codec: "baseline".to_string(),
        ratio_requested: None,
        accounting: String::new(),
        ratio_elements: None,
        ratio_wire: None,
        wire_bytes_per_token: None,
        rel_error: None,
        questions: dataset.questions.len() as u64,
        requests: dataset.questions.iter().map(|q| q.choices.len() as u64).sum(),
        tokens: 0,
        acc: None,
        acc_stderr: None,
        acc_norm: None,
        acc_norm_stderr: None,
        chance: scoring::chance(dataset.questions.iter().map(|q| q.choices.len())),
        metric: dataset.info.metric.as_str().to_string(),
        lost: None,
        gained: None,
        mcnemar_p: None,
        gold_loglik_change: None,
        dtype: request.model.decoder.dtype().as_str().to_string(),
        device: device_name(request.model.decoder.device()),
        calibration: None,
        limit: request.limit.map(|n| n as u64),
        version: crate::VERSION.to_string(),
        err: None,
    }
}

fn summary(request: &ScoreRequest, samples: &[Sample]) -> Row {
    with_accuracy(empty(request), samples)
}

fn with_accuracy(row: Row, samples: &[Sample]) -> Row {
    let right: Vec<bool> = samples.iter().map(Sample::right).collect();
    let right_norm: Vec<bool> = samples.iter().map(Sample::right_norm).collect();
    Row {
        tokens: samples.iter().map(|s| s.tokens as u64).sum(),
        acc: scoring::mean(&right),
        acc_stderr: scoring::standard_error(&right),
        acc_norm: scoring::mean(&right_norm),
        acc_norm_stderr: scoring::standard_error(&right_norm),
        ..row
    }
}

fn cell_row(
    blank: Row,
    request: &ScoreRequest,
    baseline: &[Sample],
    samples: &[Sample],
    outcomes: &[Outcome],
) -> Result<Row> {
    let by_norm = request.dataset.info.metric.as_str() == "acc_norm";
    let right = |s: &Sample| if by_norm { s.right_norm() } else { s.right() };
    let list = |samples: &[Sample]| samples.iter().map(right).collect::<Vec<bool>>();
    let gold = |samples: &[Sample]| samples.iter().map(Sample::gold_loglik).collect::<Vec<f64>>();
    let paired = scoring::paired(&list(baseline), &list(samples))?;
    let total = |f: fn(&Outcome) -> usize| outcomes.iter().map(|o| f(o) as u64).sum::<u64>() as f64;
    let (raw, wire) = (total(|o| o.raw_elements), total(|o| o.wire_bytes));
    Ok(Row {
        ratio_elements: Some(raw / total(|o| o.elements)),
        ratio_wire: Some(2.0 * raw / wire),
        wire_bytes_per_token: Some(wire / total(|o| o.tokens)),
        rel_error: Some(outcomes.iter().map(|o| o.rel_error).sum::<f64>() / outcomes.len() as f64),
        lost: Some(paired.lost),
        gained: Some(paired.gained),
        mcnemar_p: Some(paired.mcnemar_p),
        gold_loglik_change: scoring::gold_loglik_change(&gold(baseline), &gold(samples))?,
        ..with_accuracy(blank, samples)
    })
}

fn timing(request: &ScoreRequest, cell: &Cell, outcomes: &[Outcome]) -> Timing {
    let mean = |f: fn(&Outcome) -> f64| 1e6 * outcomes.iter().map(f).sum::<f64>() / outcomes.len() as f64;
    Timing {
        model: request.model.name.clone(),
        dataset: request.dataset.info.name.clone(),
        cell: cell.clone(),
        activations: outcomes.len(),
        encode_us: mean(|o| o.encode.as_secs_f64()),
        decode_us: mean(|o| o.decode.as_secs_f64()),
    }
}
