//! A run as a page shows it: what it left, and who made it, where and how.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use super::super::ReportContext;
use super::super::simulation;
use crate::experiment::ReportSpec;
use crate::experiment::{RecordedRun, spec};
use crate::record::Row;
use crate::record::machine::Machine;
use crate::record::manifest::Manifest;
use crate::record::read_rows;
use crate::record::replay::{self, ReplayRow};
use crate::simulate::Swept;

/// A run and all that is in its folder.
#[derive(Debug)]
pub(super) struct Source {
    /// `table2/pocket`, as under `results/`.
    pub name: String,
    /// The models of all runs on its page.
    pub models: Vec<String>,
    /// Its experiment.
    pub experiment: String,
    /// Whether it has not come to its end.
    pub partial: bool,
    /// Where its figures lie as files, if they do.
    pub plots: Option<PathBuf>,
    pub manifest: Manifest,
    pub machine: Machine,
    pub kind: Kind,
}

/// What kinds of runs there are.
#[derive(Debug)]
pub(super) enum Kind {
    /// Cells of an experiment.
    Rows { report: ReportSpec, rows: Vec<Row>, beside: ReportContext },
    /// A replay of a trace; `table4` where it is one of Table IV.
    Replay { rows: Vec<ReplayRow>, table4: bool },
    /// A simulation of many clients, and what stands under its figures.
    Simulated { swept: Swept, about: String },
}

/// What the rows of a run are to be made into, and whether it has come to its end. One without a manifest has not; if its experiment
/// is known by name, that says what to make.
pub fn wanted(run: &Path, rows: &[Row]) -> Result<(ReportSpec, bool)> {
    if let Some(known) = RecordedRun::find(run)? {
        return Ok((known.spec.report, known.finished.is_none()));
    }
    let experiment = rows.first().map(|row| row.experiment.as_str()).unwrap_or_default();
    let spec = spec::find(experiment).with_context(|| {
        format!("{} has no manifest.json, as the run has not finished: run its experiment to the end", run.display())
    })?;
    Ok((spec.spec.report, true))
}

/// Rows of a run.
pub fn rows(run: &Path) -> Result<Vec<Row>> {
    read_rows(&run.join("rows.parquet")).with_context(|| {
        format!(
            "{} has no rows yet: `splitbench run EXPERIMENT` makes them, or `collect` where it is of shards",
            run.display()
        )
    })
}

impl Source {
    /// Reads a run's folder; its figures lie in `plots`, or where `run` and `report` put them.
    pub fn read(folder: &Path, plots: Option<&Path>) -> Result<Self> {
        let whole = fs::canonicalize(folder).with_context(|| format!("there is no run {}", folder.display()))?;
        let part = |path: Option<&Path>| {
            path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let (experiment, run) = (part(whole.parent()), part(Some(&whole)));
        let beside = whole.ancestors().nth(3).map(|out| out.join("plots").join(&experiment).join(&run));
        let places = [plots.map(Path::to_path_buf), Some(whole.join("plots")), beside];
        let plots = places.into_iter().flatten().find(|place| place.is_dir());
        let (manifest, partial, kind) = if whole.join("replay.jsonl").is_file() {
            let rows = replay::read(&whole.join("replay.jsonl"))?;
            let made: Manifest = described(&whole, "manifest")?;
            let partial = made.finished.is_none();
            let table4 = made.spec["table4"] == true;
            (made, partial, Kind::Replay { rows, table4 })
        } else if simulation::is_in(&whole) {
            let (swept, about) = simulation::read(&whole)?;
            let made: Manifest = described(&whole, "simulate")?;
            // Written last.
            let partial = made.version.is_empty();
            (made, partial, Kind::Simulated { swept, about })
        } else {
            let rows = rows(&whole).with_context(|| format!("reading the run {}", folder.display()))?;
            let (report, partial) = wanted(&whole, &rows)?;
            let beside = ReportContext { partial, ..ReportContext::read(&whole, &report)? };
            (described(&whole, "manifest")?, partial, Kind::Rows { report, rows, beside })
        };
        let machine = described(&whole, "machine")?;
        Ok(Self {
            name: format!("{experiment}/{run}"),
            models: Vec::new(),
            experiment,
            partial,
            plots,
            manifest,
            machine,
            kind,
        })
    }
}

/// `name.json`, or that of a shard; nothing where there is none.
fn described<T: DeserializeOwned + Default>(folder: &Path, name: &str) -> Result<T> {
    let files = fs::read_dir(folder).with_context(|| format!("reading the folder {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    paths.sort();
    let is_it = |path: &&PathBuf| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".json"))
    };
    let Some(path) = paths.iter().find(is_it) else { return Ok(T::default()) };
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a file of this version", path.display()))
}
