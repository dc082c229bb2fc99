//! What a run measured beside its rows.

use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use super::{Map, Report, Times};
use crate::experiment::{Energy, Heat, Indicators, Service, Similarity};
use crate::table_file;
use splitbench_codec::npy;

/// Numbers that tables show and rows do not have.
#[derive(Debug, Default)]
pub struct Beside {
    /// Whether the run has not come to its end: then everything says that it is of a part.
    pub partial: bool,
    /// Codec times.
    pub times: Times,
    /// Indicators of the split layers.
    pub indicators: Vec<Indicators>,
    /// What single requests take.
    pub service: Vec<Service>,
    /// How alike inputs are.
    pub similarity: Vec<Similarity>,
    /// Energy inside FC's block.
    pub energy: Vec<Energy>,
    /// Activations to look at.
    pub maps: Vec<Map>,
}

impl Beside {
    /// Reads what a run's folder has beside its rows; nothing of what is not there, or of what no table and figure wants.
    pub fn of_run(results: &Path, report: &Report) -> Result<Self> {
        Ok(Self {
            partial: false,
            times: Times::of_run(results, report)?,
            indicators: indicators(results, report)?,
            service: lines(results, "service.csv", report.response.is_some())?,
            similarity: lines(results, "similarity.csv", report.activations)?,
            energy: lines(results, "energy.csv", report.activations)?,
            maps: lines(results, "heat.csv", report.activations)?
                .into_iter()
                .map(|line| map(results, line))
                .collect::<Result<_>>()?,
        })
    }
}

fn lines<T: DeserializeOwned>(results: &Path, file: &str, wanted: bool) -> Result<Vec<T>> {
    let path = results.join(file);
    if wanted && path.exists() { table_file::read(&path) } else { Ok(Vec::new()) }
}

/// A matrix that is not there is left out, as that of a codec that failed; one that cannot be read is an error.
fn map(results: &Path, line: Heat) -> Result<Map> {
    let path = results.join(&line.file);
    let matrix = if line.err.is_none() && path.is_file() { Some(npy::read(&path)?) } else { None };
    Ok(Map { line, matrix })
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
