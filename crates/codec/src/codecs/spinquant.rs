//! `spinquant`: rows rotated by a matrix learned on calibration rows before [`super::int4`], and back after it.

use std::sync::Arc;

use anyhow::{Context, Result};

use crate::activation::Activation;
use crate::bytes::buffers;
use crate::codecs::int4::Int4;
use crate::grids::groups;
use crate::grids::quantiser::{self, CODER};
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::calibration::{Calibration, CalibrationNeed};
use crate::interface::info::{CodecInfo, Rate, RowScope};
use crate::interface::packet::Packet;
use crate::interface::shared::{self, SharedNumbers};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;
use crate::parts::low_rank;
use crate::parts::row_product::SquareMatrix;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "spinquant",
    summary: "Rotates each row by a matrix learned on calibration rows, from a Hadamard start, then int4 (Liu et al., 2025).",
    // R is learned for scales within a token.
    options: &[groups::GROUP, CODER, groups::SCALES],
    id: 41,
    rate: Rate::Fixed,
    rows: RowScope::Local,
    needs: |_| Some(CalibrationNeed::Moments),
    build,
    layout: quantiser::layout_shared::<Int4>,
    decode: |_| Err(shared::missing(INFO.name, INFO.name)),
    #[cfg(test)]
    size: SizeRule::QUANTISER4,
};

fn build(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Box<dyn Codec>> {
    let missing = || CalibrationNeed::Moments.missing(spec);
    let calibration = calibration.with_context(missing)?;
    let (rotation, hidden) = (calibration.rotation().with_context(missing)?, calibration.hidden());
    let element = |row, column| rotation.numbers[row * hidden + column];
    let (forth, back) = (SquareMatrix::new(hidden, element), SquareMatrix::new(hidden, |i, j| element(j, i)));
    Ok(Box::new(SpinQuant { spec: spec.clone(), hidden, forth, back, rotation }))
}

struct SpinQuant {
    spec: CodecSpec,
    hidden: usize,
    rotation: Arc<SharedNumbers>,
    forth: SquareMatrix,
    /// The transpose, which is the inverse.
    back: SquareMatrix,
}

impl Codec for SpinQuant {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, _: Option<Budget>) -> Result<Packet> {
        crate::interface::check_finite(activation)?;
        let shape = (activation.tokens(), activation.hidden());
        low_rank::check_hidden(INFO.name, self.hidden, shape.1)?;
        let rotated = self.forth.apply(activation.values());
        quantiser::pack_shared::<Int4, f64>(&self.spec, shape, &rotated, &self.rotation.digest)
    }

    fn decode(&self, packet: &Packet) -> Result<Activation> {
        crate::interface::check_codec(&self.spec, packet)?;
        shared::check_hidden(INFO.name, self.hidden, packet.hidden())?;
        let values = quantiser::unpack_shared::<Int4>(packet, &self.rotation)?;
        let rows = self.back.apply(&values);
        buffers::give(values);
        let mut out = buffers::empty(rows.len());
        out.extend(rows.iter().map(|&v| quantiser::saturated(v)));
        crate::interface::received(packet, out)
    }
}
