//! What tables and figures show beside rows: the other records of a run.

use std::path::Path;

use anyhow::Result;
use serde::de::DeserializeOwned;

use super::HeatMap;
use crate::experiment::ReportSpec;
use crate::record::{Energy, Heat, Indicators, Service, Similarity, TimingTable, json_lines, table_file};
use splitbench_codec::npy;

/// Numbers that tables show and rows do not have.
#[derive(Debug, Default)]
pub struct ReportContext {
    /// Whether the run has not come to its end: then everything says that it is of a part.
    pub partial: bool,
    /// Codec times.
    pub times: TimingTable,
    /// Indicators of the split layers.
    pub indicators: Vec<Indicators>,
    /// What single requests take.
    pub service: Vec<Service>,
    /// How alike inputs are.
    pub similarity: Vec<Similarity>,
    /// Energy inside FC's block.
    pub energy: Vec<Energy>,
    /// Activations to look at.
    pub maps: Vec<HeatMap>,
}

impl ReportContext {
    /// Reads what a run's folder has beside its rows; nothing of what is not there, or of what no table and figure wants.
    pub fn read(results: &Path, report: &ReportSpec) -> Result<Self> {
        Ok(Self {
            partial: false,
            times: if report.codecs { TimingTable::read(results)? } else { TimingTable::default() },
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
fn map(results: &Path, line: Heat) -> Result<HeatMap> {
    let path = results.join(&line.file);
    let matrix = if line.err.is_none() && path.is_file() { Some(npy::read(&path)?) } else { None };
    Ok(HeatMap { line, matrix })
}

fn indicators(results: &Path, report: &ReportSpec) -> Result<Vec<Indicators>> {
    let path = results.join("layers.jsonl");
    if report.layers && path.exists() { json_lines::read(&path, "the indicators of a cell") } else { Ok(Vec::new()) }
}
