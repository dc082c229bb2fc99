//! What `asvd` and `fwsvd` share: truncation under one weight per channel, measured on calibration rows.

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::values::ValueType;
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::info::CodecInfo;
use crate::interface::packet::Packet;
use crate::interface::spec::CodecSpec;
use crate::parts::low_rank;

pub(crate) struct WeightedTruncation {
    info: &'static CodecInfo,
    spec: CodecSpec,
    values: ValueType,
    weights: Vec<f64>,
}

impl WeightedTruncation {
    /// Channel d weighs `measured[d]` to the power `power`. A channel with less than `floor` of the mean counts as if it
    /// had that much, so that one no calibration row depended on still counts for something. `what` names the measured
    /// values in the error for all zeros.
    pub fn build(
        info: &'static CodecInfo,
        spec: &CodecSpec,
        measured: &[f64],
        (floor, power): (f64, f64),
        what: &str,
    ) -> Result<Box<dyn Codec>> {
        let floor = floor * measured.iter().sum::<f64>() / measured.len() as f64;
        ensure!(floor > 0.0, "codec {spec}: the calibration {what} are zero in every channel");
        let weights = measured.iter().map(|m| m.max(floor).powf(power)).collect();
        Ok(Box::new(Self { info, spec: spec.clone(), values: spec.values(), weights }))
    }
}

impl Codec for WeightedTruncation {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let (shape, budget) = low_rank::checked(activation, budget, &self.spec)?;
        low_rank::check_hidden(self.info.name, self.weights.len(), shape.1)?;
        let rank = low_rank::rank(budget, shape, self.values);
        // The weights choose the directions and then cancel: nothing of them is in the packet.
        low_rank::truncate_diagonal(activation, &self.weights, rank)?.pack(self.info, self.values, shape)
    }
}
