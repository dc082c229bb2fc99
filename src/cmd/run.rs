//! `splitbench run`.

use std::path::PathBuf;

use anyhow::Result;

use super::selection::Selection;
use crate::experiment::{self, Options};

/// Run an experiment: ends in rows, tables and plots.
///
/// Writes results/<experiment>/<run>/ and plots/<experiment>/<run>/. Examples:
///   splitbench run smoke
///   splitbench run table2 --data-dir DIR --limit 50
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Where results/ and plots/ go.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Name of the run's folder; date, revision and a hash of the settings if not given.
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// Where the decoder runs: cpu, cuda or cuda:N (the latter in a build with --features cuda-model).
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Print the rows as JSON instead of tables.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs.
    pub fn run(self) -> Result<()> {
        let experiment = self.selection.resolve()?;
        let options = Options {
            data_dir: self.selection.data_dir,
            out: self.out,
            run: self.run,
            batch_tokens: self.selection.batch_tokens,
            device: self.device,
            dtype: self.selection.dtype,
        };
        let outcome = experiment::run(&experiment, &options)?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&outcome.rows)?)?;
        } else {
            say!("{}", outcome.text)?;
            for file in &outcome.files {
                say!("wrote {}", file.display())?;
            }
        }
        anyhow::ensure!(outcome.failed == 0, "{} cells failed; their rows say why (column err)", outcome.failed);
        Ok(())
    }
}
