//! What may tell how well an activation compresses, looked at where it is sent, and its error behind the cut.

use std::sync::Arc;

use anyhow::Result;
use candle_core::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::concentration::{effective_rank, outlier_share};
use super::smoothness::{adjacent_cosine, variation_hidden, variation_tokens};
use crate::exact;
use crate::model::split::{activation, to_values};
use crate::model::{Decoder, Packing, SplitPoint};
use splitbench_codec::{Activation, Budget, CodecSpec, build};

/// Looks at every activation that is sent.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// The low band of a cell that has no budget of its own.
    pub budget: Budget,
}

/// What was seen of one activation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ActivationIndicators {
    /// Share of ||A||^2 that FC's block at the cell's budget restores.
    #[serde(with = "exact::number")]
    pub low_band: f64,
    /// See [`variation_tokens`].
    #[serde(with = "exact::option")]
    pub variation_tokens: Option<f64>,
    /// See [`variation_hidden`].
    #[serde(with = "exact::option")]
    pub variation_hidden: Option<f64>,
    /// See [`adjacent_cosine`].
    #[serde(with = "exact::option")]
    pub adjacent_cosine: Option<f64>,
    /// See [`effective_rank`].
    #[serde(with = "exact::option")]
    pub effective_rank: Option<f64>,
    /// See [`outlier_share`].
    #[serde(with = "exact::option")]
    pub outlier_share: Option<f64>,
    /// Relative error of the whole sequence's hidden state at the cut and after each later layer.
    #[serde(with = "exact::list")]
    pub errors: Vec<f64>,
}

impl Probe {
    /// Everything but the errors behind the cut. `rel_error` is the cell's own.
    pub fn look(&self, cell: &Cell, a: &Activation, rel_error: f64) -> Result<ActivationIndicators> {
        Ok(ActivationIndicators {
            low_band: 1.0 - self.fc_error(cell, a, rel_error)?.powi(2),
            variation_tokens: variation_tokens(a),
            variation_hidden: variation_hidden(a),
            adjacent_cosine: adjacent_cosine(a),
            effective_rank: effective_rank(a),
            outlier_share: outlier_share(a),
            errors: Vec::new(),
        })
    }

    /// The relative error of FC at the cell's budget: of its own reading where the cell's codec is one, else of the default.
    fn fc_error(&self, cell: &Cell, a: &Activation, rel_error: f64) -> Result<f64> {
        if cell.codec.name() == "fc" {
            return Ok(rel_error);
        }
        let fc = build(&CodecSpec::parse("fc")?, None)?;
        Ok(a.rel_error(&fc.decode(&fc.encode(a, Some(cell.budget.unwrap_or(self.budget)))?)?))
    }
}

/// Runs what arrived (rows, how they are packed, and for each sequence the one it was computed as) through the layers behind
/// the cut. `computed` has the uncompressed residual streams at the cut and after each later layer. Gives the stream after
/// the last layer, the same as in one go, and for each sequence its relative error at the cut and after each later layer.
pub fn follow_errors(
    decoder: &Decoder,
    split: SplitPoint,
    (mut hidden, packing, origins): (Tensor, &Arc<Packing>, &[usize]),
    computed: &[Tensor],
    computed_packing: &Packing,
) -> Result<(Tensor, Vec<Vec<f64>>)> {
    let mut errors = vec![Vec::with_capacity(computed.len()); origins.len()];
    for (nth, computed) in computed.iter().enumerate() {
        if nth > 0 {
            let layer = split.after_layer + nth;
            hidden = decoder.run_layers(hidden, packing, layer - 1..layer)?;
        }
        let (received, computed) = (to_values(&hidden)?, to_values(computed)?);
        errors.par_iter_mut().zip(origins).enumerate().try_for_each(|(sequence, (errors, &origin))| -> Result<()> {
            let computed = activation(&computed, computed_packing, origin)?;
            errors.push(computed.rel_error(&activation(&received, packing, sequence)?));
            Ok(())
        })?;
    }
    Ok((hidden, errors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Scope;

    /// The matrices of `tests/reference/indicators.py`, and what NumPy makes of them.
    #[test]
    fn indicators_are_numpys() {
        let text = include_str!("../../tests/reference/indicators.json");
        let reference: serde_json::Value = serde_json::from_str(text).unwrap();
        let cases = reference["cases"].as_array().unwrap();
        assert!(cases.len() >= 4);
        for case in cases {
            let number = |key: &str| case[key].as_f64();
            let side = |key: &str| case[key].as_u64().unwrap() as usize;
            let values = case["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
            let a = Activation::new(side("tokens"), side("hidden"), values).unwrap();
            let budget = Budget::elements(number("ratio").unwrap()).unwrap();
            for (codec, key) in [
                ("topk", "mirrored"),
                ("fc:band=corner,values=f32", "corner"),
                ("fc:band=centered,values=f32", "centered"),
            ] {
                let codec = CodecSpec::parse(codec).unwrap();
                let sent = build(&codec, None).unwrap();
                let rel_error = a.rel_error(&sent.decode(&sent.encode(&a, Some(budget)).unwrap()).unwrap());
                let cell = Cell {
                    split: SplitPoint { after_layer: 1 },
                    scope: Scope::PromptAndChoice,
                    budget: Some(budget),
                    codec,
                };
                let found = Probe { budget }.look(&cell, &a, rel_error).unwrap();
                // The default sends its coefficients in f16, which adds some 1e-7 of the energy.
                let close = |found: f64, expected: f64| (found - expected).abs() < 2e-6;
                assert!(close(found.low_band, number(key).unwrap()), "{key}: {} and {:?}", found.low_band, number(key));
                for (found, key) in [
                    (found.variation_tokens, "variation_tokens"),
                    (found.variation_hidden, "variation_hidden"),
                    (found.adjacent_cosine, "adjacent_cosine"),
                ] {
                    let same = match (found, number(key)) {
                        (Some(found), Some(expected)) => close(found, expected),
                        (found, expected) => found == expected,
                    };
                    assert!(same, "{key}: {found:?} and {:?}", number(key));
                }
            }
        }
    }
}
