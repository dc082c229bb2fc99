//! One line of results: a method on a device at one hidden size.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::backend::Provenance;
use super::sample::Estimate;

/// A row of `replay.jsonl`, complete: reading it tells all that is needed to make it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the experiment or trace.
    pub experiment: String,
    /// The trace.
    pub trace: String,
    /// SHA-256 of the trace file.
    pub trace_sha256: String,
    /// Channels, D.
    pub hidden: usize,
    /// Ratio asked for, in elements: a number, or `paper` for each data set's own.
    pub ratio: String,
    /// `cpu`, `cuda`, `fpga`, or `model`.
    pub backend: String,
    /// Device, as it names itself.
    pub device: String,
    /// How the times came about.
    pub provenance: Provenance,
    /// Clock, MHz.
    pub clock_mhz: Option<f64>,
    /// Libraries that did the work, or what the model was told.
    pub libraries: String,
    /// The method: a codec, or `fc-kernel`.
    pub method: String,
    /// Which of several implementations, and what its times contain.
    pub variant: String,
    /// Threads at work.
    pub threads: Option<usize>,
    /// `recorded` or `seeded`; empty for a modelled row.
    pub activations: String,
    /// What a calibrated method was calibrated on.
    pub calibration: Option<String>,
    /// Sequences of the trace.
    pub sequences: usize,
    /// Sequences that were run.
    pub run: usize,
    /// Seed of the sample and of seeded numbers.
    pub seed: u64,
    /// Seconds to make the method ready, plans apart.
    pub setup_s: Option<f64>,
    /// Median over the sequences run of the first call of both directions, plan creation included, seconds.
    pub first_s: Option<f64>,
    /// Compression of all sequences.
    pub encode: Option<Times>,
    /// Decompression.
    pub decode: Option<Times>,
    /// Both, summed sequence by sequence.
    pub both: Option<Times>,
    /// Largest relative difference, Frobenius, of what comes back from the method in f64 arithmetic with numbers sent as they
    /// are, over `checked` sequences; none for methods that are not computed a second time.
    pub error_f64: Option<f64>,
    /// Sequences that `error_f64` is over, by their tokens.
    pub checked: Vec<usize>,
    /// Wall time over processor time while one thread was timed: 1 on an idle machine.
    pub wall_over_cpu: Option<f64>,
    /// Mean number of processes that ran or waited over the minute before the row was made.
    pub load: Option<f64>,
    /// What else there is to know.
    pub note: Option<String>,
    /// When it was made.
    pub date: String,
    /// Version and git revision of this program.
    pub version: String,
    /// Why there are no times.
    pub err: Option<String>,
}

/// Seconds over all sequences of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Sum.
    pub total_s: f64,
    /// Standard error of the sum from running a sample of the sequences; 0 where every shape was run.
    pub stderr_s: f64,
    /// Half of the sequences take at most this.
    pub median_s: f64,
    /// 99 of 100 sequences take at most this.
    pub p99_s: f64,
}

impl From<Estimate> for Times {
    fn from(e: Estimate) -> Self {
        Self { total_s: e.total, stderr_s: e.stderr, median_s: e.median, p99_s: e.p99 }
    }
}

/// The rows as JSON Lines.
pub fn to_lines(rows: &[Row]) -> Result<String> {
    let lines: Vec<String> = rows.iter().map(serde_json::to_string).collect::<serde_json::Result<_>>()?;
    Ok(lines.join("\n") + "\n")
}

/// Reads `replay.jsonl`.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let parse = |(at, line)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {}: not a row of replay", path.display(), at + 1))
    };
    text.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_row_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("replay.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("replay.jsonl, line 1") && error.contains("missing field"), "{error}");
    }
}
