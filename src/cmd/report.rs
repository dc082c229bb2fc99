//! `splitbench report`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::output::{self, Output};
use crate::record::manifest::Manifest;
use crate::record::{SweepRecord, read_json, replay};
use crate::repeats::real_path;
use crate::report::pooled::{PooledRun, pool};
use crate::report::{self, page};
use splitbench_codec::suggest;

/// Rebuild tables, plots and the page of a run from its rows, or one page of several runs, or the tables and plots of their rows together.
///
/// The page is index.html, which needs nothing else, and the same as README.md: claims of the paper against the run, tables, figures.
/// Examples:
///   splitbench report results/table2/RUN
///   splitbench report results/table2/RUN results/figure6/RUN --page results/report/RUN
///   splitbench report results/codecs/RUN results/wire/RUN --out results/together/RUN
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Folders of runs, replays and simulations: results/<experiment>/<run>.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Write only one page of all runs, into this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "plots")]
    page: Option<PathBuf>,
    /// Write rows.csv, tables and plots of all runs' rows into this folder as if they were one run, each row once. Runs
    /// of one model and data set must be of the same questions; runs of several models stand side by side.
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    out: Option<PathBuf>,
    /// With --out: these data sets only, separated by commas.
    #[arg(long, visible_alias = "dataset", value_name = "NAME", value_delimiter = ',', requires = "out")]
    datasets: Vec<String>,
    /// Folder for the plots; `plots` in the run's folder, or in that of --out, if not given.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

impl Args {
    /// Reads rows, writes tables, plots and pages.
    pub fn run(self) -> Result<()> {
        if let Some(folder) = &self.page {
            let read: Vec<PathBuf> = self.runs.iter().map(|run| measured(run)).collect::<Result<Vec<_>>>()?.concat();
            output::check(&read, &[Output::files_in("--page", folder, page::is_page)])?;
            let files = page::write(&self.runs, folder, None)?;
            return files.iter().try_for_each(|file| say!("wrote {}", file.display()));
        }
        if let Some(folder) = &self.out {
            let plots = self.plots.clone().unwrap_or_else(|| folder.join("plots"));
            let files = together(&self.runs, &self.datasets, folder, &plots)?;
            return files.iter().try_for_each(|file| say!("wrote {}", file.display()));
        }
        ensure!(
            self.plots.is_none() || self.runs.len() == 1,
            "--plots is the folder of one run's plots: name one run, or leave it out"
        );
        for run in &self.runs {
            let plots = self.plots.clone().unwrap_or_else(|| run.join("plots"));
            let tables = Output::files_in("the run", run, |path| !is_measured(path));
            let figures =
                Output::files_in("--plots", &plots, |path| path.extension().is_some_and(|kind| kind == "svg"));
            output::check(&measured(run)?, &[tables, figures])?;
            let mut files = again(run, &plots)?;
            files.extend(page::write(std::slice::from_ref(run), run, Some(&plots))?);
            files.iter().try_for_each(|file| say!("wrote {}", file.display()))?;
        }
        Ok(())
    }
}

/// Files of a run that are read and never made again.
fn measured(run: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(run).with_context(|| format!("there is no run {}", run.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.is_file() && is_measured(path));
    Ok(paths)
}

/// Whether a file of a run's folder was measured or described, not made of other files there.
fn is_measured(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    let tables = ["timings", "service", "similarity", "energy", "heat", "simulation", "saturation"];
    matches!(kind, "parquet" | "json" | "jsonl" | "txt" | "npy" | "journal")
        || name.strip_suffix(".csv").is_some_and(|stem| tables.contains(&stem))
}

/// Tables and plots of one run.
fn again(run: &Path, plots: &Path) -> Result<Vec<PathBuf>> {
    if run.join("replay.jsonl").is_file() {
        return replayed(run);
    }
    if SweepRecord::is_in(run) {
        let swept = SweepRecord::read(run)?;
        say!("{}", report::simulation::terminal(&swept, 160))?;
        return report::simulation::write(run, plots, &swept);
    }
    let rows = page::rows(run)?;
    let (report, partial) = page::wanted(run, &rows)?;
    let context = report::ReportContext { partial, ..report::ReportContext::read(run, &report)? };
    std::fs::create_dir_all(plots).with_context(|| format!("making the folder {}", plots.display()))?;
    say!("{}", report::terminal(&report, &rows, &context, 160)?)?;
    report::write(run, plots, &report, &rows, &context)
}

/// Tables and plots of the rows of several runs, of some data sets where these are named.
fn together(runs: &[PathBuf], datasets: &[String], out: &Path, plots: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    let mut read = Vec::new();
    for run in runs {
        let folder = real_path(run);
        ensure!(!folders.contains(&folder), "{} is there twice: name each run once", run.display());
        ensure!(folder != real_path(out), "--out {}: this is one of the runs; give a folder of its own", out.display());
        folders.push(folder);
        read.extend(measured(run)?);
    }
    let svg = |path: &Path| path.extension().is_some_and(|kind| kind == "svg");
    let tables = Output::files_in("--out", out, |path| !is_measured(path));
    output::check(&read, &[tables, Output::files_in("--plots", plots, svg)])?;
    let one = |run: &PathBuf| {
        let rows = page::rows(run)?;
        let (report, partial) = page::wanted(run, &rows)?;
        let context = report::ReportContext { partial, ..report::ReportContext::read(run, &report)? };
        Ok(PooledRun { name: run.display().to_string(), report, rows, context })
    };
    let PooledRun { report, mut rows, mut context, .. } = pool(runs.iter().map(one).collect::<Result<_>>()?)?;
    if !datasets.is_empty() {
        let known: BTreeSet<&str> = rows.iter().map(|row| row.dataset.as_str()).collect();
        if let Some(unknown) = datasets.iter().find(|name| !known.contains(name.as_str())) {
            return Err(suggest::unknown("data set of these runs", unknown, known));
        }
        rows.retain(|row| datasets.contains(&row.dataset));
        // The others may be what has not finished: cells that these lack are counted.
        context.partial = false;
    }
    say!("{}", report::terminal(&report, &rows, &context, 160)?)?;
    report::write(out, plots, &report, &rows, &context)
}

/// Tables of a replay.
fn replayed(run: &Path) -> Result<Vec<PathBuf>> {
    let rows = replay::read(run)?;
    let manifest: Manifest = read_json(&run.join("manifest.json"))?;
    let is_table4 = manifest.spec["table4"] == true;
    say!("{}", report::table4::terminal(&rows, is_table4))?;
    report::table4::write(run, &rows, is_table4)
}
