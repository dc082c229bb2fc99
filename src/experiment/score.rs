//! All cells of one model and data set: from questions to the journal.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::calibrate::calibrate;
use super::cell::{Cell, CellKey};
use super::collect::{Collected, collect};
use super::entry::{Answer, Measured};
use super::evaluate::{Prepared, Scores, Wanted, evaluate};
use super::journal::{Journal, Line, Plan};
use super::memory::batch_rows;
use super::predict::{Predictor, Work};
use super::probe::Probe;
use super::spent::{Clock, Stage};
use crate::data::Dataset;
use crate::model::source::Model;
use crate::model::{SplitPoint, device_name};
use crate::progress;
use crate::record::Row;
use crate::record::Shard;
use crate::record::manifest::Predicted;
use crate::score::{Asked, Request, Sample};
use splitbench_codec::{self as codec, Budget, Calibration, Codec};

/// What to score.
pub struct ScoreRequest<'a> {
    /// Name of the experiment, for the rows.
    pub experiment: &'a str,
    /// The model.
    pub model: &'a Model,
    /// The questions.
    pub dataset: &'a Dataset,
    /// Their requests, in their order.
    pub requests: &'a [Vec<Request>],
    /// The gold choices of calibration questions; used only where a codec asks for them.
    pub train: &'a [Request],
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
    /// To predict how long it takes.
    pub predictor: Option<&'a Predictor>,
    /// Whether to look at each layer's indicators; the low band of a cell without a budget of its own has this one.
    pub probe: Option<Budget>,
}

/// What scoring came to beside the journal.
pub struct Scored {
    /// What it was expected to take.
    pub predicted: Predicted,
    /// Cells that came to an end, and why.
    pub failed: Vec<(usize, String)>,
}

/// Scores what the journal does not have yet. `done` hears of sequences, those of the journal first, when it is known what the rest is
/// expected to take. A cell that fails is a line of the journal; an error here means that nothing more could be scored.
pub fn score(
    request: &ScoreRequest,
    journal: &mut Journal,
    clock: &Clock,
    mut done: impl FnMut(u64) -> Result<()>,
) -> Result<Scored> {
    let ScoreRequest { model, dataset, requests, cells, shard, .. } = *request;
    let calibrations = clock.time(Stage::Calibrate, || calibrations(request, clock))?;
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
    journal.begin(Plan::new(blank_row(request.experiment, model, dataset, request.limit), keys.clone(), questions))?;
    // Why cells came to an end, in this call.
    let mut ended: Vec<Option<String>> = codecs.iter().map(|codec| codec.as_ref().err().cloned()).collect();
    let known = |(cell, error): &(usize, String)| journal.failure(&keys[*cell]) != Some(error.as_str());
    let unbuilt = ended.iter().cloned().enumerate().filter_map(|(cell, error)| Some((cell, error?)));
    let unbuilt: Vec<Line> = unbuilt.filter(known).map(|(cell, error)| Line::Failed(cell, error)).collect();
    journal.append(unbuilt)?;

    let mine = shard.map(|shard| shard.of(requests));
    let mine = |nth: &usize| mine.as_ref().is_none_or(|mine| mine[*nth]);
    // Questions that lack the same: the baseline, then cells.
    let mut pending: BTreeMap<Vec<bool>, Vec<usize>> = BTreeMap::new();
    let mut there = 0;
    for nth in (0..requests.len()).filter(mine) {
        let question = dataset.questions[nth].index;
        let lacks = |(key, codec): (&CellKey, &Result<_, _>)| codec.is_ok() && !journal.has(key, question);
        let cells = keys.iter().zip(&codecs).map(lacks);
        let lacking: Vec<bool> = std::iter::once(!journal.has_answer(question)).chain(cells).collect();
        there += requests[nth].len() * lacking.iter().filter(|lacks| !**lacks).count();
        if lacking.contains(&true) {
            pending.entry(lacking).or_default().push(nth);
        }
    }
    let lacked = |lacking: &[bool]| (0..cells.len()).filter(|&cell| lacking[cell + 1]).collect::<Vec<usize>>();
    let asked = |places: &[usize]| places.iter().map(|&nth| requests[nth].as_slice()).collect::<Vec<_>>();
    let mut predicted = Predicted::default();
    if let Some(predictor) = request.predictor {
        for (lacking, places) in &pending {
            let cells: Vec<(&Cell, &dyn Codec)> =
                lacked(lacking).iter().filter_map(|&nth| Some((&cells[nth], codecs[nth].as_deref().ok()?))).collect();
            let asked = asked(places);
            // A codec that fails here fails there too, and says so there.
            let work = Work { questions: &asked, cells: &cells, baseline: lacking[0] };
            predicted += predictor.predict(&work).unwrap_or_default();
        }
    }
    done(there as u64)?;
    let rows = batch_rows(&model.config, &model.placement.device, request.batch_tokens);
    for (lacking, places) in pending {
        let decoder = {
            let _activity = progress::begin(format!("{}: reading the weights", model.title));
            clock.time(Stage::Load, || model.decoder())?
        };
        let chosen = lacked(&lacking);
        // What failed on other questions is not tried on these.
        let prepared: Vec<Prepared> = (chosen.iter())
            .map(|&cell| {
                let codec = match (&ended[cell], &codecs[cell]) {
                    (None, Ok(codec)) => Ok(codec.as_ref()),
                    (Some(error), _) | (None, Err(error)) => Err(error.clone()),
                };
                Prepared { cell: &cells[cell], codec }
            })
            .collect();
        let wanted = Wanted { baseline: lacking[0], probe: request.probe.map(|budget| Probe { budget }) };
        let asked = asked(&places);
        let all: u64 = asked.iter().map(|requests| requests.len() as u64).sum();
        // Of each cell, to count what one that fails leaves out.
        let mut scored = vec![0u64; chosen.len()];
        let finished = |scores: Vec<Scores>| -> Result<()> {
            let mut sequences = 0;
            let mut lines = Vec::new();
            for one in scores {
                match one {
                    Scores::Unsplit { question, logliks } => {
                        let (question, requests) = (&dataset.questions[places[question]], asked[question]);
                        sequences += requests.len() as u64;
                        lines.push(Line::Baseline(Answer::new(Asked::new(question, requests), &logliks)));
                    }
                    Scores::Cell { question, cell, outcomes, fidelity } => {
                        let index = dataset.questions[places[question]].index;
                        sequences += outcomes.len() as u64;
                        scored[cell] += outcomes.len() as u64;
                        lines.push(Line::Cell(chosen[cell], Measured::new(index, &outcomes, &fidelity)));
                    }
                    Scores::Failed { cell, error } => {
                        sequences += all - scored[cell];
                        ended[chosen[cell]] = Some(error.clone());
                        lines.push(Line::Failed(chosen[cell], error));
                    }
                }
            }
            journal.append(lines)?;
            done(sequences)
        };
        evaluate(decoder, &asked, &prepared, rows, wanted, clock, finished)?;
        // Those that had failed before.
        done(prepared.iter().filter(|one| one.codec.is_err()).count() as u64 * all)?;
    }
    journal.sync()?;
    let failed = ended.into_iter().enumerate().filter_map(|(cell, error)| Some((cell, error?))).collect();
    Ok(Scored { predicted, failed })
}

/// Scores without keeping a journal. Gives what it comes to, and the samples of the baseline and of each cell.
pub fn score_in_memory(request: &ScoreRequest) -> Result<(Collected, Vec<Vec<Sample>>)> {
    let mut journal = Journal::in_memory();
    score(request, &mut journal, &Clock::default(), |_| Ok(()))?;
    let mut samples = Vec::new();
    let collected = collect(&mut [journal], |_, of_cell| {
        samples.push(of_cell.to_vec());
        Ok(())
    })?;
    Ok((collected, samples))
}

/// One calibration a split layer at which a codec asks for one.
fn calibrations(request: &ScoreRequest, clock: &Clock) -> Result<Vec<(SplitPoint, Option<Calibration>)>> {
    let mut splits: Vec<SplitPoint> = request.cells.iter().map(|c| c.split).collect();
    splits.sort_unstable();
    splits.dedup();
    splits
        .into_iter()
        .map(|split| {
            let codecs: Vec<_> = request.cells.iter().filter(|c| c.split == split).map(|c| c.codec.clone()).collect();
            let ScoreRequest { model, train, batch_tokens, calibrations, .. } = *request;
            let made =
                calibrate(model, train, split, &codecs, batch_tokens, calibrations, clock).with_context(|| {
                    format!("calibrating on {} after layer {}", request.dataset.info.name, split.after_layer)
                })?;
            Ok((split, made))
        })
        .collect()
}

/// A row with everything but cell and numbers.
pub(super) fn blank_row(experiment: &str, model: &Model, dataset: &Dataset, limit: Option<usize>) -> Row {
    Row {
        experiment: experiment.to_string(),
        model: model.name.clone(),
        model_sha256: model.sha256.clone(),
        tokenizer_sha256: model.tokenizer_sha256.clone(),
        dataset: dataset.info.name.clone(),
        data_source: dataset.source.clone(),
        data_sha256: dataset.sha256.clone(),
        data_verified: dataset.verified,
        prompt_version: dataset.info.prompt_version,
        codec: "baseline".to_string(),
        questions: dataset.questions.len() as u64,
        requests: dataset.questions.iter().map(|q| q.choices.len() as u64).sum(),
        metric: dataset.info.metric.as_str().to_string(),
        dtype: model.placement.dtype.as_str().to_string(),
        device: device_name(&model.placement.device),
        limit: limit.map(|n| n as u64),
        skipped: (dataset.skipped > 0).then_some(dataset.skipped as u64),
        version: crate::VERSION.to_string(),
        ..Row::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{self, Source};
    use crate::experiment::Scope;
    use crate::model::{Placement, source};
    use crate::score::encode_dataset;
    use splitbench_codec::CodecSpec;

    /// However many cells there are, what is computed is told and kept batch by batch of few questions and cells.
    #[test]
    fn many_cells_are_told_and_kept_a_few_at_a_time() {
        let model = source::load("pocket", &Placement::cpu()).unwrap();
        let dataset = data::load("arc_easy-mini", &Source::Embedded, Some(4)).unwrap();
        let requests = encode_dataset(&model.tokenizer, &dataset).unwrap();
        let cells: Vec<Cell> = (1..=3)
            .flat_map(|after_layer| ["noop", "fc", "topk", "int8", "int4", "fp8"].map(|codec| (after_layer, codec)))
            .map(|(after_layer, codec)| Cell {
                split: SplitPoint { after_layer },
                scope: Scope::PromptAndChoice,
                codec: CodecSpec::parse(codec).unwrap(),
                budget: Some(Budget::elements(4.0).unwrap()),
            })
            .collect();
        let request = ScoreRequest {
            experiment: "test",
            model: &model,
            dataset: &dataset,
            requests: &requests,
            train: &[],
            calibrations: None,
            cells: &cells,
            limit: None,
            shard: None,
            batch_tokens: 150,
            predictor: None,
            probe: None,
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.journal");
        let mut journal = Journal::open(&path).unwrap();
        let (mut told, mut sizes) = (Vec::new(), Vec::new());
        score(&request, &mut journal, &Clock::default(), |count| {
            told.push(count);
            sizes.push(std::fs::metadata(&path).unwrap().len());
            Ok(())
        })
        .unwrap();
        let all = requests.iter().map(Vec::len).sum::<usize>() as u64 * (1 + cells.len() as u64);
        assert_eq!(told.iter().sum::<u64>(), all);
        assert!(told.iter().all(|count| 10 * count < all), "{told:?}");
        // Each time it is told of something, that is on disk.
        let grown = |pair: &[u64]| pair[1] > pair[0];
        assert!(told[1..].iter().zip(sizes.windows(2)).all(|(count, pair)| *count == 0 || grown(pair)), "{sizes:?}");
    }
}
