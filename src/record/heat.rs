//! Activations to look at: `heat.csv`, and the matrices it names.

use serde::{Deserialize, Serialize};

/// A line of `heat.csv`: one matrix in a file of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heat {
    /// Model name.
    pub model: String,
    /// Data set name.
    pub dataset: String,
    /// The question's id.
    pub question: String,
    /// The cut: after this layer, 1..=N.
    pub split_layer: u32,
    /// What it is.
    pub kind: HeatKind,
    /// Codec with its options; empty where there is none.
    pub codec: String,
    /// Compression ratio asked for; none of a codec of fixed rate.
    pub ratio: Option<f64>,
    /// What the ratio counts; empty where none was asked for.
    pub accounting: String,
    /// Rows of the whole matrix, S.
    pub tokens: u64,
    /// Columns of the whole matrix.
    pub hidden: u64,
    /// `||A - A'||_F / ||A||_F` of the whole matrix.
    pub rel_error: Option<f64>,
    /// The file, a NumPy array, beside this one; of an activation its first rows and columns.
    pub file: String,
    /// Why there is none.
    pub err: Option<String>,
}

/// What a matrix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeatKind {
    /// The activation A.
    Activation,
    /// A' as received.
    Received,
    /// log10 of the coefficients' shares of the energy.
    Spectrum,
}
