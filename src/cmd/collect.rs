//! `splitbench collect`.

use std::path::PathBuf;

use anyhow::Result;

use super::run::conclude;
use crate::experiment::merge;

/// Merge the shards of a run: ends in rows, tables and plots.
///
/// Takes the folders that `run --shard` wrote (a single one where all machines write to the same place) and writes into
/// the first of them what a run of all questions would have written. Examples:
///   splitbench collect results/table2/cluster
///   splitbench collect results/table2/cluster other-machine/results/table2/cluster
///   splitbench collect results/table2/stopped --datasets piqa,arc_easy
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Folders of runs, results/<experiment>/<run>.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Collect these data sets only, separated by commas; the others are left out, finished or not.
    #[arg(long, visible_alias = "dataset", value_name = "NAME", value_delimiter = ',')]
    datasets: Vec<String>,
    /// Print the rows as JSON instead of tables.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Merges.
    pub fn run(self) -> Result<()> {
        conclude(merge(&self.runs, &self.datasets)?, self.json)
    }
}
