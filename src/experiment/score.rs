//! All cells of one model and data set: from questions to the journal.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::calibrate::calibrate;
use super::cell::{Cell, CellKey};
use super::collect::{Collected, collect};
use super::entry::{Answer, Measured};
use super::evaluate::{Finished, Prepared, Spent, Wanted, evaluate};
use super::journal::{Journal, Line, Plan};
use super::probe::Probe;
use super::row::Row;
use super::shard::Shard;
use crate::codec::{self, Budget, Calibration, Codec};
use crate::data::{Dataset, Question};
use crate::model::source::Model;
use crate::model::{SplitPoint, device_name};
use crate::score::{Asked, Request, Sample, encode_requests};

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
    /// Which of the questions to score, if not all.
    pub shard: Option<Shard>,
    /// Rows of the residual stream a batch has at most.
    pub batch_tokens: usize,
    /// Whether to look at each layer's indicators; the low band of a cell without a budget of its own has this one.
    pub probe: Option<Budget>,
}

/// Scores what the journal does not have yet. `done` hears of sequences, those of the journal first. A cell that fails is a line
/// of the journal; an error here means that nothing more could be scored.
pub fn score(
    request: &ScoreRequest,
    journal: &mut Journal,
    spent: &mut Spent,
    mut done: impl FnMut(u64),
) -> Result<()> {
    let ScoreRequest { model, dataset, cells, shard, .. } = *request;
    let requests: Vec<Vec<Request>> = (dataset.questions.iter())
        .map(|q| {
            encode_requests(&model.tokenizer, q)
                .with_context(|| format!("data set {}, question {}", dataset.info.name, q.id))
        })
        .collect::<Result<_>>()?;
    let calibrations = calibrations(request)?;
    let calibration = |cell: &Cell| {
        let (_, found) = calibrations.iter().find(|(split, _)| *split == cell.split)?;
        found.as_ref()
    };
    let codecs: Vec<Result<Box<dyn Codec>, String>> =
        cells.iter().map(|cell| codec::build(&cell.codec, calibration(cell)).map_err(|e| format!("{e:#}"))).collect();
    let keys: Vec<CellKey> = (cells.iter())
        .map(|cell| {
            let used = cell.codec.calibration().and_then(|_| calibration(cell));
            CellKey::new(cell, used.map(Calibration::sha256), request.probe.is_some())
        })
        .collect();
    let questions: Vec<usize> = dataset.questions.iter().map(|q| q.index).collect();
    journal.begin(Plan::new(empty(request), keys.clone(), questions))?;

    let mine = shard.map(|shard| shard.of(&requests));
    let mine = |nth: &usize| mine.as_ref().is_none_or(|mine| mine[*nth]);
    // Questions that lack the same: the baseline, then cells.
    let mut pending: BTreeMap<Vec<bool>, Vec<usize>> = BTreeMap::new();
    for nth in (0..requests.len()).filter(mine) {
        let question = dataset.questions[nth].index;
        let lacks = |(key, codec): (&CellKey, &Result<_, _>)| codec.is_ok() && !journal.has(key, question);
        let cells = keys.iter().zip(&codecs).map(lacks);
        let lacking: Vec<bool> = std::iter::once(!journal.has_answer(question)).chain(cells).collect();
        done((requests[nth].len() * lacking.iter().filter(|lacks| !**lacks).count()) as u64);
        if lacking.contains(&true) {
            pending.entry(lacking).or_default().push(nth);
        }
    }
    let mut failures: Vec<(usize, String)> =
        codecs.iter().enumerate().filter_map(|(cell, codec)| Some((cell, codec.as_ref().err()?.clone()))).collect();
    for (lacking, places) in pending {
        let chosen: Vec<usize> = (0..cells.len()).filter(|&cell| lacking[cell + 1]).collect();
        let prepared: Vec<Prepared> = (chosen.iter())
            .map(|&cell| Prepared {
                cell: &cells[cell],
                codec: codecs[cell].as_ref().map(|c| c.as_ref()).map_err(String::clone),
            })
            .collect();
        let asked: Vec<&[Request]> = places.iter().map(|&nth| requests[nth].as_slice()).collect();
        let wanted = Wanted { baseline: lacking[0], probe: request.probe.map(|budget| Probe { budget }) };
        let finished = |batch: Vec<Finished>| -> Result<()> {
            let mut sequences = 0;
            let mut lines = Vec::new();
            for Finished { question, baseline, cells } in batch {
                let nth = places[question];
                let (question, requests) = (&dataset.questions[nth], &requests[nth]);
                if wanted.baseline {
                    lines.push(Line::Baseline(Answer::new(Asked::new(question, requests), &baseline)));
                }
                for (outcomes, &cell) in cells.iter().zip(&chosen) {
                    lines.extend(outcomes.as_ref().map(|o| Line::Cell(cell, Measured::new(question.index, o))));
                }
                sequences += requests.len() * lacking.iter().filter(|lacks| **lacks).count();
            }
            journal.append(lines)?;
            done(sequences as u64);
            Ok(())
        };
        let failed = evaluate(&model.decoder, &asked, &prepared, request.batch_tokens, wanted, spent, finished)?;
        failures.extend(chosen.into_iter().zip(failed).filter_map(|(cell, failed)| Some((cell, failed?))));
    }
    journal.append(failures.into_iter().map(|(cell, error)| Line::Failed(cell, error)).collect())?;
    journal.sync()
}

/// Scores without keeping a journal. Gives what it comes to, and the samples of the baseline and of each cell.
pub fn score_in_memory(request: &ScoreRequest) -> Result<(Collected, Vec<Vec<Sample>>)> {
    let mut journal = Journal::in_memory();
    score(request, &mut journal, &mut Spent::default(), |_| {})?;
    let mut samples = Vec::new();
    let collected = collect(&mut [journal], |_, of_cell| {
        samples.push(of_cell.to_vec());
        Ok(())
    })?;
    Ok((collected, samples))
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

/// A row with everything but cell and numbers.
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
        chance: None,
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
