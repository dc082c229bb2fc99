//! A run: the experiment's cells over its models and data sets, ending in rows, tables and plots.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::cell::Cell;
use super::collect::Collected;
use super::indicators::Indicators;
use super::journal::{Journal, Plan};
use super::machine::peak_memory;
use super::manifest::Manifest;
use super::memory::{self, check_memory};
use super::needs::ensure_prepared;
use super::observe::observe;
use super::predict::{Predicted, Predictor};
use super::row::Row;
use super::score::{ScoreRequest, Scored, blank_row, score};
use super::shard::Shard;
use super::spec::{Experiment, Spec};
use super::spent::{Clock, Spent, Stage};
use super::store::Store;
use super::task::{ModelInput, Task, tasks};
use crate::data::Source;
use crate::file_name::check_run_name;
use crate::model::Placement;
use crate::model::source::{self, Model};
use crate::progress::{self, Activity};
use crate::report::{self, Beside, Report};
use crate::score::{Tried, next_ratios};
use splitbench_codec::{Budget, CodecSpec};

/// What the command line adds to the experiment file.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
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

/// What a run leaves.
#[derive(Default)]
pub struct Outcome {
    /// Tables for the terminal.
    pub text: String,
    /// Files written.
    pub files: Vec<PathBuf>,
    /// Cells that failed.
    pub failed: usize,
    /// Why not all of it was computed or written, where that is so.
    pub cut_short: Option<anyhow::Error>,
    /// One row a cell and baseline.
    pub rows: Vec<Row>,
    /// Indicators a cell, where the report wants them.
    pub indicators: Vec<Indicators>,
}

/// Runs an experiment, but for what an earlier run left in the same place. What is computed is on disk after every batch, rows
/// and samples after every data set, so that it stays whatever happens later.
pub fn run(experiment: &Experiment, options: &Options) -> Result<Outcome> {
    let mut collected = Collected::default();
    run_into(experiment, options, &mut collected).or_else(|error| match collected.rows.is_empty() {
        true => Err(error),
        false => {
            let beside = Beside { partial: true, ..Beside::default() };
            tables(&experiment.spec.report, &collected, beside, Vec::new(), Some(error))
        }
    })
}

/// Runs; what data sets came to until it ended, however it did, is in `collected`.
fn run_into(experiment: &Experiment, options: &Options, collected: &mut Collected) -> Result<Outcome> {
    let Experiment { name, spec, .. } = experiment;
    ensure_prepared(spec, options.data_dir.as_deref())?;
    let started = jiff::Zoned::now();
    let run = match &options.run {
        Some(run) => run.clone(),
        None => run_name(spec, options)?,
    };
    check_run_name(&run)?;
    ensure!(
        options.shard.is_none() || !(spec.report.activations || spec.report.response.is_some()),
        "experiment {name} looks at activations or times single requests beside its scores, which no share of the questions does: run \
         it without --shard, or give an experiment without these reports"
    );
    let placement = Placement::open(&options.device, &options.dtype)?;
    // Before anything is computed; models are loaded one after another.
    spec.models.iter().try_for_each(|model| check_memory(model, &placement, options.batch_tokens))?;
    let store = Store::create(&options.out, name, &run, options.shard, &read(experiment, options)?)?;

    let clock = Clock::default();
    let mut failed = 0;
    let mut predicted = placement.device.is_cpu().then(Predicted::default);
    let mut manifest = Manifest::begin(experiment, options, started, &store);
    for model in &spec.models {
        let bytes = memory::bytes(&source::load_config(model)?, placement.dtype, options.batch_tokens);
        manifest.predicted_memory = manifest.predicted_memory.max(bytes);
    }
    // One that is there stays until a journal has taken this process's inputs for its own.
    if !store.results.join(store.own("manifest", "json")).exists() {
        manifest.write(&store, &clock, predicted)?;
    }
    // Everything that a run could fail for is known before anything is scored.
    let mut inputs = Vec::new();
    for name in &spec.models {
        let _activity = progress::begin(format!("{name}: opening the model"));
        let model = clock.time(Stage::Load, || source::load(name, &placement))?;
        model.notes.iter().for_each(|note| progress::say(&format!("note: {note}")));
        let input = ModelInput { name, config: &model.config, tokenizer: &model.tokenizer };
        let tasks = tasks(spec, &input, options.data_dir.as_deref(), options.skip_long)
            .with_context(|| format!("experiment {}, model {name}", experiment.name))?;
        for task in &tasks {
            let row = blank_row(&experiment.name, &model, &task.dataset, spec.limit);
            let journal = store.journal_path(&model.name, &task.dataset.info.name);
            Journal::check(&journal, &Plan::new(row, Vec::new(), Vec::new()))?;
        }
        inputs.push((model, tasks));
    }
    for (model, mut tasks) in inputs {
        let predictor =
            predicted.is_some().then(|| Predictor::new(&model.config, placement.dtype, options.batch_tokens));
        manifest.model(&model);
        let sequences = tasks.iter().map(Task::sequences).sum();
        let sequences = options.shard.map_or(sequences, |shard| shard.part_of(sequences));
        let progress = progress::sequences(model.title.clone(), sequences);
        for task in &mut tasks {
            manifest.dataset(&model.name, task);
            if let Some(note) = task.dataset.note() {
                progress::say(&format!("note: {note}"));
                manifest.notes.push(note);
            }
            if task.dataset.skipped > 0 {
                let note = format!(
                    "{}: {} questions longer than the {} tokens that {} takes are left out",
                    task.dataset.info.name,
                    task.dataset.skipped,
                    model.config.most_tokens(),
                    model.title
                );
                progress::say(&format!("note: {note}"));
                manifest.notes.push(note);
            }
            progress.set_message(format!("{} {}", model.title, task.dataset.info.name));
            let scorer = Scorer {
                name,
                spec,
                options,
                model: &model,
                predictor: predictor.as_ref(),
                store: &store,
                progress: &progress,
                clock: &clock,
            };
            let (of_task, Scored { predicted: expected, failed: ended }) =
                scorer.score(task, || manifest.keep(&store, &clock, predicted))?;
            predicted.iter_mut().for_each(|all| *all += expected);
            for (cell, error) in &ended {
                let codec = &task.cells[*cell].codec;
                progress::say(&format!("failed: {} {codec} on {}: {error}", model.title, task.dataset.info.name));
            }
            failed += ended.len();
            collected.extend(of_task);
            if options.shard.is_none() {
                store.rows(&collected.rows)?;
            }
            manifest.write(&store, &clock, predicted)?;
        }
        drop(progress);
        if options.shard.is_none() {
            observe(&store.results, spec, &model, &tasks, options.batch_tokens, &clock)?;
        }
    }
    let _activity = progress::begin("tables and figures");
    // Tables say of a run that has not finished that they are partial.
    manifest.finished = Some(jiff::Zoned::now().to_string());
    manifest.write(&store, &clock, predicted)?;
    let mut outcome = match options.shard {
        Some(_) => Outcome { failed, ..Outcome::default() },
        None => finish(&store, &spec.report, collected)?,
    };
    manifest.finished = Some(jiff::Zoned::now().to_string());
    if let Err(error) = manifest.write(&store, &clock, predicted) {
        outcome.cut_short.get_or_insert(error);
    }
    let (whole, spent) = clock.read();
    let Spent { load_s, calibrate_s, client_s, encode_s, decode_s, baseline_s, server_s, rest_s } = spent;
    outcome.text.push_str(&format!(
        "\n{whole:.1} s: loading {load_s:.1}, calibration {calibrate_s:.1}, client half {client_s:.1}, encode {encode_s:.1} and decode {decode_s:.1} (summed \
         over threads, beside the server), unsplit model's rest {baseline_s:.1}, server half {server_s:.1}, rest {rest_s:.1}\n"
    ));
    if !manifest.earlier.is_empty() {
        let before: f64 = manifest.earlier.iter().map(|process| process.took.wall_seconds).sum();
        outcome.text.push_str(&format!(
            "before this, {} of the same run took at least {before:.1} s\n",
            match manifest.earlier.len() {
                1 => "one process".to_string(),
                more => format!("{more} processes"),
            }
        ));
    }
    if let Some(expected) = predicted.filter(|expected| expected.seconds() > 0.0) {
        outcome.text.push_str(&format!(
            "predicted {:.1} s for both halves and codecs, which took {:.1}\n",
            expected.seconds(),
            whole - load_s - calibrate_s - rest_s
        ));
    }
    if let Some(peak) = peak_memory() {
        let megabytes = [manifest.predicted_memory, peak as f64].map(|bytes| bytes / 1e6);
        outcome.text.push_str(&format!(
            "predicted {:.0} MB of memory beside mapped files, took {:.0} with them\n",
            megabytes[0], megabytes[1]
        ));
    }
    match options.shard {
        Some(shard) => outcome.text.push_str(&format!(
            "shard {shard} is done; when all are: splitbench collect {}\n",
            store.results.display()
        )),
        None => outcome.files.extend(["manifest.json", "machine.json"].map(|file| store.results.join(file))),
    }
    Ok(outcome)
}

/// All files that a run is computed of.
fn read(experiment: &Experiment, options: &Options) -> Result<Vec<PathBuf>> {
    let Experiment { spec, file, .. } = experiment;
    let names = spec.dataset_infos()?;
    let rows = Source::of(options.data_dir.as_deref()).files(names.iter().map(|info| info.name.as_str()));
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
    let mut searched: Vec<(Cell, Vec<Tried>)> = Vec::new();
    for (cell, row) in cells.iter().zip(rows.iter().skip(1)) {
        let (Some(budget), Some(tried)) = (cell.budget, report::tried(row)) else { continue };
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

/// Writes rows, times, tables and figures of what was collected. Where that fails, the tables come with the reason.
pub(super) fn finish(store: &Store, report: &Report, collected: &Collected) -> Result<Outcome> {
    let Collected { rows, timings, indicators } = collected;
    let measured = store.rows(rows).and_then(|()| store.timings(timings)).and_then(|()| match report.layers {
        true => store.indicators(indicators),
        false => Ok(()),
    });
    let beside = Beside::of_run(&store.results, report)?;
    let write = || -> Result<Vec<PathBuf>> {
        measured?;
        let mut files = vec![store.results.join("rows.parquet")];
        files.extend(report::write(&store.results, &store.plots, report, rows, &beside)?);
        let page = report::page::write(std::slice::from_ref(&store.results), &store.results, Some(&store.plots));
        files.extend(page.context("writing the page of the run")?);
        let measured = if report.layers { &["layers.jsonl"][..] } else { &[] };
        files.extend(measured.iter().chain(&["timings.csv", "samples"]).map(|f| store.results.join(f)));
        if rows.iter().all(|r| r.err.is_some() || r.is_baseline()) {
            bail!("every cell failed; the reasons are in {}", store.results.join("rows.csv").display());
        }
        Ok(files)
    };
    let (files, cut_short) = match write() {
        Ok(files) => (files, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    tables(report, collected, beside, files, cut_short)
}

/// What is shown of what was collected.
fn tables(
    report: &Report,
    collected: &Collected,
    beside: Beside,
    files: Vec<PathBuf>,
    cut_short: Option<anyhow::Error>,
) -> Result<Outcome> {
    let rows = collected.rows.clone();
    let text = report::terminal(report, &rows, &beside, 160)?;
    let failed = rows.iter().filter(|r| r.err.is_some()).count();
    Ok(Outcome { text, files, failed, cut_short, rows, indicators: beside.indicators })
}

/// Scores data sets by one model.
struct Scorer<'a> {
    name: &'a str,
    spec: &'a Spec,
    options: &'a Options,
    model: &'a Model,
    predictor: Option<&'a Predictor>,
    store: &'a Store,
    progress: &'a Activity,
    clock: &'a Clock,
}

impl Scorer<'_> {
    /// Scores what is missing, and where ratios are searched adds cells until the answer is near enough. Gives what all of it comes
    /// to, nothing of a shard. `step` hears of each batch, and before the first.
    fn score(&self, task: &mut Task, mut step: impl FnMut() -> Result<()>) -> Result<(Collected, Scored)> {
        let Self { spec, options, model, store, progress, .. } = *self;
        let mut journals = [Journal::open(&store.journal_path(&model.name, &task.dataset.info.name))?];
        let mut expected = Predicted::default();
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
            let Scored { predicted, failed } = self.round(task, &mut journals[0], done)?;
            expected += predicted;
            let scored = Scored { predicted: expected, failed };
            if options.shard.is_some() {
                return Ok((Collected::default(), scored));
            }
            let collected = store.collect(&model.name, &task.dataset.info.name, &mut journals)?;
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

    fn round(&self, task: &Task, journal: &mut Journal, done: impl FnMut(u64) -> Result<()>) -> Result<Scored> {
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
        score(&request, journal, clock, done)
            .with_context(|| format!("model {}, data set {}", model.name, task.dataset.info.name))
    }
}

/// `<revision>-<settings>`: the same command of the same revision has the same name, so that it goes on where it ended.
fn run_name(spec: &Spec, options: &Options) -> Result<String> {
    let mut settings = serde_json::to_string(&(spec, options))?;
    if let Some(precision) = options.search {
        settings += &precision.to_string();
    }
    let digest: String = Sha256::digest(settings).iter().take(3).map(|b| format!("{b:02x}")).collect();
    let revision = crate::VERSION.split('+').nth(1).unwrap_or(crate::VERSION);
    Ok(format!("{revision}-{digest}"))
}

#[cfg(test)]
mod tests {
    use super::super::cell::cells;
    use super::*;
    use crate::experiment::Scope;
    use crate::report::testing::{failed, row};

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
