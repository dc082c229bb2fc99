//! `int8`: the integers -127..=127 times a scale.

use crate::grids::int8::Int8;
use crate::grids::quantiser::{self, OPTIONS, Quantiser};
use crate::interface::info::{CodecInfo, Rate, RowScope};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "int8",
    summary: "Rounds every value to an integer from -127 to 127 times one scale per group.",
    options: OPTIONS,
    id: 8,
    rate: Rate::Fixed,
    rows: RowScope::Local,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(Quantiser::<Int8>::new(spec))),
    layout: quantiser::layout::<Int8>,
    decode: quantiser::decode::<Int8>,
    #[cfg(test)]
    size: SizeRule::QUANTISER,
};
