//! `asvd`: truncation with each channel scaled by how large it usually is.

use anyhow::{Context, Result};

use crate::interface::Codec;
use crate::interface::calibration::{Calibration, CalibrationNeed};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, Rate, RowScope, VALUES};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;
use crate::parts::low_rank;
use crate::parts::weighed::WeightedTruncation;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "asvd",
    summary: "Truncated SVD after scaling channel d by (mean |A[s,d]|)^alpha over calibration rows (Yuan et al., 2023).",
    options: &[
        OptionInfo {
            key: "alpha",
            allowed: AllowedValues::Number { min: 0.0, max: 2.0 },
            default: "0.5",
            meaning: "how strongly large channels are favoured; 0 is plain svd",
        },
        VALUES,
    ],
    id: 6,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| Some(CalibrationNeed::Moments),
    build,
    layout: low_rank::layout,
    decode: low_rank::decode,
    #[cfg(test)]
    size: SizeRule::LOW_RANK,
};

/// The least that a channel counts for, as a share of the mean channel.
const FLOOR: f64 = 1e-6;

fn build(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Box<dyn Codec>> {
    let mean_abs =
        calibration.and_then(Calibration::mean_abs).with_context(|| CalibrationNeed::Moments.missing(spec))?;
    WeightedTruncation::build(&INFO, spec, mean_abs, (FLOOR, spec.typed("alpha")?), "rows")
}
