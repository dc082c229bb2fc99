//! `splitbench report`.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::experiment::Known;
use crate::report;

/// Rebuild tables and plots of a run from its rows.
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

impl Args {
    /// Reads rows, writes tables and plots.
    pub fn run(self) -> Result<()> {
        let Known { spec, .. } = Known::of_run(&self.run)?;
        let rows = report::read_rows(&self.run.join("rows.parquet"))
            .with_context(|| format!("{}: give `run` again, or `collect` where it is of shards", self.run.display()))?;
        let beside = report::Beside::of_run(&self.run, &spec.report)?;
        let plots = self.plots.unwrap_or_else(|| self.run.join("plots"));
        std::fs::create_dir_all(&plots).with_context(|| format!("making the folder {}", plots.display()))?;
        let files = report::write(&self.run, &plots, &spec.report, &rows, &beside)?;
        say!("{}", report::terminal(&spec.report, &rows, &beside, 160)?)?;
        for file in files {
            say!("wrote {}", file.display())?;
        }
        Ok(())
    }
}
