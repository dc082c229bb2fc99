//! All cells of one model and data set: from questions to the journal.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::calibrate::calibrate;
use super::cell::{Cell, CellKey};
use super::collect::{RunRecords, collect};
use super::evaluate::{CellCodec, ExtraScores, Scores, evaluate};
use super::journal::{Journal, JournalLine, JournalPlan};
use super::memory::{batch_rows, with_rows};
use super::outcome::{CellAnswer, UnsplitAnswer};
use super::predict::{Predictor, ScoringWork};
use super::probe::Probe;
use super::spent::{Clock, Stage};
use crate::data::Dataset;
use crate::model::source::Model;
use crate::model::{SplitPoint, device_name};
use crate::progress;
use crate::record::manifest::PredictedSeconds;
use crate::record::{QuestionRecord, Row, Sample, Shard};
use crate::score::Request;
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
    /// Most rows of the residual stream per batch.
    pub batch_tokens: usize,
    /// The predictor of how long scoring takes.
    pub predictor: Option<&'a Predictor>,
    /// Whether each layer's indicators are computed; the low band of a cell without a budget of its own is taken at
    /// this one.
    pub probe: Option<Budget>,
}

/// The outcome of scoring, beside the journal.
pub struct ScoreSummary {
    /// The time that scoring was expected to take.
    pub predicted: PredictedSeconds,
    /// The cells that failed, and why.
    pub failed: Vec<(usize, String)>,
}

/// Scores what the journal does not have yet. `done` is told numbers of sequences: first those that the journal has,
/// once it is known how long the rest will take, then those of each batch. A cell that fails is a line of the journal;
/// an error of this function means that nothing more could be scored.
pub fn score_missing(
    request: &ScoreRequest,
    journal: &mut Journal,
    clock: &Clock,
    mut done: impl FnMut(u64) -> Result<()>,
) -> Result<ScoreSummary> {
    let mut cells = build(request, clock)?;
    begin(request, &cells, journal)?;
    // The journal is the state: whatever ended an earlier run, only what it lacks is computed.
    let (pending, there) = find_pending(request, &cells, journal);
    let predicted = predict(request, &cells, &pending);
    done(there)?;
    let ScoreRequest { model, batch_tokens, .. } = *request;
    let mut pending = Some(pending);
    with_rows(batch_rows(&model.config, &model.placement.device, batch_tokens), |rows| {
        // With other rows a second time, of what the first time left.
        let pending = pending.take().unwrap_or_else(|| find_pending(request, &cells, journal).0);
        pending.iter().try_for_each(|part| score_part(request, part, rows, &mut cells, journal, clock, &mut done))
    })?;
    journal.sync()?;
    let failed = cells.into_iter().enumerate();
    Ok(ScoreSummary { predicted, failed: failed.filter_map(|(nth, cell)| Some((nth, cell.failure?))).collect() })
}

/// A cell and where it stands.
struct CellState<'a> {
    cell: &'a Cell,
    key: CellKey,
    codec: Option<Box<dyn Codec>>,
    /// Why it failed, in this call.
    failure: Option<String>,
}

/// Questions that lack the same scores.
struct Pending {
    /// Whether the unsplit model's scores are among them.
    baseline: bool,
    /// The cells, by their places.
    cells: Vec<usize>,
    /// The questions, by their places in the data set.
    questions: Vec<usize>,
}

/// Calibrates and builds the codecs.
fn build<'a>(request: &ScoreRequest<'a>, clock: &Clock) -> Result<Vec<CellState<'a>>> {
    let calibrations = clock.time(Stage::Calibrate, || calibrations(request, clock))?;
    let state = |cell: &'a Cell| {
        let calibration = calibrations.iter().find(|(split, _)| *split == cell.split).and_then(|(_, one)| one.as_ref());
        // A cell is the same only with the same calibration, so its digest is part of the key.
        let used = cell.codec.calibration().and(calibration).map(Calibration::sha256);
        let key = CellKey::new(cell, used, request.probe.is_some());
        match codec::build(&cell.codec, calibration) {
            Ok(codec) => CellState { cell, key, codec: Some(codec), failure: None },
            Err(error) => CellState { cell, key, codec: None, failure: Some(format!("{error:#}")) },
        }
    };
    Ok(request.cells.iter().map(state).collect())
}

/// Puts the plan into the journal, and why cells could not be built.
fn begin(request: &ScoreRequest, cells: &[CellState], journal: &mut Journal) -> Result<()> {
    let ScoreRequest { experiment, model, dataset, limit, .. } = *request;
    let keys = cells.iter().map(|state| state.key.clone()).collect();
    let questions = dataset.questions.iter().map(|question| question.index).collect();
    journal.begin(JournalPlan::new(blank_row(experiment, model, dataset, limit), keys, questions))?;
    let unbuilt = cells.iter().enumerate().filter_map(|(nth, state)| {
        let error = state.failure.as_ref()?;
        // A repeated run does not repeat the line.
        (journal.failure(&state.key) != Some(error)).then(|| JournalLine::Failed(nth, error.clone()))
    });
    let unbuilt = unbuilt.collect();
    journal.append(unbuilt)
}

/// What the journal lacks, and how many sequences it has.
fn find_pending(request: &ScoreRequest, cells: &[CellState], journal: &Journal) -> (Vec<Pending>, u64) {
    let ScoreRequest { dataset, requests, shard, .. } = *request;
    let mine = shard.map(|shard| shard.select(requests));
    let is_mine = |nth: &usize| mine.as_ref().is_none_or(|mine| mine[*nth]);
    // By whether the unsplit model's answer is lacking, and by the cells that are.
    // In a sorted map, so that the order of the parts is the same in every run.
    let mut pending: BTreeMap<(bool, Vec<usize>), Vec<usize>> = BTreeMap::new();
    let mut known = 0;
    for nth in (0..requests.len()).filter(is_mine) {
        let question = dataset.questions[nth].index;
        let is_lacking = |state: &CellState| state.codec.is_some() && !journal.has(&state.key, question);
        let lacking: Vec<usize> = (0..cells.len()).filter(|&cell| is_lacking(&cells[cell])).collect();
        let baseline = !journal.has_answer(question);
        known += requests[nth].len() * (cells.len() - lacking.len() + usize::from(!baseline));
        if baseline || !lacking.is_empty() {
            pending.entry((baseline, lacking)).or_default().push(nth);
        }
    }
    let part = |((baseline, cells), questions)| Pending { baseline, cells, questions };
    (pending.into_iter().map(part).collect(), known as u64)
}

impl Pending {
    /// The requests of each question.
    fn requests<'a>(&self, request: &ScoreRequest<'a>) -> Vec<&'a [Request]> {
        self.questions.iter().map(|&nth| request.requests[nth].as_slice()).collect()
    }
}

/// The time that all pending work is expected to take.
fn predict(request: &ScoreRequest, cells: &[CellState], pending: &[Pending]) -> PredictedSeconds {
    let mut predicted = PredictedSeconds::default();
    let Some(predictor) = request.predictor else { return predicted };
    for part in pending {
        let built = part.cells.iter().filter_map(|&nth| Some((cells[nth].cell, cells[nth].codec.as_deref()?)));
        let (questions, built) = (part.requests(request), built.collect::<Vec<_>>());
        let work = ScoringWork { questions: &questions, cells: &built, baseline: part.baseline };
        // A codec that fails here fails there too, and says so there.
        predicted += predictor.predict(&work).unwrap_or_default();
    }
    predicted
}

/// Scores questions that lack the same in batches of so many rows, and writes a line of the journal for each as soon as its batch is done.
fn score_part(
    request: &ScoreRequest,
    part: &Pending,
    rows: usize,
    cells: &mut [CellState],
    journal: &mut Journal,
    clock: &Clock,
    done: &mut impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    let ScoreRequest { model, dataset, .. } = *request;
    let decoder = {
        let _activity = progress::begin(format!("{}: reading the weights", model.title));
        clock.time(Stage::Load, || model.decoder())?
    };
    // Why cells come to an end; the codecs stay as they are while they are at work.
    let mut failures: Vec<Option<String>> = cells.iter().map(|state| state.failure.clone()).collect();
    let prepare = |&nth: &usize| {
        // What failed on other questions is not tried on these.
        let CellState { cell, codec, failure, .. } = &cells[nth];
        let codec = match failure {
            Some(error) => Err(error.clone()),
            None => codec.as_deref().context("a codec that was not built is not pending").map_err(|e| e.to_string()),
        };
        CellCodec { cell, codec }
    };
    let prepared: Vec<CellCodec> = part.cells.iter().map(prepare).collect();
    let extra = ExtraScores { baseline: part.baseline, probe: request.probe.map(|budget| Probe { budget }) };
    let requests = part.requests(request);
    let all: u64 = requests.iter().map(|requests| requests.len() as u64).sum();
    // Of each cell, to count what one that fails leaves out.
    let mut scored = vec![0u64; part.cells.len()];
    evaluate(decoder, &requests, &prepared, rows, extra, clock, |batches| {
        for batch in batches {
            let (mut sequences, mut lines) = (0, Vec::new());
            for scores in batch? {
                lines.push(match scores {
                    Scores::Unsplit { question, logliks } => {
                        let asked =
                            QuestionRecord::new(&dataset.questions[part.questions[question]], requests[question]);
                        sequences += logliks.len() as u64;
                        JournalLine::Baseline(UnsplitAnswer { asked, loglik: logliks })
                    }
                    Scores::Cell { question, cell, outcomes, fidelity } => {
                        let index = dataset.questions[part.questions[question]].index;
                        sequences += outcomes.len() as u64;
                        scored[cell] += outcomes.len() as u64;
                        JournalLine::Cell(part.cells[cell], CellAnswer { index, outcomes, fidelity })
                    }
                    Scores::Failed { cell, error } => {
                        // What a failed cell leaves out counts as done, so that the share done reaches the whole.
                        sequences += all - scored[cell];
                        failures[part.cells[cell]] = Some(error.clone());
                        JournalLine::Failed(part.cells[cell], error)
                    }
                });
            }
            // Written before it is told: what was counted outlives this process.
            journal.append(lines)?;
            done(sequences)?;
        }
        Ok(())
    })?;
    // Cells that had failed before count as done, with all their sequences.
    done(prepared.iter().filter(|one| one.codec.is_err()).count() as u64 * all)?;
    drop(prepared);
    cells.iter_mut().zip(failures).for_each(|(state, failure)| state.failure = failure);
    Ok(())
}

/// Scores without a journal on disk. Returns the records and the samples, those of the baseline first, then each
/// cell's.
pub fn score_in_memory(request: &ScoreRequest) -> Result<(RunRecords, Vec<Vec<Sample>>)> {
    let mut journal = Journal::in_memory();
    score_missing(request, &mut journal, &Clock::default(), |_| Ok(()))?;
    let mut samples = Vec::new();
    let collected = collect(&mut [journal], |_, of_cell| {
        samples.push(of_cell.to_vec());
        Ok(())
    })?;
    Ok((collected, samples))
}

/// The calibrations: one per split layer at which a codec asks for one.
fn calibrations(request: &ScoreRequest, clock: &Clock) -> Result<Vec<(SplitPoint, Option<Calibration>)>> {
    let mut splits: Vec<SplitPoint> = request.cells.iter().map(|c| c.split).collect();
    splits.sort_unstable();
    splits.dedup();
    splits
        .into_iter()
        .map(|split| {
            let codecs: Vec<_> = request.cells.iter().filter(|c| c.split == split).map(|c| c.codec.clone()).collect();
            let ScoreRequest { model, train, batch_tokens, calibrations, .. } = *request;
            let calibration =
                calibrate(model, train, split, &codecs, batch_tokens, calibrations, clock).with_context(|| {
                    format!("calibrating on {} after layer {}", request.dataset.info.name, split.after_layer)
                })?;
            Ok((split, calibration))
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
        dataset_title: dataset.info.origin.as_ref().map(|_| dataset.info.title.clone()),
        data_source: dataset.source.clone(),
        data_sha256: dataset.sha256.clone(),
        data_verified: dataset.verified,
        prompt_version: dataset.info.prompt_version,
        definition_sha256: dataset.info.definition_sha256(),
        codec: "baseline".to_string(),
        questions: dataset.questions.len() as u64,
        requests: dataset.questions.iter().map(|q| q.choices.len() as u64).sum(),
        metric: dataset.info.metric.as_str().to_string(),
        dtype: model.placement.type_name().to_string(),
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
    use crate::data::{self, RowSource};
    use crate::experiment::Scope;
    use crate::model::{Placement, source};
    use crate::score::encode_dataset;
    use splitbench_codec::CodecSpec;

    struct Input {
        model: Model,
        dataset: Dataset,
        requests: Vec<Vec<Request>>,
    }

    fn input() -> Input {
        let model = source::load("pocket", &Placement::cpu()).unwrap();
        let dataset = data::find("arc_easy-mini").unwrap().load(&RowSource::Embedded, Some(4)).unwrap();
        let requests = encode_dataset(&model.tokenizer, &dataset).unwrap();
        Input { model, dataset, requests }
    }

    impl Input {
        fn request<'a>(&'a self, cells: &'a [Cell]) -> ScoreRequest<'a> {
            let Self { model, dataset, requests } = self;
            ScoreRequest {
                experiment: "test",
                model,
                dataset,
                requests,
                train: &[],
                calibrations: None,
                cells,
                limit: None,
                shard: None,
                batch_tokens: 150,
                predictor: None,
                probe: None,
            }
        }
    }

    fn cell(after_layer: usize, scope: Scope, codec: &str, ratio: f64) -> Cell {
        let (codec, budget) = (CodecSpec::parse(codec).unwrap(), Some(Budget::elements(ratio).unwrap()));
        Cell { split: SplitPoint { after_layer }, scope, codec, budget }
    }

    /// Cells that share what another has computed: of equal rows under another coder, at another ratio of the same rank, in
    /// the same scope only.
    #[test]
    fn a_cell_that_repeats_another_scores_as_if_alone() {
        let input = input();
        let scopes = [Scope::PromptAndChoice, Scope::Prompt, Scope::Question];
        let codecs =
            [("int8", 2.0), ("int8:coder=rans", 2.0), ("svd", 7.0), ("svd", 7.1), ("svd", 2.0), ("token-ids", 1.0)];
        let cells: Vec<Cell> = (1..=2)
            .flat_map(|layer| scopes.map(|scope| codecs.map(|(codec, ratio)| cell(layer, scope, codec, ratio))))
            .flatten()
            .collect();
        let (_, together) = score_in_memory(&input.request(&cells)).unwrap();
        assert_eq!(together.len(), 1 + cells.len());
        for (one, together) in cells.iter().zip(&together[1..]) {
            let (_, alone) = score_in_memory(&input.request(std::slice::from_ref(one))).unwrap();
            assert!(*together == alone[1], "{one}");
        }
    }

    /// However many cells there are, what is computed is told and kept batch by batch of few questions and cells.
    #[test]
    fn many_cells_are_told_and_kept_a_few_at_a_time() {
        let input = input();
        let cells: Vec<Cell> = (1..=3)
            .flat_map(|after_layer| ["noop", "fc", "topk", "int8", "int4", "fp8"].map(|codec| (after_layer, codec)))
            .map(|(after_layer, codec)| cell(after_layer, Scope::PromptAndChoice, codec, 4.0))
            .collect();
        let request = input.request(&cells);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.journal");
        let mut journal = Journal::open(&path).unwrap();
        let (mut told, mut sizes) = (Vec::new(), Vec::new());
        score_missing(&request, &mut journal, &Clock::default(), |count| {
            told.push(count);
            sizes.push(std::fs::metadata(&path).unwrap().len());
            Ok(())
        })
        .unwrap();
        let all = input.requests.iter().map(Vec::len).sum::<usize>() as u64 * (1 + cells.len() as u64);
        assert_eq!(told.iter().sum::<u64>(), all);
        assert!(told.iter().all(|count| 10 * count < all), "{told:?}");
        // Each time it is told of something, that is on disk.
        let grown = |pair: &[u64]| pair[1] > pair[0];
        assert!(told[1..].iter().zip(sizes.windows(2)).all(|(count, pair)| *count == 0 || grown(pair)), "{sizes:?}");
    }
}
