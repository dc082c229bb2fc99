//! How alike the activations of different inputs are: `similarity.csv`.

use serde::{Deserialize, Serialize};

use super::table_file::TableLine;

/// A line of `similarity.csv`: the mean over all pairs of some inputs of one data set, after one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Similarity {
    /// Model name.
    pub model: String,
    /// Data set name.
    pub dataset: String,
    /// After this layer, 1..=N.
    pub layer: u32,
    /// `pooled` or `aligned`.
    pub measure: String,
    /// Inputs.
    pub inputs: u64,
    /// Mean cosine over pairs of inputs.
    pub cosine: f64,
    /// Its standard error, by leaving out one input at a time; missing with fewer than three.
    pub stderr: Option<f64>,
}

impl TableLine for Similarity {
    const FILE: &'static str = "similarity.csv";
}
