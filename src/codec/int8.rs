//! `int8`: the integers -127..=127 times a scale.

use super::quantiser::{self, Grid, OPTIONS, Quantiser};
use super::registry::{CodecInfo, Rate};

pub(super) const INFO: CodecInfo = CodecInfo {
    name: "int8",
    summary: "Rounds every value to an integer from -127 to 127 times one scale a group.",
    options: OPTIONS,
    id: 8,
    rate: Rate::Fixed,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(Quantiser::<Int8>::new(spec))),
    layout: quantiser::layout::<Int8>,
    decode: quantiser::decode::<Int8>,
};

/// Symmetric, so that -A is coded as the negative of A; -128 has no code.
pub(super) struct Int8;

impl Grid for Int8 {
    const TOP: f64 = 127.0;
    const BITS: usize = 8;

    fn code(scaled: f64) -> u8 {
        quantiser::nearest(scaled.clamp(-Self::TOP, Self::TOP))
    }

    fn value(code: u8) -> f64 {
        let integer = f64::from(code as i8);
        if integer < -Self::TOP { f64::NAN } else { integer }
    }
}
