//! A run: the experiment's cells over its models and data sets, ending in rows, tables and plots.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::cell::{Cell, cells};
use super::collect::Collected;
use super::evaluate::Spent;
use super::indicators::Indicators;
use super::journal::Journal;
use super::machine::Machine;
use super::memory::check_memory;
use super::needs::ensure_prepared;
use super::observe::observe;
use super::progress::Progress;
use super::row::Row;
use super::score::{ScoreRequest, score};
use super::shard::Shard;
use super::spec::{Experiment, Spec};
use super::store::Store;
use crate::codec::Budget;
use crate::data::{self, Dataset, DatasetInfo, Source};
use crate::model::Placement;
use crate::model::source::{self, Model, POCKET};
use crate::report::{self, Report};
use crate::score::{Tried, next_ratios};

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
}

/// What a run leaves.
pub struct Outcome {
    /// Tables for the terminal.
    pub text: String,
    /// Files written.
    pub files: Vec<PathBuf>,
    /// Cells that failed.
    pub failed: usize,
    /// One row a cell and baseline.
    pub rows: Vec<Row>,
    /// Indicators a cell, where the report wants them.
    pub indicators: Vec<Indicators>,
}

/// One model and data set to score.
pub struct Task {
    /// The questions.
    pub dataset: Dataset,
    /// Calibration questions.
    pub train: Vec<data::Question>,
    /// The cells.
    pub cells: Vec<Cell>,
}

impl Task {
    /// Sequences to score: requests times cells and baseline.
    pub fn sequences(&self) -> u64 {
        let requests: usize = self.dataset.questions.iter().map(|q| q.choices.len()).sum();
        (requests * (1 + self.cells.len())) as u64
    }
}

/// The data set a model is really asked: the embedded model knows the small world of the mini sets, so it gets these
/// unless the user brings rows of their own.
fn resolve(info: &'static DatasetInfo, model: &str, data_dir: Option<&Path>) -> Result<&'static DatasetInfo> {
    if info.mini || model != POCKET || data_dir.is_some() {
        return Ok(info);
    }
    data::find(&format!("{}-mini", info.name))
}

/// Loads the data of an experiment for a model of `layers` layers.
pub fn tasks(spec: &Spec, model: &str, layers: usize, data_dir: Option<&Path>) -> Result<Vec<Task>> {
    let source = Source::of(data_dir);
    let (splits, codecs) = (spec.splits(layers)?, spec.codec_specs()?);
    let calibrated = codecs.iter().any(|c| c.calibration().is_some());
    spec.dataset_infos()?
        .into_iter()
        .map(|info| {
            let info = resolve(info, model, data_dir)?;
            let dataset = data::load(&info.name, &source, spec.limit)?;
            let train = match calibrated {
                true => data::load_train(&info.name, &source, Some(spec.calibration_rows))?.questions,
                false => Vec::new(),
            };
            Ok(Task { dataset, train, cells: cells(&splits, &spec.scopes, &codecs, &spec.budgets_for(info)) })
        })
        .collect()
}

#[derive(Serialize)]
struct Manifest<'a> {
    experiment: &'a str,
    version: &'static str,
    command: Vec<String>,
    started: String,
    finished: Option<String>,
    wall_seconds: Option<f64>,
    spent: Option<Spent>,
    spec: &'a Spec,
    options: &'a Options,
    models: &'a [ManifestModel],
    datasets: &'a [ManifestDataset],
    notes: &'a [String],
}

#[derive(Serialize, Clone)]
struct ManifestModel {
    name: String,
    origin: String,
    sha256: String,
    tokenizer_sha256: String,
    /// What tokenizer.json puts before every text.
    prefix: Vec<String>,
}

#[derive(Serialize, Clone)]
struct ManifestDataset {
    model: String,
    name: String,
    source: String,
    sha256: String,
    verified: bool,
    questions: usize,
    calibration_questions: usize,
}

/// Runs an experiment, but for what an earlier run left in the same place. What is computed is on disk after every batch, rows
/// and samples after every data set, so that it stays whatever happens later.
pub fn run(experiment: &Experiment, options: &Options) -> Result<Outcome> {
    let Experiment { name, spec } = experiment;
    ensure_prepared(spec, options.data_dir.as_deref())?;
    let started = jiff::Zoned::now();
    let run = match &options.run {
        Some(run) => run.clone(),
        None => run_name(spec, options)?,
    };
    ensure!(!run.is_empty() && !run.contains(['/', '\\']), "run name {run:?} must be a plain folder name");
    let placement = Placement::open(&options.device, &options.dtype)?;
    // Before anything is computed; models are loaded one after another.
    spec.models.iter().try_for_each(|model| check_memory(model, &placement, options.batch_tokens))?;
    let store = Store::create(&options.out, name, &run, options.shard)?;
    store.json(&store.own("machine", "json"), &Machine::here())?;

    let clock = Instant::now();
    let mut spent = Spent::default();
    let mut notes = Vec::new();
    let (mut models, mut datasets) = (Vec::new(), Vec::new());
    let mut collected = Collected::default();
    let manifest = |spent: Option<Spent>, models: &[_], datasets: &[_], notes: &[_]| {
        let finished = spent.map(|_| jiff::Zoned::now().to_string());
        let manifest = Manifest {
            experiment: name,
            version: crate::VERSION,
            // Where the program lies says nothing about the run.
            command: ["splitbench".to_string()].into_iter().chain(std::env::args().skip(1)).collect(),
            started: started.to_string(),
            wall_seconds: spent.map(|_| clock.elapsed().as_secs_f64()),
            finished,
            spent,
            spec,
            options,
            models,
            datasets,
            notes,
        };
        store.json(&store.own("manifest", "json"), &manifest)
    };
    manifest(None, &models, &datasets, &notes)?;
    for model_name in &spec.models {
        let model = source::load(model_name, &placement)?;
        let layers = model.decoder.config().num_hidden_layers;
        let mut tasks = tasks(spec, model_name, layers, options.data_dir.as_deref())
            .with_context(|| format!("experiment {name}, model {model_name}"))?;
        models.push(ManifestModel {
            name: model.name.clone(),
            origin: model.origin.clone(),
            sha256: model.sha256.clone(),
            tokenizer_sha256: model.tokenizer_sha256.clone(),
            prefix: model.prefix.clone(),
        });
        let sequences = tasks.iter().map(Task::sequences).sum();
        let mut progress = Progress::new(options.shard.map_or(sequences, |shard| shard.part_of(sequences)));
        for task in &mut tasks {
            datasets.push(manifest_dataset(model_name, task));
            if let Some(note) = task.dataset.note() {
                progress.say(&format!("note: {note}"));
                notes.push(note);
            }
            progress.doing(&format!("{} {}", model.title, task.dataset.info.name));
            let mut journals = [store.journal(&model.name, &task.dataset.info.name)?];
            // What the rounds of a search before this one have done.
            let mut before = 0;
            let scored = loop {
                let mut known = before;
                let done = |count: u64| {
                    let again = count.min(known);
                    known -= again;
                    progress.add(count - again);
                };
                score_task(name, spec, options, &model, task, &mut journals[0], &mut spent, done)?;
                if options.shard.is_some() {
                    break Collected::default();
                }
                let scored = store.collect(&model.name, &task.dataset.info.name, &mut journals)?;
                let Some(precision) = options.search else { break scored };
                let more = refined(&task.cells, &scored.rows, spec.report.near_lossless_points, precision);
                if more.is_empty() {
                    break scored;
                }
                before = task.sequences();
                task.cells.extend(more);
                progress.expect(task.sequences() - before);
            };
            if options.shard.is_some() {
                continue;
            }
            for row in scored.rows.iter().filter(|r| r.err.is_some()) {
                let error = row.err.as_deref().unwrap_or_default();
                progress.say(&format!("failed: {} {} on {}: {error}", model.title, row.codec, row.dataset));
            }
            collected.extend(scored);
            store.rows(&collected.rows)?;
        }
        progress.finish();
        if options.shard.is_none() {
            observe(&store.results, spec, &model, &tasks, options.batch_tokens)?;
        }
    }
    manifest(Some(spent), &models, &datasets, &notes)?;
    let took = format!(
        "{:.1} s: client half {:.1}, codecs {:.1}, server half {:.1}, rest {:.1}",
        clock.elapsed().as_secs_f64(),
        spent.client_s,
        spent.codec_s,
        spent.server_s,
        clock.elapsed().as_secs_f64() - spent.client_s - spent.codec_s - spent.server_s
    );
    if let Some(shard) = options.shard {
        let text =
            format!("{took}\nshard {shard} is done; when all are: splitbench collect {}\n", store.results.display());
        return Ok(Outcome { text, files: Vec::new(), failed: 0, rows: Vec::new(), indicators: Vec::new() });
    }
    let mut outcome = finish(&store, &spec.report, collected)?;
    outcome.files.extend(["manifest.json", "machine.json"].map(|file| store.results.join(file)));
    outcome.text.push_str(&format!("\n{took}\n"));
    Ok(outcome)
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
        .collect()
}

/// Writes rows, times, tables and figures of what was collected.
pub(super) fn finish(store: &Store, report: &Report, collected: Collected) -> Result<Outcome> {
    let Collected { rows, timings, indicators } = collected;
    store.timings(&timings)?;
    if report.layers {
        store.indicators(&indicators)?;
    }
    let beside = report::Beside::of_run(&store.results, report)?;
    let mut files = report::write(&store.results, &store.plots, report, &rows, &beside)?;
    let measured = if report.layers { &["layers.jsonl"][..] } else { &[] };
    files.extend(measured.iter().chain(&["timings.csv", "samples"]).map(|f| store.results.join(f)));
    let text = report::terminal(report, &rows, &beside, 160)?;
    let failed = rows.iter().filter(|r| r.err.is_some()).count();
    if rows.iter().all(|r| r.err.is_some() || r.is_baseline()) {
        bail!("every cell failed; the reasons are in {}", store.results.join("rows.csv").display());
    }
    Ok(Outcome { text, files, failed, rows, indicators: beside.indicators })
}

#[expect(clippy::too_many_arguments)]
fn score_task(
    name: &str,
    spec: &Spec,
    options: &Options,
    model: &Model,
    task: &Task,
    journal: &mut Journal,
    spent: &mut Spent,
    done: impl FnMut(u64),
) -> Result<()> {
    let request = ScoreRequest {
        experiment: name,
        model,
        dataset: &task.dataset,
        train: &task.train,
        calibrations: Some(&options.out.join("results").join("calibrations")),
        cells: &task.cells,
        limit: spec.limit,
        shard: options.shard,
        batch_tokens: options.batch_tokens,
        probe: spec.report.layers.then(|| spec.budgets_for(task.dataset.info)[0]),
    };
    score(&request, journal, spent, done)
        .with_context(|| format!("model {}, data set {}", model.name, task.dataset.info.name))
}

fn manifest_dataset(model: &str, task: &Task) -> ManifestDataset {
    ManifestDataset {
        model: model.to_string(),
        name: task.dataset.info.name.clone(),
        source: task.dataset.source.clone(),
        sha256: task.dataset.sha256.clone(),
        verified: task.dataset.verified,
        questions: task.dataset.questions.len(),
        calibration_questions: task.train.len(),
    }
}

/// `<revision>-<settings>`: the same command of the same revision has the same name, so that it goes on where it ended.
fn run_name(spec: &Spec, options: &Options) -> Result<String> {
    let settings = serde_json::to_string(&(spec, options))?;
    let digest: String = Sha256::digest(settings).iter().take(3).map(|b| format!("{b:02x}")).collect();
    let revision = crate::VERSION.split('+').nth(1).unwrap_or(crate::VERSION);
    Ok(format!("{revision}-{digest}"))
}
