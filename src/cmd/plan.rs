//! `splitbench plan`.

use anyhow::Result;

use super::selection::{Part, Selection};
use crate::experiment::plan::{Plan, plan};
use crate::model::Placement;

/// Show what a run would do and take, without doing it.
///
/// Example: splitbench plan table2 --data-dir DIR
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Plans.
    pub fn run(mut self) -> Result<()> {
        let experiment = self.selection.resolve()?;
        let Part { data_dir, batch_tokens, dtype, .. } = self.selection.part;
        let dtype = Placement::open("cpu", &dtype)?.dtype;
        let made = plan(&experiment, data_dir.as_deref(), dtype, batch_tokens)?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&made)?)?;
        } else {
            print(&made)?;
        }
        Ok(())
    }
}

fn print(plan: &Plan) -> Result<()> {
    say!(
        "{:<16} {:<20} {:>9} {:>9} {:>10} {:>8} {:>6} {:>10}",
        "model",
        "data set",
        "questions",
        "requests",
        "tokens",
        "longest",
        "cells",
        "GFLOP"
    )?;
    for line in &plan.lines {
        say!(
            "{:<16} {:<20} {:>9} {:>9} {:>10} {:>8} {:>6} {:>10.0}",
            line.model,
            line.dataset,
            line.questions,
            line.requests,
            line.tokens,
            line.longest,
            line.cells,
            line.flops / 1e9
        )?;
    }
    let cells: usize = plan.lines.iter().map(|l| l.cells).sum();
    say!("{cells} cells and {} baselines, {:.0} GFLOP", plan.lines.len(), plan.flops / 1e9)?;
    say!(
        "at {:.0} GFLOP/s (matrix products of this shape, measured now) at least {:.0} s; codecs come on top",
        plan.flops_per_second / 1e9,
        plan.seconds
    )?;
    say!("memory: about {:.1} GB", plan.memory_bytes / 1e9)?;
    Ok(())
}
