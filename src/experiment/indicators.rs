//! The indicators of one cell: means of what probes saw.

use super::outcome::Outcome;
use super::probe::Probed;
use super::smoothness::mean;
use crate::record::{Indicators, Row};

/// Those of a row's cell; none where nothing was probed.
pub fn indicators(row: &Row, outcomes: &[Outcome], baseline: &[f64]) -> Option<Indicators> {
    let probed: Vec<&Probed> = outcomes.iter().filter_map(|outcome| outcome.probed.as_ref()).collect();
    let over = |of: &dyn Fn(&Probed) -> Option<f64>| mean(probed.iter().filter_map(|one| of(one)));
    let layers = probed.first()?.errors.len();
    let changes = outcomes.iter().zip(baseline).map(|(outcome, baseline)| (outcome.loglik - baseline).abs());
    Some(Indicators {
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
