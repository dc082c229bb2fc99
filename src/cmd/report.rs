//! `splitbench report`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::experiment::spec::Spec;
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

#[derive(Deserialize)]
struct Manifest {
    spec: Spec,
}

impl Args {
    /// Reads rows, writes tables and plots.
    pub fn run(self) -> Result<()> {
        let plots = self.plots.unwrap_or_else(|| self.run.join("plots"));
        if report::simulation::is_in(&self.run) {
            let files = report::simulation::again(&self.run, &plots)?;
            say!("{}", report::simulation::terminal(&self.run, 160)?)?;
            return files.iter().try_for_each(|file| say!("wrote {}", file.display()));
        }
        let rows = report::read_rows(&self.run.join("rows.parquet"))?;
        let path = self.run.join("manifest.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}: is this the folder of a finished run?", path.display()))?;
        let manifest: Manifest = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let beside = report::Beside::of_run(&self.run, &manifest.spec.report)?;
        std::fs::create_dir_all(&plots).with_context(|| format!("making the folder {}", plots.display()))?;
        let files = report::write(&self.run, &plots, &manifest.spec.report, &rows, &beside)?;
        say!("{}", report::terminal(&manifest.spec.report, &rows, &beside, 160)?)?;
        for file in files {
            say!("wrote {}", file.display())?;
        }
        Ok(())
    }
}
