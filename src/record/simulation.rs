//! Simulated response times of many clients: `simulation.csv`, `saturation.csv`, `about.txt`, `simulate.json`.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RunFolder;
use super::table_file::{self, TableLine};

/// A line of `simulation.csv`. Times are simulated, from asking to the last answer, seconds; `_ci` is half of the 95 %
/// confidence interval of the mean over seeds (Student's t), missing with one seed. Times are missing where the system had not
/// settled (docs/methodology/simulation.md, "Many clients").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// Where the service times come from.
    pub profile: String,
    /// Workers of the server.
    pub workers: usize,
    /// Rate of the link, Gbit/s.
    pub link_gbps: f64,
    /// Tokens generated after the prompt.
    pub generate: usize,
    /// Codec and what it was asked for.
    pub codec: String,
    /// Clients.
    pub clients: usize,
    /// Runs.
    pub seeds: u64,
    /// Requests answered after the warm-up, all runs.
    pub requests: u64,
    /// Requests answered a second, mean over runs.
    pub per_s: f64,
    /// Mean response time.
    pub mean_s: Option<f64>,
    /// See above.
    pub mean_ci: Option<f64>,
    /// Median response time.
    pub median_s: Option<f64>,
    /// See above.
    pub median_ci: Option<f64>,
    /// 95 % are answered in this time.
    pub p95_s: Option<f64>,
    /// See above.
    pub p95_ci: Option<f64>,
    /// 99 % are.
    pub p99_s: Option<f64>,
    /// See above.
    pub p99_ci: Option<f64>,
    /// Share of the time that the link was busy.
    pub link_busy: f64,
    /// Share of the time that a worker was busy.
    pub workers_busy: f64,
}

impl TableLine for SweepPoint {
    const FILE: &'static str = "simulation.csv";
}

/// A line of `saturation.csv`: where a curve must turn, by arithmetic, and where it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saturation {
    /// Where the service times come from.
    pub profile: String,
    /// Workers of the server.
    pub workers: usize,
    /// Rate of the link, Gbit/s.
    pub link_gbps: f64,
    /// Tokens generated after the prompt.
    pub generate: usize,
    /// Codec and what it was asked for.
    pub codec: String,
    /// Bytes of a whole request: prompt and generated tokens.
    pub bytes: f64,
    /// Response time of a request that waits for nobody, s.
    pub alone_s: f64,
    /// Requests a second that the link can carry.
    pub link_per_s: f64,
    /// Requests a second that the workers can do.
    pub compute_per_s: f64,
    /// The smaller one: `link` or `compute`.
    pub bottleneck: String,
    /// Clients beyond which some must wait: the capacity times (think time + `alone_s`).
    pub clients: f64,
    /// Fewest simulated clients whose mean response time is at least twice `alone_s`; missing where none has.
    pub doubled_at: Option<usize>,
    /// Most requests answered a second in any simulated point that had settled.
    pub best_per_s: Option<f64>,
}

impl TableLine for Saturation {
    const FILE: &'static str = "saturation.csv";
}

/// What a simulation gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SweepRecord {
    /// A line a point.
    pub points: Vec<SweepPoint>,
    /// A line a curve.
    pub saturation: Vec<Saturation>,
    /// What is printed under every figure: `about.txt`.
    pub about: String,
}

impl SweepRecord {
    /// Whether a folder has a simulation.
    pub fn is_in(results: &Path) -> bool {
        results.join(SweepPoint::FILE).exists()
    }

    /// Reads what `write` wrote.
    pub fn read(results: &Path) -> Result<Self> {
        let points = table_file::read(results)?;
        ensure!(
            !points.is_empty(),
            "{} has no lines: run `splitbench simulate` again",
            results.join(SweepPoint::FILE).display()
        );
        let about = std::fs::read_to_string(results.join("about.txt")).unwrap_or_default();
        Ok(Self { points, saturation: table_file::read(results)?, about })
    }

    /// Writes points, curves and the text under figures.
    pub fn write(&self, folder: &RunFolder) -> Result<Vec<PathBuf>> {
        Ok(vec![
            table_file::write(&folder.results, &self.points)?,
            table_file::write(&folder.results, &self.saturation)?,
            folder.text("about.txt", &self.about)?,
        ])
    }
}

/// `simulate.json`: all that is needed to do it again.
#[derive(Debug, Serialize)]
pub struct SimulationManifest {
    /// This program.
    pub version: &'static str,
    /// The command line.
    pub command: Vec<String>,
    /// When it began.
    pub started: String,
    /// What it took.
    pub wall_seconds: f64,
    /// Runs of the simulation, over all points.
    pub runs: u64,
    /// The simulation, with what the command line changed in it.
    pub scenario: Value,
    /// Where the service times come from.
    pub sources: Vec<String>,
}
