//! `fwsvd`: truncation with each channel weighed by how much the loss depends on it.

use anyhow::{Context, Result, ensure};

use super::calibration::{Calibration, CalibrationNeed};
use super::registry::{CodecInfo, VALUES};
use super::values::ValueType;
use super::{Activation, Budget, Codec, CodecSpec, Packet, low_rank};

pub(super) const INFO: CodecInfo = CodecInfo {
    name: "fwsvd",
    summary: "Truncated SVD after weighing channel d by the root of its Fisher information E[(dL/dA[s,d])^2] (Hsu et al., \
              2022).",
    options: &[VALUES],
    id: 5,
    needs: |_| Some(CalibrationNeed::Fisher),
    build,
    layout: low_rank::layout,
    decode: low_rank::decode,
};

/// Channels with less than this share of the mean Fisher information are treated as if they had it, so that a channel
/// no calibration row depended on still counts for something.
const FLOOR: f64 = 1e-9;

fn build(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Box<dyn Codec>> {
    let fisher = calibration.and_then(Calibration::fisher).with_context(|| CalibrationNeed::Fisher.missing(spec))?;
    let floor = FLOOR * fisher.iter().sum::<f64>() / fisher.len() as f64;
    ensure!(floor > 0.0, "codec {spec}: the calibration gradients are zero in every channel");
    let weights = fisher.iter().map(|f| f.max(floor).sqrt()).collect();
    Ok(Box::new(Fwsvd { spec: spec.clone(), values: spec.values(), weights }))
}

struct Fwsvd {
    spec: CodecSpec,
    values: ValueType,
    weights: Vec<f64>,
}

impl Codec for Fwsvd {
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
