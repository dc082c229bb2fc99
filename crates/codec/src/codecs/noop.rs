//! `noop`: the activation itself.

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::fields::Reader;
use crate::bytes::values::{self, ValueType};
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::info::{CodecInfo, Rate, RowScope};
use crate::interface::packet::{Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "noop",
    summary: "Sends every f32 as it is: the reference every other codec is compared with.",
    options: &[],
    id: 0,
    rate: Rate::Fixed,
    rows: RowScope::Local,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(Noop { spec: spec.clone() })),
    layout,
    decode,
    #[cfg(test)]
    size: SizeRule::WHOLE,
};

struct Noop {
    spec: CodecSpec,
}

impl Codec for Noop {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, _: Option<Budget>) -> Result<Packet> {
        crate::interface::check_finite(activation)?;
        let shape = (activation.tokens(), activation.hidden());
        let mut bytes = Packet::begin(&INFO, ValueType::F32, shape, 4 * activation.values().len())?;
        // Bit for bit, without a shared exponent: what comes back equals what was sent.
        values::put_f32(&mut bytes, activation.values());
        Packet::finish(&INFO, bytes)
    }
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    ensure!(view.values == ValueType::F32, "packet field value type: noop sends f32, found {}", view.values);
    let elements = view.tokens * view.hidden;
    view.expect_len(4 * elements as u64)?;
    Ok(elements)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let view = packet.view();
    let bytes = Reader::new(view.body).bytes(4 * packet.elements(), "values")?;
    Ok(values::get_f32(bytes))
}
