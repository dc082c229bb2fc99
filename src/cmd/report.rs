//! `splitbench report`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::experiment::spec;
use crate::experiment::{Known, Row};
use crate::replay;
use crate::report::{self, Report};

/// Rebuild tables and plots of a run, or tables of a replay, from its rows.
///
/// Example: splitbench report results/table2/RUN
#[derive(clap::Args)]
pub struct Args {
    /// Folder of a run: results/<experiment>/<run>.
    run: PathBuf,
    /// Folder for the plots; `plots` in the run's folder if not given.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

/// What a run is to be made into, and whether it has come to its end. One without a manifest has not; if its experiment is known by
/// name, that says what to make.
fn wanted(run: &Path, rows: &[Row]) -> Result<(Report, bool)> {
    if let Some(known) = Known::of_run(run)? {
        return Ok((known.spec.report, known.finished.is_none()));
    }
    let experiment = rows.first().map(|row| row.experiment.as_str()).unwrap_or_default();
    let spec = spec::find(experiment).with_context(|| {
        format!("{} has no manifest.json, as the run has not finished: run its experiment to the end", run.display())
    })?;
    Ok((spec.spec.report, true))
}

#[derive(Deserialize)]
struct Replayed {
    spec: replay::spec::Spec,
}

impl Args {
    /// Reads rows, writes tables and plots.
    pub fn run(self) -> Result<()> {
        if self.run.join("replay.jsonl").is_file() {
            return self.replay();
        }
        let plots = self.plots.unwrap_or_else(|| self.run.join("plots"));
        if report::simulation::is_in(&self.run) {
            let files = report::simulation::again(&self.run, &plots)?;
            say!("{}", report::simulation::terminal(&self.run, 160)?)?;
            return files.iter().try_for_each(|file| say!("wrote {}", file.display()));
        }
        let rows = report::read_rows(&self.run.join("rows.parquet")).with_context(|| {
            format!(
                "{} has no rows yet: `splitbench run EXPERIMENT` makes them, or `collect` where it is of shards",
                self.run.display()
            )
        })?;
        let (report, partial) = wanted(&self.run, &rows)?;
        let beside = report::Beside { partial, ..report::Beside::of_run(&self.run, &report)? };
        std::fs::create_dir_all(&plots).with_context(|| format!("making the folder {}", plots.display()))?;
        let files = report::write(&self.run, &plots, &report, &rows, &beside)?;
        say!("{}", report::terminal(&report, &rows, &beside, 160)?)?;
        for file in files {
            say!("wrote {}", file.display())?;
        }
        Ok(())
    }

    /// Tables of a replay.
    fn replay(&self) -> Result<()> {
        let rows = replay::row::read(&self.run.join("replay.jsonl"))?;
        let path = self.run.join("manifest.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let manifest: Replayed = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let (text, files) = report::table4::write(&self.run, &rows, manifest.spec.table4)?;
        say!("{text}")?;
        files.iter().try_for_each(|file| say!("wrote {}", file.display()))
    }
}
