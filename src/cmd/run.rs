//! `splitbench run`.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::selection::{Selection, SelectionPart};
use crate::experiment::{self, RunOptions, RunOutcome};
use crate::progress;
use crate::record::Shard;
use crate::report::{self, ReportContext, ReportFiles};

/// Run an experiment: ends in rows, tables and plots.
///
/// Writes results/<experiment>/<run>/ and plots/<experiment>/<run>/. What is computed is kept there batch by batch: the same
/// command again, after whatever ended it, does only what is missing. With --shard it does a share of the questions, and
/// `splitbench collect` makes the tables when all shares are done. Examples:
///   splitbench run smoke
///   splitbench run table2 --data-dir DIR --limit 50
///   splitbench run table2 --data-dir DIR --run cluster --shard 1/4
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    place: RunPlace,
    /// Score only this share of the questions, i/n; all shares take about the same time.
    #[arg(long, value_name = "I/N", requires = "run", conflicts_with = "json")]
    shard: Option<Shard>,
    /// Print the rows as JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// Where a run happens and what it is called.
#[derive(clap::Args)]
pub(super) struct RunPlace {
    /// Where results/ and plots/ go.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Name of the run's folder; revision and a hash of the settings if not given.
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// Where the decoder runs: cpu, cuda or cuda:N (the latter in a build with --features cuda-model).
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
}

impl RunPlace {
    /// Options of a run here.
    pub fn options(self, part: SelectionPart) -> RunOptions {
        RunOptions {
            data_dir: part.data_dir,
            out: self.out,
            run: self.run,
            shard: None,
            search: None,
            batch_tokens: part.batch_tokens,
            device: self.device,
            dtype: part.dtype,
            skip_long: part.skip_long,
        }
    }
}

impl Args {
    /// Runs.
    pub fn run(mut self) -> Result<()> {
        let experiment = self.selection.resolve()?;
        let options = RunOptions { shard: self.shard, ..self.place.options(self.selection.part) };
        conclude(experiment::run(&experiment, &options)?, self.json)
    }
}

/// Ends a run: prints its tables, or its rows as JSON. Fails as [`check`] does.
pub(super) fn conclude(outcome: RunOutcome, json: bool) -> Result<()> {
    let published = publish(&outcome)?;
    match json {
        true => say!("{}", serde_json::to_string_pretty(&outcome.rows)?)?,
        false => show(&outcome, &published)?,
    }
    check(outcome, published)
}

/// Makes tables and figures of the records of a run; of one that came to an end before its time the tables alone, and of a shard
/// nothing.
pub(super) fn publish(outcome: &RunOutcome) -> Result<ReportFiles> {
    let RunOutcome { report: spec, rows, folder, .. } = outcome;
    let _activity = progress::begin("tables and figures");
    match folder {
        Some(folder) => report::publish(&folder.results, &folder.plots, spec, rows),
        None if rows.is_empty() => Ok(ReportFiles { text: String::new(), files: Vec::new(), failure: None }),
        None => {
            let context = ReportContext { partial: true, ..ReportContext::default() };
            let text = report::terminal(spec, rows, &context, report::WIDTH)?;
            Ok(ReportFiles { text, files: Vec::new(), failure: None })
        }
    }
}

/// Prints the tables, and the files where they are.
pub(super) fn show(outcome: &RunOutcome, published: &ReportFiles) -> Result<()> {
    say!("{}{}", published.text, outcome.summary)?;
    let mut files = outcome.files.iter().chain(&published.files);
    files.try_for_each(|file| say!("wrote {}", file.display()))
}

/// Fails where a cell did, or not all could be computed or written.
pub(super) fn check(outcome: RunOutcome, published: ReportFiles) -> Result<()> {
    outcome.cut_short.or(published.failure).map_or(Ok(()), Err)?;
    ensure!(outcome.failed == 0, "{} cells failed; their rows say why (column err)", outcome.failed);
    Ok(())
}
