//! The `[report]` section of an experiment: which tables and figures to make of its rows.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// What to make of the rows of an experiment: its `[report]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportSpec {
    /// Table II: each codec by ratio, with the near-lossless ratio.
    pub table2: bool,
    /// Table III: methods side by side at each data set's ratio.
    pub table3: bool,
    /// Every codec at every budget: accuracy, KL, bytes, error and time; and figures of accuracy and of KL against bytes.
    pub codecs: bool,
    /// KL and lost accuracy by ratio, a row for each codec and scope.
    pub by_ratio: bool,
    /// Of no use: Table IV is made by `splitbench replay table4`. Manifests of older runs have it, as false.
    #[serde(skip_serializing)]
    pub table4: bool,
    /// Figures of accuracy against compression ratio.
    pub ratio_plot: bool,
    /// Figures of accuracy against split layer.
    pub layer_plot: bool,
    /// Indicators of each split layer, how errors grow behind it, and which layer each indicator would choose.
    pub layers: bool,
    /// Figure 2: heat maps, similarity of inputs, spectra and energy inside FC's block; needs them measured.
    pub activations: bool,
    /// Figure 6: shares of the response time, and bytes a generated token; needs the times of single requests.
    pub response: Option<ResponseSpec>,
    /// `paired.csv`: each cell against the baseline on the same questions.
    pub paired: bool,
    /// The largest ratio that loses at most `near_lossless_points`, set by set, with its interval.
    pub near_lossless: bool,
    /// Loss in points that Table II and the search still call near-lossless.
    pub near_lossless_points: f64,
}

impl Default for ReportSpec {
    fn default() -> Self {
        Self {
            table2: false,
            table3: false,
            codecs: false,
            by_ratio: false,
            table4: false,
            ratio_plot: false,
            layer_plot: false,
            layers: false,
            activations: false,
            response: None,
            paired: true,
            near_lossless: false,
            near_lossless_points: 0.3,
        }
    }
}

impl ReportSpec {
    /// Fails on a number that no table could use.
    pub fn check(&self) -> Result<()> {
        let points = self.near_lossless_points;
        ensure!(points.is_finite() && points >= 0.0, "near_lossless_points is {points}: it must be 0 or more");
        self.response.as_ref().map_or(Ok(()), ResponseSpec::check)
    }
}

/// The links that Figure 6 shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseSpec {
    /// Rates, Mbit/s.
    pub links_mbps: Vec<f64>,
    /// Round trip, ms: a request waits for it once.
    pub round_trip_ms: f64,
}

impl Default for ResponseSpec {
    fn default() -> Self {
        Self { links_mbps: vec![1.0, 10.0, 100.0, 1000.0], round_trip_ms: 10.0 }
    }
}

impl ResponseSpec {
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(!self.links_mbps.is_empty(), "[report.response] links_mbps is empty");
        for rate in &self.links_mbps {
            ensure!(rate.is_finite() && *rate > 0.0, "[report.response] links_mbps has {rate}: a rate must be above 0");
        }
        let trip = self.round_trip_ms;
        ensure!(trip.is_finite() && trip >= 0.0, "[report.response] round_trip_ms is {trip}: it must be 0 or more");
        Ok(())
    }
}
