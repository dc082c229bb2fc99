//! What a run measured beside its rows.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Report, Times};
use crate::experiment::Indicators;

/// Numbers that tables show and rows do not have.
#[derive(Debug, Default)]
pub struct Beside {
    /// Codec times.
    pub times: Times,
    /// Indicators of the split layers.
    pub indicators: Vec<Indicators>,
}

impl Beside {
    /// Reads `timings.csv` and `layers.jsonl` of a run's folder; nothing where there is none, or where no table wants it.
    pub fn of_run(results: &Path, report: &Report) -> Result<Self> {
        Ok(Self { times: Times::of_run(results, report)?, indicators: indicators(results, report)? })
    }
}

fn indicators(results: &Path, report: &Report) -> Result<Vec<Indicators>> {
    let path = results.join("layers.jsonl");
    if !report.layers || !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let line = |(nth, line): (usize, &str)| {
        serde_json::from_str(line)
            .with_context(|| format!("{} line {}: not the indicators of a cell", path.display(), nth + 1))
    };
    text.lines().enumerate().map(line).collect()
}
