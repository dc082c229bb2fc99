//! `splitbench report`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::experiment::spec::Spec;
use crate::{replay, report};

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

#[derive(Deserialize)]
struct Manifest {
    spec: Spec,
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
        let rows = report::read_rows(&self.run.join("rows.parquet"))?;
        let path = self.run.join("manifest.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}: is this the folder of a finished run?", path.display()))?;
        let manifest: Manifest = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let beside = report::Beside::of_run(&self.run, &manifest.spec.report)?;
        let plots = self.plots.unwrap_or_else(|| self.run.join("plots"));
        std::fs::create_dir_all(&plots).with_context(|| format!("making the folder {}", plots.display()))?;
        let files = report::write(&self.run, &plots, &manifest.spec.report, &rows, &beside)?;
        say!("{}", report::terminal(&manifest.spec.report, &rows, &beside, 160)?)?;
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
