//! The indicators of one cell: a line of `layers.jsonl`.

use serde::{Deserialize, Serialize};

use super::evaluate::Outcome;
use super::probe::Probed;
use super::row::Row;
use super::smoothness::mean;

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
    /// Those of a row's cell; none where nothing was probed.
    pub fn of(row: &Row, outcomes: &[Outcome], baseline: &[f64]) -> Option<Self> {
        let probed: Vec<&Probed> = outcomes.iter().filter_map(|outcome| outcome.probed.as_ref()).collect();
        let over = |of: &dyn Fn(&Probed) -> Option<f64>| mean(probed.iter().filter_map(|one| of(one)));
        let layers = probed.first()?.errors.len();
        let changes = outcomes.iter().zip(baseline).map(|(outcome, baseline)| (outcome.loglik - baseline).abs());
        Some(Self {
            model: row.model.clone(),
            dataset: row.dataset.clone(),
            split_layer: row.split_layer,
            scope: row.scope.clone(),
            codec: row.codec.clone(),
            ratio_requested: row.ratio_requested,
            accounting: row.accounting.clone(),
            requests: probed.len() as u64,
            low_band: over(&|one| Some(one.low_band))?,
            variation_tokens: over(&|one| one.variation_tokens),
            variation_hidden: over(&|one| one.variation_hidden),
            adjacent_cosine: over(&|one| one.adjacent_cosine),
            effective_rank: over(&|one| one.effective_rank),
            outlier_share: over(&|one| one.outlier_share),
            errors: (0..layers).map(|layer| over(&|one| one.errors.get(layer).copied())).collect::<Option<_>>()?,
            loglik_change: mean(changes)?,
        })
    }

    /// Whether they are of this row's cell.
    pub fn is_of(&self, row: &Row) -> bool {
        (&self.model, &self.dataset, &self.scope, &self.codec, &self.accounting)
            == (&row.model, &row.dataset, &row.scope, &row.codec, &row.accounting)
            && (self.split_layer, self.ratio_requested) == (row.split_layer, row.ratio_requested)
    }
}
