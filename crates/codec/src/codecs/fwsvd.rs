//! `fwsvd`: truncation with each channel weighed by how much the loss depends on it.

use anyhow::{Context, Result};

use crate::interface::Codec;
use crate::interface::calibration::{Calibration, CalibrationNeed};
use crate::interface::info::{CodecInfo, Rate, RowScope, VALUES};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;
use crate::parts::low_rank;
use crate::parts::weighed::WeightedTruncation;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "fwsvd",
    summary: "Truncated SVD after weighing channel d by the root of its Fisher information E[(dL/dA[s,d])^2] (Hsu et al., \
              2022).",
    options: &[VALUES],
    id: 5,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| Some(CalibrationNeed::Fisher),
    build,
    layout: low_rank::layout,
    decode: low_rank::decode,
    #[cfg(test)]
    size: SizeRule::LOW_RANK,
};

/// The least that a channel counts for, as a share of the mean Fisher information.
const FLOOR: f64 = 1e-9;

fn build(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Box<dyn Codec>> {
    let fisher = calibration.and_then(Calibration::fisher).with_context(|| CalibrationNeed::Fisher.missing(spec))?;
    // To second order an error costs its square times the Fisher information, so the weight is the root of that.
    WeightedTruncation::build(&INFO, spec, fisher, (FLOOR, 0.5), "gradients")
}
