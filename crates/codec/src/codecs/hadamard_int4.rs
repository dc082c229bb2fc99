//! `hadamard-int4`: rows rotated before [`super::int4`], and back after it.

use anyhow::Result;

use crate::activation::Activation;
use crate::bytes::buffers::{self, Scratch};
use crate::codecs::int4::Int4;
use crate::grids::quantiser::{self, OPTIONS};
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::info::{CodecInfo, Rate, RowScope};
use crate::interface::packet::Packet;
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;
use crate::parts::hadamard::rotate;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "hadamard-int4",
    summary: "Spreads outliers over the channels by a Walsh-Hadamard rotation of each row, then int4.",
    options: OPTIONS,
    id: 11,
    rate: Rate::Fixed,
    rows: RowScope::Local,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(HadamardInt4 { spec: spec.clone() })),
    layout: quantiser::layout::<Int4>,
    decode,
    #[cfg(test)]
    size: SizeRule::QUANTISER4,
};

struct HadamardInt4 {
    spec: CodecSpec,
}

impl Codec for HadamardInt4 {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, _: Option<Budget>) -> Result<Packet> {
        crate::interface::check_finite(activation)?;
        let mut rotated = Scratch::new(activation.values().len());
        rotated.extend(activation.values().iter().map(|&v| f64::from(v)));
        // An outlier is spread over its block of channels, so the range of a row, and with it the step, usually gets
        // smaller. The rotation is orthonormal: it makes an error neither larger nor smaller.
        rotate(&mut rotated, activation.hidden());
        quantiser::pack::<Int4, f64>(&self.spec, (activation.tokens(), activation.hidden()), &rotated)
    }
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let mut values = Scratch::from(quantiser::unpack::<Int4, f64>(packet, |v| v)?);
    // The matrix is symmetric and orthonormal, and so its own inverse.
    rotate(&mut values, packet.hidden());
    let mut out = buffers::empty(values.len());
    out.extend(values.iter().map(|&v| quantiser::saturated(v)));
    Ok(out)
}
