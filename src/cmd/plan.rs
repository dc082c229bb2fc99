//! `splitbench plan`.

use anyhow::Result;

use super::selection::{Selection, SelectionPart};
use crate::experiment::plan::{Plan, plan};
use crate::model::Placement;
use crate::record::manifest::PredictedSeconds;

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
        let SelectionPart { data_dir, batch_tokens, dtype, skip_long, .. } = self.selection.part;
        let dtype = Placement::open("cpu", &dtype)?.dtype;
        let plan = plan(&experiment, data_dir.as_deref(), dtype, batch_tokens, skip_long)?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&plan)?)?;
        } else {
            print(&plan)?;
        }
        Ok(())
    }
}

fn print(plan: &Plan) -> Result<()> {
    say!(
        "{:<16} {:<20} {:>9} {:>9} {:>10} {:>8} {:>6} {:>10} {:>10}",
        "model",
        "data set",
        "questions",
        "requests",
        "tokens",
        "longest",
        "cells",
        "GFLOP",
        "seconds"
    )?;
    for line in &plan.lines {
        say!(
            "{:<16} {:<20} {:>9} {:>9} {:>10} {:>8} {:>6} {:>10.0} {:>10.1}",
            line.model,
            line.dataset,
            line.questions,
            line.requests,
            line.tokens,
            line.longest,
            line.cells,
            line.flops / 1e9,
            line.predicted.seconds()
        )?;
    }
    let cells: usize = plan.lines.iter().map(|l| l.cells).sum();
    say!("{cells} cells and {} baselines, {:.0} GFLOP", plan.lines.len(), plan.flops / 1e9)?;
    let sum = |part: fn(&PredictedSeconds) -> f64| plan.lines.iter().map(|line| part(&line.predicted)).sum::<f64>();
    say!(
        "about {:.0} s: client half {:.1}, codecs {:.1}, server half {:.1}; reading models, calibration and tables come on top",
        plan.seconds,
        sum(|p| p.client_s),
        sum(|p| p.codec_s),
        sum(|p| p.server_s)
    )?;
    say!("measured now: {:.0} GFLOP/s in a layer of this shape, and every codec", plan.flops_per_second / 1e9)?;
    say!("memory: about {:.1} GB", plan.memory_bytes / 1e9)?;
    Ok(())
}
