//! Times of a replay: `replay.jsonl`, a line for each method on a device at one hidden size.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{json_lines, table_file};

/// How a time was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    /// It was run on the device named.
    Measured,
    /// Cycles of a simulated circuit over a stated clock.
    Simulated,
    /// Counted bytes and operations over what a data sheet says.
    Modelled,
}

/// A row of `replay.jsonl`, complete: reading it tells all that is needed to make it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayRow {
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
    pub encode: Option<ReplayTimes>,
    /// Decompression.
    pub decode: Option<ReplayTimes>,
    /// Both, summed sequence by sequence.
    pub both: Option<ReplayTimes>,
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
pub struct ReplayTimes {
    /// Sum.
    pub total_s: f64,
    /// Standard error of the sum from running a sample of the sequences; 0 where every shape was run.
    pub stderr_s: f64,
    /// Half of the sequences take at most this.
    pub median_s: f64,
    /// 99 of 100 sequences take at most this.
    pub p99_s: f64,
}

/// A line of `timings.csv` of a replay: one sequence by one row's method.
#[derive(Debug)]
pub struct SequenceTiming {
    /// Number of the row, from 0.
    pub row: usize,
    /// Tokens, S.
    pub tokens: usize,
    /// Compression ratio asked for, in elements.
    pub ratio: f64,
    /// The first call of both directions, plan creation included, seconds.
    pub first_s: f64,
    /// Compression, each call after that.
    pub encode_s: Vec<f64>,
    /// Decompression.
    pub decode_s: Vec<f64>,
}

/// `manifest.json` of a replay.
#[derive(Debug, Serialize)]
pub struct ReplayManifest {
    /// Name of the experiment or trace.
    pub experiment: String,
    /// This program.
    pub version: &'static str,
    /// The command line.
    pub command: Vec<String>,
    /// When it began.
    pub started: String,
    /// When it was done.
    pub finished: String,
    /// What it took.
    pub wall_seconds: f64,
    /// SHA-256 of the trace file.
    pub trace_sha256: String,
    /// What the experiment asks for, with what the command line changed in it.
    pub spec: Value,
}

/// Text of a replay's `timings.csv`: microseconds of every call.
pub fn timings_csv(timings: &[SequenceTiming]) -> String {
    let mut out = table_file::fields("row,tokens,ratio,first_us,encode_us,decode_us");
    let list = |times: &[f64]| times.iter().map(|s| format!("{:.2}", 1e6 * s)).collect::<Vec<_>>().join(" ");
    for SequenceTiming { row, tokens, ratio, first_s, encode_s, decode_s } in timings {
        let [first, encode, decode] = [&[*first_s][..], encode_s, decode_s].map(list);
        out.push(vec![row.to_string(), tokens.to_string(), ratio.to_string(), first, encode, decode]);
    }
    table_file::text(&out)
}

/// Writes `replay.jsonl` and returns its path.
pub fn write(folder: &Path, rows: &[ReplayRow]) -> Result<PathBuf> {
    let path = folder.join("replay.jsonl");
    json_lines::write(&path, rows)?;
    Ok(path)
}

/// Reads `replay.jsonl`.
pub fn read(folder: &Path) -> Result<Vec<ReplayRow>> {
    json_lines::read(&folder.join("replay.jsonl"), "a row of replay")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_row_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("replay.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        let error = format!("{:#}", read(folder.path()).unwrap_err());
        assert!(error.contains("replay.jsonl line 1") && error.contains("missing field"), "{error}");
    }
}
