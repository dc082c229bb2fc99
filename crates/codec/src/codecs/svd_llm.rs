//! `svd-llm`: truncation in coordinates in which the calibration rows, or the next layer's weights, are white.

use anyhow::{Context, Result, ensure};
use faer::{Mat, MatRef};
use strum::VariantNames;

use crate::activation::Activation;
use crate::bytes::values::ValueType;
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::calibration::{Calibration, CalibrationNeed};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope, VALUES};
use crate::interface::packet::Packet;
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;
use crate::linalg;
use crate::parts::low_rank::{self, LowerWeight};

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "svd-llm",
    summary: "Truncated SVD of A W, W the Cholesky factor of the calibration covariance or of the next layer's weights \
              (Wang et al., 2025).",
    options: &[
        OptionInfo {
            key: "whiten",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "covariance", meaning: "W W^T = E[A^T A] over calibration rows" },
                OptionWord {
                    word: "weights",
                    meaning: "W W^T = the Gram matrix of the next layer's stacked q, k, v weights",
                },
            ]),
            default: "covariance",
            meaning: "the matrix whose Cholesky factor weighs the error",
        },
        VALUES,
    ],
    id: 7,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |spec| Some(need(spec)),
    build,
    layout: low_rank::layout,
    decode: low_rank::decode,
    #[cfg(test)]
    size: SizeRule::LOW_RANK,
};

/// Added to the diagonal, as a share of the mean diagonal element: with fewer calibration rows than channels the matrix is
/// singular. Ten times more is tried, up to `MOST`, while rounding still leaves it indefinite.
const EPSILON: f64 = 1e-9;
const MOST: f64 = 1e-3;

#[derive(Clone, Copy, PartialEq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase", parse_err_ty = anyhow::Error, parse_err_fn = unknown)]
enum Whiten {
    Covariance,
    Weights,
}

fn unknown(text: &str) -> anyhow::Error {
    crate::suggest::unknown("whiten", text, Whiten::VARIANTS.iter().copied())
}

fn need(spec: &CodecSpec) -> CalibrationNeed {
    match spec.option("whiten") {
        Some("weights") => CalibrationNeed::NextWeights,
        _ => CalibrationNeed::Moments,
    }
}

fn build(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Box<dyn Codec>> {
    let whiten: Whiten = spec.typed("whiten")?;
    let calibration = calibration.with_context(|| need(spec).missing(spec))?;
    let square = match whiten {
        Whiten::Covariance => calibration.covariance(),
        Whiten::Weights => calibration.next_weights(),
    };
    let square = square.with_context(|| need(spec).missing(spec))?;
    let weight = factor(square, calibration.hidden()).with_context(|| format!("codec {spec}"))?;
    // Factored once, when the codec is built: every activation is multiplied by the same triangle.
    Ok(Box::new(SvdLlm { spec: spec.clone(), values: spec.values(), weight: LowerWeight::new(weight) }))
}

/// The lower triangular W with W W^T = C + epsilon * trace(C) / D * I.
fn factor(square: &[f64], hidden: usize) -> Result<Mat<f64>> {
    let square = MatRef::from_row_major_slice(square, hidden, hidden);
    // What is added is relative to this, so that the scale of the numbers does not matter.
    let mean = (0..hidden).map(|i| square[(i, i)]).sum::<f64>() / hidden as f64;
    ensure!(mean > 0.0, "the matrix to whiten with has no positive diagonal");
    let mut epsilon = EPSILON;
    while epsilon <= MOST * 1.5 {
        let mut shifted = square.to_owned();
        (0..hidden).for_each(|i| shifted[(i, i)] += epsilon * mean);
        if let Some(weight) = linalg::cholesky(shifted) {
            return Ok(weight);
        }
        epsilon *= 10.0;
    }
    anyhow::bail!(
        "the matrix to whiten with is not positive semidefinite: no Cholesky factor even with {MOST} of its mean \
                   diagonal added"
    )
}

struct SvdLlm {
    spec: CodecSpec,
    values: ValueType,
    weight: LowerWeight,
}

impl Codec for SvdLlm {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let (shape, budget) = low_rank::checked(activation, budget, &self.spec)?;
        low_rank::check_hidden(INFO.name, self.weight.side(), shape.1)?;
        let rank = low_rank::rank(budget, shape, self.values);
        // The error that is made small is that of A W. For `weights` it is the error of the next layer's q, k and v
        // outputs; for `covariance` a direction counts by the energy that calibration rows have in it.
        low_rank::truncate_lower(activation, &self.weight, rank)?.pack(&INFO, self.values, shape)
    }
}
