//! A run as a page shows it: what it left, and who made it, where and how.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::super::ReportContext;
use crate::experiment::ReportSpec;
use crate::experiment::{RecordedRun, spec};
use crate::record::machine::Machine;
use crate::record::manifest::Manifest;
use crate::record::replay::{self, ReplayRow};
use crate::record::{Row, SweepRecord, find_json, read_rows};

/// A run and all that is in its folder.
#[derive(Debug)]
pub(super) struct RunSource {
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
    pub kind: RunKind,
}

/// What kinds of runs there are.
#[derive(Debug)]
pub(super) enum RunKind {
    /// Cells of an experiment.
    Rows { report: ReportSpec, rows: Vec<Row>, context: ReportContext },
    /// A replay of a trace; `table4` where it is one of Table IV.
    Replay { rows: Vec<ReplayRow>, table4: bool },
    /// A simulation of many clients.
    Simulated(SweepRecord),
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
    let path = run.join("rows.parquet");
    ensure!(
        path.is_file(),
        "{} has no rows yet: `splitbench run EXPERIMENT` makes them, or `collect` where it is of shards",
        run.display()
    );
    read_rows(&path)
}

impl RunSource {
    /// Questions of its largest row.
    pub fn questions(&self) -> u64 {
        match &self.kind {
            RunKind::Rows { rows, .. } => rows.iter().map(|row| row.questions).max().unwrap_or_default(),
            RunKind::Replay { .. } | RunKind::Simulated(_) => 0,
        }
    }

    /// Reads a run's folder; its figures lie in `plots`, or where `run` and `report` put them.
    pub fn read(folder: &Path, plots: Option<&Path>) -> Result<Self> {
        let whole = fs::canonicalize(folder).with_context(|| format!("there is no run {}", folder.display()))?;
        let part = |path: Option<&Path>| {
            path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let (experiment, run) = (part(whole.parent()), part(Some(&whole)));
        let usual = whole.ancestors().nth(3).map(|out| out.join("plots").join(&experiment).join(&run));
        let places = [plots.map(Path::to_path_buf), Some(whole.join("plots")), usual];
        let plots = places.into_iter().flatten().find(|place| place.is_dir());
        let (manifest, partial, kind) = if whole.join("replay.jsonl").is_file() {
            let rows = replay::read(&whole)?;
            let manifest: Manifest = find_json(&whole, "manifest")?.unwrap_or_default();
            let partial = manifest.finished.is_none();
            let table4 = manifest.spec["table4"] == true;
            (manifest, partial, RunKind::Replay { rows, table4 })
        } else if SweepRecord::is_in(&whole) {
            let swept = SweepRecord::read(&whole)?;
            let manifest: Manifest = find_json(&whole, "simulate")?.unwrap_or_default();
            // Written last.
            let partial = manifest.version.is_empty();
            (manifest, partial, RunKind::Simulated(swept))
        } else {
            let rows = rows(&whole).with_context(|| format!("reading the run {}", folder.display()))?;
            let (report, partial) = wanted(&whole, &rows)?;
            let context = ReportContext { partial, ..ReportContext::read(&whole, &report)? };
            (find_json(&whole, "manifest")?.unwrap_or_default(), partial, RunKind::Rows { report, rows, context })
        };
        let machine = find_json(&whole, "machine")?.unwrap_or_default();
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
