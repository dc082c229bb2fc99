//! The indicators of one cell: a line of `layers.jsonl`.

use serde::{Deserialize, Serialize};

use super::row::Row;

/// Means over the requests of one cell, each request weighing alike; those without a number, as of one token, are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Indicators {
    /// Model name.
    pub model: String,
    /// Data set name.
    pub dataset: String,
    /// The cut: after this layer, 1..=N.
    pub split_layer: Option<u32>,
    /// What was compressed.
    pub scope: String,
    /// Codec with its options.
    pub codec: String,
    /// Compression ratio asked for; none of a codec of fixed rate.
    pub ratio_requested: Option<f64>,
    /// What the ratio counts; empty where none was asked for.
    pub accounting: String,
    /// Requests.
    pub requests: u64,
    /// Share of ||A||^2 that FC's block restores.
    pub low_band: f64,
    /// Mean |difference| of adjacent tokens over mean |A|.
    pub variation_tokens: Option<f64>,
    /// Mean |difference| of adjacent channels over mean |A|.
    pub variation_hidden: Option<f64>,
    /// Mean cosine of adjacent tokens.
    pub adjacent_cosine: Option<f64>,
    /// Effective rank over the largest it could be; missing in files of earlier versions.
    #[serde(default)]
    pub effective_rank: Option<f64>,
    /// Share of ||A||^2 in the largest 1 % of the values; missing in files of earlier versions.
    #[serde(default)]
    pub outlier_share: Option<f64>,
    /// Relative error of the hidden state at the cut and after each later layer.
    pub errors: Vec<f64>,
    /// Mean |change| of a request's log-likelihood against the unsplit model, nats.
    pub loglik_change: f64,
}

impl Indicators {
    /// Whether they are of this row's cell.
    pub fn is_of(&self, row: &Row) -> bool {
        (&self.model, &self.dataset, &self.scope, &self.codec, &self.accounting)
            == (&row.model, &row.dataset, &row.scope, &row.codec, &row.accounting)
            && (self.split_layer, self.ratio_requested) == (row.split_layer, row.ratio_requested)
    }
}
