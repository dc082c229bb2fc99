//! How much of an activation's energy FC's block holds: `energy.csv`.

use serde::{Deserialize, Serialize};

use super::table_file::TableLine;

/// A line of `energy.csv`: mean over some inputs of one data set, after one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Model name.
    pub model: String,
    /// Data set name.
    pub dataset: String,
    /// After this layer, 1..=N.
    pub layer: u32,
    /// Which coefficients are kept: `fc`, `fc:band=centered` or `fc-mask`.
    pub reading: String,
    /// Ratio in elements asked for.
    pub ratio: f64,
    /// Inputs.
    pub inputs: u64,
    /// Kept coefficients over S D, mean.
    pub kept: f64,
    /// Share of ||A||^2 that they restore, mean.
    pub share: f64,
    /// The same of independent normal numbers in an activation's shape: what a block holds of nothing in particular.
    pub noise: f64,
}

impl TableLine for Energy {
    const FILE: &'static str = "energy.csv";
}
