//! A run: the experiment's cells over its models and data sets, ending in rows, tables and plots.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::cell::Cell;
use super::collect::{RunRecords, collect_into};
use super::journal::{Journal, JournalPlan};
use super::manifest::ManifestWriter;
use super::memory::{self, check_memory};
use super::needs::ensure_prepared;
use super::observe::observe;
use super::predict::Predictor;
use super::report_spec::ReportSpec;
use super::score::{ScoreRequest, ScoreSummary, blank_row, score_missing};
use super::spec::{Experiment, Spec};
use super::spent::{Clock, Stage};
use super::task::{ModelInput, Task, tasks};
use crate::data::RowSource;
use crate::file_name::check_run_name;
use crate::model::Placement;
use crate::model::source::{self, Model};
use crate::progress::{self, Activity};
use crate::record::machine::peak_memory;
use crate::record::manifest::{Manifest, PredictedSeconds, StageSeconds};
use crate::record::{Indicators, Row, RunFolder, Shard, read_rows, run_name};
use crate::score::{RatioTrial, next_ratios};
use splitbench_codec::{Budget, CodecSpec};

/// What the command line adds to the experiment file.
#[derive(Debug, Clone, Serialize)]
pub struct RunOptions {
    /// Folder with the rows of the real data sets.
    pub data_dir: Option<PathBuf>,
    /// Where `results/` and `plots/` go.
    #[serde(skip)]
    pub out: PathBuf,
    /// Name of the run's folder; made of revision and settings where absent.
    #[serde(skip)]
    pub run: Option<String>,
    /// Which share of the questions, if not all.
    #[serde(skip)]
    pub shard: Option<Shard>,
    /// Rows of the residual stream a batch has at most. No score depends on it.
    #[serde(skip)]
    pub batch_tokens: usize,
    /// Where ratios are searched: how near to the answer, a share.
    #[serde(skip)]
    pub search: Option<f64>,
    /// Device of the decoder: `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Type the weight matrices are kept in: `f32` or `bf16`.
    pub dtype: String,
    /// Whether questions longer than the model takes are left out; else they are an error.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip_long: bool,
}

/// What a run leaves: its records are on disk, and what tables are made of is here.
pub struct RunOutcome {
    /// Which tables and figures to make.
    pub report: ReportSpec,
    /// Where the records lie and where figures go; none of a shard, and of a run that came to an end before its time.
    pub folder: Option<RunFolder>,
    /// One row for each cell and baseline.
    pub rows: Vec<Row>,
    /// Indicators of each cell, where the report wants them.
    pub indicators: Vec<Indicators>,
    /// Cells that failed.
    pub failed: usize,
    /// What the run took, in words.
    pub summary: String,
    /// Files written.
    pub files: Vec<PathBuf>,
    /// Why not all of it was computed or written, where that is so.
    pub cut_short: Option<anyhow::Error>,
}

impl RunOutcome {
    /// What was collected, without a word on how.
    fn new(report: &ReportSpec, collected: &RunRecords) -> Self {
        let RunRecords { rows, indicators, .. } = collected;
        Self {
            report: report.clone(),
            folder: None,
            rows: rows.clone(),
            indicators: indicators.clone(),
            failed: rows.iter().filter(|row| row.err.is_some()).count(),
            summary: String::new(),
            files: Vec::new(),
            cut_short: None,
        }
    }
}

/// Runs an experiment, but for what an earlier run left in the same place. What is computed is on disk after every batch, rows
/// and samples after every data set, so that it stays whatever happens later.
pub fn run(experiment: &Experiment, options: &RunOptions) -> Result<RunOutcome> {
    let mut collected = RunRecords::default();
    run_into(experiment, options, &mut collected).or_else(|error| match collected.rows.is_empty() {
        true => Err(error),
        false => Ok(RunOutcome { cut_short: Some(error), ..RunOutcome::new(&experiment.spec.report, &collected) }),
    })
}

/// Runs; what data sets came to until it ended, however it did, is in `collected`.
fn run_into(experiment: &Experiment, options: &RunOptions, collected: &mut RunRecords) -> Result<RunOutcome> {
    let mut runner = Runner::open(experiment, options)?;
    for (model, mut tasks) in runner.load()? {
        runner.score_model(&model, &mut tasks, collected)?;
        runner.observe(&model, &tasks)?;
    }
    runner.finish(collected)
}

/// A run at work.
struct Runner<'a> {
    experiment: &'a Experiment,
    options: &'a RunOptions,
    placement: Placement,
    folder: RunFolder,
    clock: Clock,
    manifest: ManifestWriter,
    /// Seconds that scoring was expected to take so far; none on a GPU.
    predicted: Option<PredictedSeconds>,
    /// Cells that failed.
    failed: usize,
    /// The rows that an earlier run left here.
    before: Vec<Row>,
}

impl<'a> Runner<'a> {
    /// Checks what can be checked without a model, and makes the run's folder.
    fn open(experiment: &'a Experiment, options: &'a RunOptions) -> Result<Self> {
        let Experiment { name, spec, .. } = experiment;
        ensure_prepared(spec, options.data_dir.as_deref())?;
        let started = jiff::Zoned::now();
        let run = match &options.run {
            Some(run) => run.clone(),
            None => run_name(None, &(spec, options, options.search))?,
        };
        check_run_name(&run)?;
        ensure!(
            options.shard.is_none() || !(spec.report.activations || spec.report.response.is_some()),
            "experiment {name} looks at activations or times single requests beside its scores, which no share of the \
             questions does: run it without --shard, or give an experiment without these reports"
        );
        let placement = Placement::open(&options.device, &options.dtype)?;
        // Before anything is computed; models are loaded one after another.
        spec.models.iter().try_for_each(|model| check_memory(model, &placement, options.batch_tokens))?;
        let folder = RunFolder::create(&options.out, name, &run, options.shard, &inputs(experiment, options)?)?;
        // Rows of a program that cannot be read any more are no rows.
        let before = read_rows(&folder.results.join("rows.parquet")).unwrap_or_default();
        let clock = Clock::default();
        let predicted = placement.device.is_cpu().then(PredictedSeconds::default);
        let mut manifest = ManifestWriter::begin(experiment, options, started, &folder)?;
        for model in &spec.models {
            let bytes = memory::bytes(&source::load_config(model)?, placement.dtype, options.batch_tokens);
            manifest.manifest.predicted_memory = manifest.manifest.predicted_memory.max(bytes);
        }
        // One that is there stays until a journal has taken this process's inputs for its own.
        if !folder.results.join(folder.shard_file("manifest", "json")).exists() {
            manifest.write(&folder, &clock, predicted)?;
        }
        Ok(Self { experiment, options, placement, folder, clock, manifest, predicted, failed: 0, before })
    }

    /// The models, each with its data sets. Everything that a run could fail for is known before anything is scored.
    fn load(&self) -> Result<Vec<(Model, Vec<Task>)>> {
        let Experiment { name: experiment, spec, .. } = self.experiment;
        let load = |name: &String| {
            let _activity = progress::begin(format!("{name}: opening the model"));
            let model = self.clock.time(Stage::Load, || source::load(name, &self.placement))?;
            model.notes.iter().for_each(|note| progress::say(&format!("note: {note}")));
            let input = ModelInput { name, config: &model.config, tokenizer: &model.tokenizer };
            let tasks = tasks(spec, &input, self.options.data_dir.as_deref(), self.options.skip_long)
                .with_context(|| format!("experiment {experiment}, model {name}"))?;
            for task in &tasks {
                let row = blank_row(experiment, &model, &task.dataset, spec.limit);
                let journal = self.folder.journal_path(&model.name, &task.dataset.info.name);
                Journal::check(&journal, &JournalPlan::new(row, Vec::new(), Vec::new()))?;
            }
            Ok((model, tasks))
        };
        spec.models.iter().map(load).collect()
    }

    /// Scores what is missing of a model's data sets. Rows of each are on disk when it is done.
    fn score_model(&mut self, model: &Model, tasks: &mut [Task], collected: &mut RunRecords) -> Result<()> {
        let Self { experiment: Experiment { name, spec, .. }, options, placement, folder, clock, .. } = self;
        let (manifest, predicted) = (&mut self.manifest, &mut self.predicted);
        let predictor =
            predicted.is_some().then(|| Predictor::new(&model.config, placement.dtype, options.batch_tokens));
        manifest.add_model(model);
        let sequences = tasks.iter().map(Task::sequences).sum();
        let sequences = options.shard.map_or(sequences, |shard| shard.part_of(sequences));
        let progress = progress::sequences(model.title.clone(), sequences);
        let (predictor, progress) = (predictor.as_ref(), &progress);
        let scorer = Scorer { name, spec, options, model, predictor, folder, progress, clock };
        for task in tasks {
            let dataset = task.dataset.info.name.clone();
            manifest.add_dataset(&model.name, task);
            for note in notes(model, task) {
                progress::say(&format!("note: {note}"));
                manifest.manifest.notes.push(note);
            }
            progress.set_message(format!("{} {dataset}", model.title));
            let (rows, scored) = scorer.score_dataset(task, || manifest.keep(folder, clock, *predicted))?;
            predicted.iter_mut().for_each(|all| *all += scored.predicted);
            for (cell, error) in &scored.failed {
                let codec = &task.cells[*cell].codec;
                progress::say(&format!("failed: {} {codec} on {dataset}: {error}", model.title));
            }
            self.failed += scored.failed.len();
            collected.extend(rows);
            if options.shard.is_none() {
                folder.rows(&collected.rows)?;
            }
            manifest.write(folder, clock, *predicted)?;
        }
        Ok(())
    }

    /// Looks at activations, and times single requests, where the report wants that.
    fn observe(&self, model: &Model, tasks: &[Task]) -> Result<()> {
        if self.options.shard.is_some() {
            return Ok(());
        }
        observe(&self.folder.results, &self.experiment.spec, model, tasks, self.options.batch_tokens, &self.clock)
    }

    /// Writes the records of all data sets, and says what that took.
    fn finish(mut self, collected: &RunRecords) -> Result<RunOutcome> {
        self.manifest.finish();
        let written = self.manifest.write(&self.folder, &self.clock, self.predicted);
        let mut summary = self.summary();
        let report = &self.experiment.spec.report;
        if let Some(shard) = self.options.shard {
            written?;
            summary +=
                &format!("shard {shard} is done; when all are: splitbench collect {}\n", self.folder.results.display());
            return Ok(RunOutcome { failed: self.failed, summary, ..RunOutcome::new(report, &RunRecords::default()) });
        }
        let sets = collected.rows.iter().map(|row| (row.model.as_str(), row.dataset.as_str()));
        let stale = self.folder.remove_samples_but(sets);
        summary += &left_out(&self.before, &collected.rows);
        let described = ["manifest.json", "machine.json"].map(|file| self.folder.results.join(file));
        let mut outcome = finish(self.folder, report, collected);
        outcome.files.extend(described);
        outcome.cut_short = outcome.cut_short.or(written.err()).or(stale.err());
        Ok(RunOutcome { summary, ..outcome })
    }

    /// Where time and memory went.
    fn summary(&self) -> String {
        let (whole, spent) = self.clock.read();
        let StageSeconds { load_s, calibrate_s, client_s, encode_s, decode_s, baseline_s, server_s, rest_s } = spent;
        let mut text = format!(
            "\n{whole:.1} s: loading {load_s:.1}, calibration {calibrate_s:.1}, client half {client_s:.1}, encode \
             {encode_s:.1} and decode {decode_s:.1} (summed over threads, beside the server), unsplit model's rest \
             {baseline_s:.1}, server half {server_s:.1}, rest {rest_s:.1}\n"
        );
        let Manifest { earlier, predicted_memory, .. } = &self.manifest.manifest;
        if !earlier.is_empty() {
            let before: f64 = earlier.iter().map(|process| process.cost.wall_seconds).sum();
            let processes = match earlier.len() {
                1 => "one process".to_string(),
                more => format!("{more} processes"),
            };
            text += &format!("before this, {processes} of the same run took at least {before:.1} s\n");
        }
        if let Some(expected) = self.predicted.filter(|expected| expected.seconds() > 0.0) {
            text += &format!(
                "predicted {:.1} s for both halves and codecs, which took {:.1}\n",
                expected.seconds(),
                whole - load_s - calibrate_s - rest_s
            );
        }
        if let Some(peak) = peak_memory() {
            let [predicted, peak] = [*predicted_memory, peak as f64].map(|bytes| bytes / 1e6);
            text += &format!("predicted {predicted:.0} MB of memory beside mapped files, took {peak:.0} with them\n");
        }
        text
    }
}

/// What has to be said where an earlier run in the same place had rows that this one was not asked for.
fn left_out(before: &[Row], rows: &[Row]) -> String {
    let place = |row: &Row| {
        let at = (row.split_layer, row.ratio_requested.map(f64::to_bits));
        let names = [&row.model, &row.dataset, &row.scope, &row.codec, &row.accounting].map(String::clone);
        (at, names)
    };
    let now: HashMap<_, u64> = rows.iter().map(|row| (place(row), row.questions)).collect();
    let lacks = |row: &&Row| now.get(&place(row)).is_none_or(|questions| *questions < row.questions);
    match before.iter().filter(lacks).count() {
        0 => String::new(),
        lost => format!(
            "note: {lost} of the {} rows that an earlier run left here were not asked for, or of more questions; tables and \
             rows are now of what was asked. Their scores are kept in the journal: the earlier command brings them back\n",
            before.len()
        ),
    }
}

/// What has to be said of a data set before it is scored.
fn notes(model: &Model, task: &Task) -> Vec<String> {
    let skipped = (task.dataset.skipped > 0).then(|| {
        format!(
            "{}: {} questions longer than the {} tokens that {} takes are left out",
            task.dataset.info.name,
            task.dataset.skipped,
            model.config.most_tokens(),
            model.title
        )
    });
    task.dataset.note().into_iter().chain(skipped).collect()
}

/// All files that a run is computed of.
fn inputs(experiment: &Experiment, options: &RunOptions) -> Result<Vec<PathBuf>> {
    let Experiment { spec, file, .. } = experiment;
    let names = spec.dataset_infos()?;
    let rows = RowSource::new(options.data_dir.as_deref()).files(names);
    let mut read: Vec<PathBuf> = file.iter().cloned().chain(rows).collect();
    for model in &spec.models {
        read.extend(source::locate(model)?.paths());
    }
    read.extend(spec.codec_specs()?.iter().flat_map(CodecSpec::files));
    Ok(read)
}

/// Cells at the ratios that a search tries next, of each codec and cut its own. `rows` begin with the baseline, then have one a
/// cell.
fn refined(cells: &[Cell], rows: &[Row], points: f64, precision: f64) -> Vec<Cell> {
    let mut searched: Vec<(Cell, Vec<RatioTrial>)> = Vec::new();
    for (cell, row) in cells.iter().zip(rows.iter().skip(1)) {
        let (Some(budget), Some(tried)) = (cell.budget, row.tried()) else { continue };
        // The cell but for its ratio.
        let any = Cell { budget: Some(Budget { ratio: 1.0, ..budget }), ..cell.clone() };
        match searched.iter_mut().find(|(known, _)| *known == any) {
            Some((_, all)) => all.push(tried),
            None => searched.push((any, vec![tried])),
        }
    }
    let at = |any: &Cell, ratio: f64| {
        let budget = any.budget.map(|budget| Budget { ratio, ..budget });
        Cell { budget, ..any.clone() }
    };
    (searched.iter())
        .flat_map(|(any, tried)| next_ratios(tried, points, precision).into_iter().map(|ratio| at(any, ratio)))
        // One that failed tells nothing, and would be asked for again and again.
        .filter(|cell| !cells.contains(cell))
        .collect()
}

/// Writes the records of what was collected. Where that fails, the outcome comes with the reason.
pub(super) fn finish(folder: RunFolder, report: &ReportSpec, collected: &RunRecords) -> RunOutcome {
    let RunRecords { rows, timings, indicators } = collected;
    let write = || -> Result<Vec<PathBuf>> {
        folder.rows(rows)?;
        folder.timings(timings)?;
        let mut files = vec!["rows.parquet", "timings.csv", "samples"];
        if report.layers {
            folder.indicators(indicators)?;
            files.push("layers.jsonl");
        }
        if rows.iter().all(|row| row.err.is_some() || row.is_baseline()) {
            bail!("every cell failed; the reasons are in {}", folder.results.join("rows.csv").display());
        }
        Ok(files.into_iter().map(|file| folder.results.join(file)).collect())
    };
    let (files, cut_short) = match write() {
        Ok(files) => (files, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    RunOutcome { folder: Some(folder), files, cut_short, ..RunOutcome::new(report, collected) }
}

/// Scores data sets by one model.
struct Scorer<'a> {
    name: &'a str,
    spec: &'a Spec,
    options: &'a RunOptions,
    model: &'a Model,
    predictor: Option<&'a Predictor>,
    folder: &'a RunFolder,
    progress: &'a Activity,
    clock: &'a Clock,
}

impl Scorer<'_> {
    /// Scores what is missing, and where ratios are searched adds cells until the answer is near enough. Gives what all of it comes
    /// to, nothing of a shard. `step` hears of each batch, and before the first.
    fn score_dataset(
        &self,
        task: &mut Task,
        mut step: impl FnMut() -> Result<()>,
    ) -> Result<(RunRecords, ScoreSummary)> {
        let Self { spec, options, model, folder, progress, .. } = *self;
        let mut journals = [Journal::open(&folder.journal_path(&model.name, &task.dataset.info.name))?];
        let mut expected = PredictedSeconds::default();
        // What the rounds of a search before this one have done.
        let mut before = 0;
        loop {
            let mut known = before;
            let done = |count: u64| {
                let again = count.min(known);
                known -= again;
                progress.add(count - again);
                step()
            };
            let ScoreSummary { predicted, failed } = self.score_round(task, &mut journals[0], done)?;
            expected += predicted;
            let scored = ScoreSummary { predicted: expected, failed };
            if options.shard.is_some() {
                return Ok((RunRecords::default(), scored));
            }
            let collected = collect_into(folder, &model.name, &task.dataset.info.name, &mut journals)?;
            let Some(precision) = options.search else { return Ok((collected, scored)) };
            let more = refined(&task.cells, &collected.rows, spec.report.near_lossless_points, precision);
            if more.is_empty() {
                return Ok((collected, scored));
            }
            before = task.sequences();
            task.cells.extend(more);
            progress.expect(task.sequences() - before);
        }
    }

    fn score_round(
        &self,
        task: &Task,
        journal: &mut Journal,
        done: impl FnMut(u64) -> Result<()>,
    ) -> Result<ScoreSummary> {
        let Self { name, spec, options, model, predictor, clock, .. } = *self;
        let request = ScoreRequest {
            experiment: name,
            model,
            dataset: &task.dataset,
            requests: &task.requests,
            train: &task.train,
            calibrations: Some(&options.out.join("results").join("calibrations")),
            cells: &task.cells,
            limit: spec.limit,
            shard: options.shard,
            batch_tokens: options.batch_tokens,
            predictor,
            probe: spec.report.layers.then(|| spec.budgets_for(task.dataset.info)[0]),
        };
        score_missing(&request, journal, clock, done)
            .with_context(|| format!("model {}, data set {}", model.name, task.dataset.info.name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::cells;
    use super::*;
    use crate::experiment::Scope;
    use crate::record::testing::{failed, row};

    #[test]
    fn rows_that_were_not_asked_for_again_are_told() {
        let before = [row("baseline", None, 0.7), row("fc", Some(8.0), 0.5), row("fc", Some(4.0), 0.6)];
        assert_eq!(left_out(&[], &before), "");
        assert_eq!(left_out(&before, &before), "");
        assert!(left_out(&before, &before[..2]).starts_with("note: 1 of the 3 rows"));
        let fewer = before.each_ref().map(|row| Row { questions: row.questions - 1, ..row.clone() });
        assert!(left_out(&before, &fewer).starts_with("note: 3 of the 3 rows"));
        assert_eq!(left_out(&fewer, &before), "", "more questions lose nothing");
    }

    #[test]
    fn a_search_does_not_ask_again_for_what_failed() {
        let budgets = |ratios: &[f64]| ratios.iter().map(|r| Budget::elements(*r).unwrap()).collect::<Vec<_>>();
        let of = |ratios: &[f64]| {
            cells(&[1], &[Scope::PromptAndChoice], &[CodecSpec::parse("fc").unwrap()], &budgets(ratios))
        };
        let tried = |ratio: f64| {
            let lost = Some(if ratio > 4.0 { 30 } else { 0 });
            Row { lost, gained: Some(0), ..row("fc", Some(ratio), 0.5) }
        };
        let mut asked = of(&[4.0, 8.0]);
        let mut rows = vec![row("baseline", None, 0.7), tried(4.0), tried(8.0)];
        let more = refined(&asked, &rows, 0.3, 0.02);
        let ratio = |cell: &Cell| cell.budget.unwrap().ratio;
        assert!(more.len() >= 3 && more.iter().all(|cell| 4.0 < ratio(cell) && ratio(cell) < 8.0));
        for cell in more {
            rows.push(failed(tried(ratio(&cell)), "refused"));
            asked.push(cell);
        }
        assert_eq!(refined(&asked, &rows, 0.3, 0.02), []);
    }
}
