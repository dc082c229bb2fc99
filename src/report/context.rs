//! What tables and figures show beside rows: the other records of a run.

use std::path::Path;

use anyhow::Result;

use super::HeatMap;
use crate::experiment::ReportSpec;
use crate::record::table_file::{self, TableLine};
use crate::record::{Energy, Heat, Indicators, Service, Similarity, TimingTable, json_lines};

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
            service: lines(results, report.response.is_some())?,
            similarity: lines(results, report.activations)?,
            energy: lines(results, report.activations)?,
            maps: lines::<Heat>(results, report.activations)?
                .into_iter()
                .map(|line| Ok(HeatMap { matrix: line.matrix(results)?, line }))
                .collect::<Result<_>>()?,
        })
    }
}

fn lines<T: TableLine>(results: &Path, wanted: bool) -> Result<Vec<T>> {
    if wanted { table_file::read_optional(results) } else { Ok(Vec::new()) }
}

fn indicators(results: &Path, report: &ReportSpec) -> Result<Vec<Indicators>> {
    let path = results.join("layers.jsonl");
    if report.layers && path.exists() { json_lines::read(&path, "the indicators of a cell") } else { Ok(Vec::new()) }
}
