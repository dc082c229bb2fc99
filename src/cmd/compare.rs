//! `splitbench compare`.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::report::compare::{CellFilter, compare};
use crate::report::compare_text::{flips_text, text};

/// Compare two runs on the same questions: paired differences with 95 % intervals.
///
/// Questions are paired by data set, prompt and right choice, in whatever order; those without a partner are counted
/// and left out. To compare two versions of the program or two models, give their runs: cells that are alike are
/// paired. To compare two codecs, choose one cell of each with --a and --b; if one run has both, give it twice. Needs
/// the runs' samples. Examples:
///   splitbench compare results/table2/OLD results/table2/NEW
///   splitbench compare results/codecs/RUN results/codecs/RUN --a fc@8 --b topk@8
///   splitbench compare results/codecs/RUN results/codecs/RUN --a baseline --b int8 --flips
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Folder of run A: results/<experiment>/<run>.
    run_a: PathBuf,
    /// Folder of run B.
    run_b: PathBuf,
    /// Cell of A: CODEC or CODEC@RATIO, such as fc:band=centered@8; `baseline` for the unsplit model. All if not given.
    #[arg(long, value_name = "CELL")]
    a: Option<String>,
    /// Cell of B.
    #[arg(long, value_name = "CELL")]
    b: Option<String>,
    /// Only the cut after this layer, of both.
    #[arg(long, visible_alias = "split", value_name = "L")]
    layer: Option<u32>,
    /// Only this model of A, as it was given to the run.
    #[arg(long, value_name = "MODEL")]
    model_a: Option<String>,
    /// Only this model of B.
    #[arg(long, value_name = "MODEL")]
    model_b: Option<String>,
    /// Compare by acc_norm instead of acc.
    #[arg(long)]
    norm: bool,
    /// Show the questions that were lost or gained, with the margins of both sides.
    #[arg(long)]
    flips: bool,
    /// Print JSON, which has the flips too.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Reads samples and prints.
    pub fn run(self) -> Result<()> {
        let (a, b) = (wanted(self.a, self.model_a, self.layer)?, wanted(self.b, self.model_b, self.layer)?);
        let comparisons = compare(&self.run_a, &self.run_b, &a, &b, self.norm)?;
        match self.json {
            true => say!("{}", serde_json::to_string_pretty(&comparisons)?),
            false => {
                say!("{}", text(&comparisons, self.norm, 160))?;
                if self.flips { say!("{}", flips_text(&comparisons, self.norm, 160)) } else { Ok(()) }
            }
        }
    }
}

fn wanted(cell: Option<String>, model: Option<String>, layer: Option<u32>) -> Result<CellFilter> {
    let Some(cell) = cell else { return Ok(CellFilter { model, layer, ..CellFilter::default() }) };
    let (codec, ratio) = match cell.rsplit_once('@') {
        Some((codec, ratio)) => {
            let ratio = ratio.parse().with_context(|| format!("cell {cell:?}: {ratio:?} is not a ratio"))?;
            (codec.to_string(), Some(ratio))
        }
        None => (cell, None),
    };
    // The unsplit model has no cut.
    let layer = layer.filter(|_| codec != "baseline");
    Ok(CellFilter { model, codec: Some(codec), ratio, layer })
}
