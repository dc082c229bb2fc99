//! `asvd`: truncation with each channel scaled by how large it usually is.

use anyhow::{Context, Result};

use super::calibration::{Calibration, CalibrationNeed};
use super::registry::{Allowed, CodecInfo, OptionInfo, VALUES};
use super::values::ValueType;
use super::{Activation, Budget, Codec, CodecSpec, Packet, low_rank};

pub(super) const INFO: CodecInfo = CodecInfo {
    name: "asvd",
    summary: "Truncated SVD after scaling channel d by (mean |A[s,d]|)^alpha over calibration rows (Yuan et al., 2023).",
    options: &[
        OptionInfo {
            key: "alpha",
            allowed: Allowed::Number { min: 0.0, max: 2.0 },
            default: "0.5",
            meaning: "how strongly large channels are favoured; 0 is plain svd",
        },
        VALUES,
    ],
    id: 6,
    needs: |_| Some(CalibrationNeed::Moments),
    build,
    layout: low_rank::layout,
    decode: low_rank::decode,
};

/// Channels quieter than this share of the mean channel are treated as if they had it.
const FLOOR: f64 = 1e-6;

fn build(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Box<dyn Codec>> {
    let mean_abs =
        calibration.and_then(Calibration::mean_abs).with_context(|| CalibrationNeed::Moments.missing(spec))?;
    let alpha: f64 = spec.typed("alpha")?;
    let floor = FLOOR * mean_abs.iter().sum::<f64>() / mean_abs.len() as f64;
    anyhow::ensure!(floor > 0.0, "codec {spec}: the calibration rows are zero in every channel");
    let weights = mean_abs.iter().map(|m| m.max(floor).powf(alpha)).collect();
    Ok(Box::new(Asvd { spec: spec.clone(), values: spec.values(), weights }))
}

struct Asvd {
    spec: CodecSpec,
    values: ValueType,
    weights: Vec<f64>,
}

impl Codec for Asvd {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Budget) -> Result<Packet> {
        let shape = low_rank::checked(activation, budget)?;
        low_rank::check_hidden(INFO.name, self.weights.len(), shape.1)?;
        let rank = low_rank::rank(budget, shape, self.values);
        low_rank::truncate_diagonal(activation, &self.weights, rank)?.pack(&INFO, self.values, shape)
    }
}
